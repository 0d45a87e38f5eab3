"""Draw a stage in a browser: one node for each part, whose Gaussians change in place.

The number of a node's Gaussians never changes, as the page would go blank for a moment; those that are hidden are sent
with an opacity of 0.
"""

from collections.abc import Sequence

import numpy as np
import torch
import viser

from gaussians.covariance import unpack_covariance
from gaussians.files.trajectory_format import Frame
from tools.viewer.scene.layers import Layer, Part, Stage
from tools.viewer.scene.poses import Eye
from tools.viewer.scene.splat_packing import Coarseness, coarsened, packed_colors, packed_shapes

_CHOSEN = (1.0, 0.85, 0.0)


class Moment:
    """A ``Moment`` is a stage at one time, packed once for all browsers that draw it.

    Args:
        stage: what is shown.
        time: seconds.
        before: the last moment, of which packed frames are taken that are still right.
        coarseness: fewer digits; None: all that the page takes.

    Raises:
        InputError: a file is damaged.
    """

    def __init__(
        self, stage: Stage, time: float, before: "Moment | None" = None, coarseness: Coarseness | None = None
    ) -> None:
        self.stage, self.version, self.time = stage, stage.version, time
        self.numbers = [layer.source.at(time) for layer in stage.all_layers]
        self.frames: Sequence[Frame] = stage.frames(time)
        self._sources = [layer.source for layer in stage.all_layers]
        self._coarseness = coarseness
        self._shapes: dict[Part, np.ndarray] = {}
        self._before = before._shapes if before is not None and coarseness is not None else {}
        if before is not None:
            shown = zip(self.numbers, self._sources, strict=True)
            old = zip(before.numbers, before._sources, strict=True)
            for layer, (number, source), (old_number, old_source) in zip(stage.all_layers, shown, old, strict=True):
                if number == old_number and source is old_source:
                    kept = {part: before._shapes[part] for part in layer.parts if part in before._shapes}
                    self._shapes.update(kept)

    def packed(self, index: int, part: Part, eye: Eye | None) -> np.ndarray:
        """Return a part of layer ``index`` as the page takes it, (n, 8) uint32.

        Args:
            eye: where it is seen from, if that matters.
        """
        frame, layer = self.frames[index], self.stage.all_layers[index]
        if part not in self._shapes:
            # About the pivot, so that scaling and turning a part leaves its node where it is.
            shapes = packed_shapes(part.means(frame) - part.pose.pivot, part.covariances(frame), part.unit)
            if self._coarseness is not None:
                shapes = coarsened(shapes, self._coarseness, self._before.get(part))
            self._shapes[part] = shapes
        packed = self._shapes[part].copy()
        packed[:, 7] = self._colors(layer, part, frame, eye)
        return packed

    def _colors(self, layer: Layer, part: Part, frame: Frame, eye: Eye | None) -> np.ndarray:
        pose, cuts = layer.pose(part), self.stage.cuts
        means = pose.points(part.means(frame))
        alphas = part.opacities * layer.opacity * part.shown(means, cuts)
        if eye is None:
            colors = part.colors(0)
        else:
            colors = part.colors_seen_from(eye.position, frame, cuts.sh_degree, pose)
            alphas = alphas * ~self.stage.beyond_wipe(layer, means, eye)
        if part.chosen.any():
            colors = torch.where(part.chosen[:, None], torch.tensor(_CHOSEN), colors)
        return packed_colors(colors, alphas)


class SplatNodes:
    """A ``SplatNodes`` is the nodes of a stage's parts in the scene of one browser, or of a recording.

    Args:
        scene: where the nodes are.
    """

    def __init__(self, scene: viser.SceneApi) -> None:
        self._scene = scene
        self._nodes: dict[Part, viser.GaussianSplatHandle] = {}
        self._drawn: dict[Part, tuple[int, int, Eye | None]] = {}

    def draw(self, moment: Moment, eye: Eye | None) -> None:
        """Show a moment; what has not changed is not sent again.

        Args:
            eye: where the browser looks from; None where that does not matter.
        """
        stage = moment.stage
        for index, layer in enumerate(stage.all_layers):
            for part in layer.parts:
                if not (layer.visible and part.visible):
                    if part in self._nodes:
                        self._nodes[part].visible = False
                    continue
                key = moment.numbers[index], moment.version, eye if stage.depends_on_eye else None
                if self._drawn.get(part) != key:
                    self._send(index, layer, part, moment.packed(index, part, key[2]))
                    self._drawn[part] = key
                self._nodes[part].visible = True

    def remove(self) -> None:
        """Remove the nodes."""
        for node in self._nodes.values():
            node.remove()
        self._nodes, self._drawn = {}, {}

    def _send(self, index: int, layer: Layer, part: Part, packed: np.ndarray) -> None:
        pose = layer.pose(part)
        node = self._nodes.get(part)
        if node is None:
            node = self._nodes[part] = self._add(f"/splats/{index}/{part.name.replace('/', '_')}", packed)
        else:
            node.buffer = packed
        node.scale, node.wxyz, node.position = pose.scale / part.unit, np.array(pose.wxyz), pose.position.numpy()

    def _add(self, name: str, packed: np.ndarray) -> viser.GaussianSplatHandle:
        halves = torch.from_numpy(np.ascontiguousarray(packed[:, 4:7]).view(np.float16))
        colors = np.ascontiguousarray(packed[:, 7]).view(np.uint8).reshape(-1, 4)
        return self._scene.add_gaussian_splats(
            name,
            centers=packed[:, :3].view(np.float32),
            covariances=unpack_covariance(halves).numpy(),
            rgbs=colors[:, :3],
            opacities=colors[:, 3:],
        )
