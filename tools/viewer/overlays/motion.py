"""Draw how objects move over their Gaussians: keypoints, velocities, and the forces of contact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import viser

from dynamic_models.data.farthest_points import farthest_point_sampling
from tools.viewer.scene.layers import Part, Stage
from tools.viewer.scene.splat_source import SplatSource

# Of an object: the first of those that models follow, which are chosen in the same order. More would hide it.
_KEYPOINTS = 128
_KEYPOINT_COLOR = (255, 140, 0)
_VELOCITY_COLOR = (30, 120, 255)
_FORCE_COLOR = (220, 30, 60)
_SHORTEST = 1e-4  # metres; shorter arrows have no direction that can be seen


@dataclass(frozen=True)
class Arrows:
    """An ``Arrows`` holds M arrows: where each begins and what it leads along, (M, 3) each."""

    starts: torch.Tensor
    vectors: torch.Tensor

    def segments(self, scale: float) -> np.ndarray:
        """Return (M', 2, 3) from start to tip, metres, without those too short to be seen.

        Args:
            scale: metres for one unit of the vectors.
        """
        along = self.vectors * scale
        seen = along.norm(dim=1) > _SHORTEST
        return torch.stack([self.starts, self.starts + along], 1)[seen].numpy()


@dataclass(frozen=True)
class Drawing:
    """A ``Drawing`` is what one overlay shows at one moment.

    Attributes:
        points: (M, 3) positions of dots, or (M, 2, 3) starts and tips of arrows, metres.
        color: red, green and blue, 0 to 255.
        radius: of dots or of the arrows' shafts, metres.
    """

    points: np.ndarray
    color: tuple[int, int, int]
    radius: float


class MotionOverlays:
    """A ``MotionOverlays`` says which keypoints, velocities and forces of contact are drawn of a stage.

    Args:
        stage: what moves.
        size: diagonal of what is shown, metres.

    Attributes:
        keypoints, velocities, forces: whether they are drawn.
        seconds: length of a velocity's arrow over its speed.
        metres_per_newton: length of a force's arrow over the force.
    """

    def __init__(self, stage: Stage, size: float) -> None:
        self._stage, self._size = stage, size
        self.keypoints = self.velocities = self.forces = False
        weights = [mass * 9.81 for layer in stage.layers for mass in layer.source.masses.values()]
        self.seconds, self.metres_per_newton = 0.1, size / 3 / max(weights, default=1.0)
        self._rows: dict[Part, torch.Tensor] = {}

    def drawings(self, time: float) -> dict[str, Drawing]:
        """Return by name what is drawn at a time, seconds, of the overlays that are asked for.

        Raises:
            InputError: a file is damaged.
        """
        points, velocities, forces = [torch.zeros(0, 3)], [_no_arrows()], [_no_arrows()]
        for layer in self._stage.layers if self.keypoints or self.velocities or self.forces else ():
            if not layer.visible:
                continue
            source, number = layer.source, layer.source.at(time)
            frame = source.frame(number, ())
            moved = frame_velocities(source, number) if self.velocities else None
            for part in layer.parts:
                if not part.visible:
                    continue
                pose = layer.pose(part)
                rows = part.rows[self._keypoint_rows(part)]
                places = pose.points(frame.means[rows])
                points.append(places)
                if moved is not None:
                    velocities.append(Arrows(places, pose.vectors(moved[rows])))
                if self.forces and part.name in source.masses:
                    force = contact_force(source, part.name, part.rows, number)
                    start = pose.points(part.means(frame).mean(0, keepdim=True))
                    forces.append(Arrows(start, pose.vectors(force[None]) / pose.scale))
        drawings = {}
        if self.keypoints:
            drawings["keypoints"] = Drawing(torch.cat(points).numpy(), _KEYPOINT_COLOR, self._size / 400)
        if self.velocities:
            segments = _joined(velocities).segments(self.seconds)
            drawings["velocities"] = Drawing(segments, _VELOCITY_COLOR, self._size / 750)
        if self.forces:
            segments = _joined(forces).segments(self.metres_per_newton)
            drawings["forces"] = Drawing(segments, _FORCE_COLOR, self._size / 200)
        return drawings

    def _keypoint_rows(self, part: Part) -> torch.Tensor:
        if part not in self._rows:
            self._rows[part] = farthest_point_sampling(part.means(part.source.frame(0, ())), _KEYPOINTS)
        return self._rows[part]


class MotionNodes:
    """A ``MotionNodes`` draws overlays in the scene of one browser.

    Args:
        scene: where they are drawn.
    """

    def __init__(self, scene: viser.SceneApi) -> None:
        self._scene = scene
        self._nodes: dict[str, viser.PointCloudHandle | viser.ArrowsHandle] = {}
        self._drawn: dict[str, Drawing] = {}

    def draw(self, drawings: Mapping[str, Drawing]) -> None:
        """Show overlays by name, and hide those that are not among them."""
        for name, node in self._nodes.items():
            if name not in drawings or not len(drawings[name].points):
                node.visible = False
        for name, drawing in drawings.items():
            if not len(drawing.points) or (self._drawn.get(name) is drawing and self._nodes[name].visible):
                continue
            if name in self._nodes:
                self._nodes[name].points = drawing.points
            else:
                self._nodes[name] = self._add(f"/motion/{name}", drawing)
            self._nodes[name].visible = True
            self._drawn[name] = drawing

    def remove(self) -> None:
        """Remove all overlays."""
        for node in self._nodes.values():
            node.remove()
        self._nodes, self._drawn = {}, {}

    def _add(self, name: str, drawing: Drawing) -> viser.PointCloudHandle | viser.ArrowsHandle:
        points, color, radius = drawing.points, drawing.color, drawing.radius
        if points.ndim == 2:
            return self._scene.add_point_cloud(
                name, points, color, point_size=2 * radius, point_shape="circle", precision="float32"
            )
        return self._scene.add_arrows(
            name, points, color, shaft_radius=radius, head_radius=2.5 * radius, head_length=5 * radius
        )


def _joined(arrows: Sequence[Arrows]) -> Arrows:
    return Arrows(torch.cat([a.starts for a in arrows]), torch.cat([a.vectors for a in arrows]))


def _no_arrows() -> Arrows:
    return Arrows(torch.zeros(0, 3), torch.zeros(0, 3))


def frame_velocities(source: SplatSource, number: int) -> torch.Tensor:
    """Return the velocities (N, 3) of a frame, metres a second: those in the file, else differences of positions."""
    frame = source.frame(number, ("vel",))
    if frame.velocities is not None:
        return frame.velocities
    before, after = _neighbours(source, number)
    if before == after:
        return torch.zeros_like(frame.means)
    moved = source.frame(after, ()).means - source.frame(before, ()).means
    return moved / ((after - before) * source.frame_dt)


def contact_force(source: SplatSource, name: str, rows: torch.Tensor, number: int) -> torch.Tensor:
    """Return the force (3,), newtons, of all that touches an object: m a - m g - external forces.

    The acceleration is the central difference of mean velocities, or without them the second difference of mean
    positions; at the first and last frame there is none, and the force is 0.

    Args:
        name: of the object, whose mass is known.
        rows: its Gaussians.
        number: of the frame.
    """
    before, after = _neighbours(source, number)
    if after - before < 2:
        return torch.zeros(3)
    acceleration = _mean_acceleration(source, rows, number)
    mass = source.masses[name]
    force = mass * (acceleration - torch.tensor(source.gravity))
    return force - external_force(source, name, number)


def external_force(source: SplatSource, name: str, number: int) -> torch.Tensor:
    """Return the external force (3,) on an object at a frame, newtons."""
    entry, time, total = source.described.get(name), number * source.frame_dt, torch.zeros(3)
    for force in source.forces:
        if entry is not None and force.obj_id == entry.label and force.start < time < force.end:
            # A force given for another mass accelerates the object as it would that mass.
            total += torch.tensor(force.force) * (source.masses[name] / force.mass if force.mass else 1.0)
    return total


def _mean_acceleration(source: SplatSource, rows: torch.Tensor, number: int) -> torch.Tensor:
    """Return the mean acceleration (3,) of some Gaussians at a frame between two others, m/s^2."""
    before, now, after = (source.frame(k, ("vel",)) for k in (number - 1, number, number + 1))
    step = source.frame_dt
    if before.velocities is not None and after.velocities is not None:
        return (after.velocities[rows] - before.velocities[rows]).mean(0) / (2 * step)
    return (after.means[rows] - 2 * now.means[rows] + before.means[rows]).mean(0) / step**2


def _neighbours(source: SplatSource, number: int) -> Sequence[int]:
    return max(number - 1, 0), min(number + 1, source.frame_count - 1)
