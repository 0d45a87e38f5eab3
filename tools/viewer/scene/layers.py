"""Hold what a person has changed about what is shown: hidden, recoloured, cut, moved and deleted Gaussians."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from gaussians.files.trajectory_format import Frame
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh, rotate_sh, sh_to_rgb
from tools.viewer.scene.poses import Eye, Pose
from tools.viewer.scene.splat_packing import splat_unit
from tools.viewer.scene.splat_source import SplatSource

Arrangement = Literal["overlaid", "side by side", "wipe"]
ARRANGEMENTS: tuple[Arrangement, ...] = ("overlaid", "side by side", "wipe")


@dataclass
class Cuts:
    """A ``Cuts`` says which Gaussians are drawn, and with how much of their colour.

    Attributes:
        least_opacity: fainter ones are hidden.
        largest_scale: those with a longer standard deviation along any axis are hidden, metres.
        box: those with a mean outside (low, high), (3,) each, metres, are hidden; None hides none.
        sh_degree: spherical harmonics of higher degree are left out.
    """

    least_opacity: float = 0.0
    largest_scale: float = torch.inf
    box: tuple[torch.Tensor, torch.Tensor] | None = None
    sh_degree: int = 0


class Part:
    """A ``Part`` is one object of a source, and what a person has changed about it.

    Attributes:
        name: what it is called.
        rows: (n,), its rows of the source's Gaussians.
        visible: whether it is drawn.
        color: red, green and blue, 0 to 1, that it is tinted with; None: its own colours.
        kept: (n,), bool, the Gaussians that have not been deleted.
        chosen: (n,), bool, the Gaussians that a person has selected.
        pose: where it has been moved to.
        unit: the factor for lengths with which it is sent to browsers.
    """

    def __init__(self, source: SplatSource, name: str, rows: torch.Tensor) -> None:
        self.source, self.name, self.rows = source, name, rows
        self.visible = True
        self.color: tuple[float, float, float] | None = None
        self.kept = torch.ones(len(rows), dtype=torch.bool)
        self.chosen = torch.zeros(len(rows), dtype=torch.bool)
        self.opacities, self._sh = self._own(source.opacities), self._own(source.sh)
        start = source.frame(0, ())
        assert start.covariances is not None
        self.pose = Pose.about(self._own(start.means).median(0).values)
        self.unit = splat_unit(self._own(start.covariances))
        self._scales: torch.Tensor | None = None
        self._base: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def _own(self, values: torch.Tensor) -> torch.Tensor:
        """Return the part's rows of what all Gaussians of the source have; a single part has all, in their order."""
        return values if len(self.rows) == len(values) else values[self.rows]

    def means(self, frame: Frame) -> torch.Tensor:
        """Return the means (n, 3), metres, of a frame of the source, as if nobody had moved the part."""
        return self._own(frame.means)

    def covariances(self, frame: Frame) -> torch.Tensor:
        """Return the covariances (n, 6), metres^2, of a frame of the source, as if nobody had moved the part."""
        assert frame.covariances is not None
        return self._own(frame.covariances)

    @property
    def scales(self) -> torch.Tensor:
        """Return the longest standard deviation of each Gaussian in frame 0 (n,), metres."""
        if self._scales is None:
            self._scales = largest_scales(self.covariances(self.source.frame(0, ())))
        return self._scales

    def shown(self, means: torch.Tensor, cuts: Cuts) -> torch.Tensor:
        """Return which Gaussians are drawn while the part is visible (n,), bool.

        Args:
            means: (n, 3), of this frame, where the part's pose takes them.
        """
        shown = self.kept & (self.opacities >= cuts.least_opacity)
        if cuts.largest_scale < torch.inf:
            shown = shown & (self.scales * self.pose.scale <= cuts.largest_scale)
        if cuts.box is not None:
            low, high = cuts.box
            shown = shown & ((means >= low) & (means <= high)).all(1)
        return shown

    def colors(self, degree: int, directions: torch.Tensor | None = None) -> torch.Tensor:
        """Return the colours (n, 3), 0 to 1, of degree 0 or as seen along ``directions``.

        Args:
            degree: of the coefficients that are used.
            directions: (n, 3), unit vectors from the camera in the orientation of frame 0; needed above degree 0.
        """
        if degree == 0 or directions is None:
            if self._base is None:
                self._base = sh_to_rgb(self._sh[:, :1], torch.zeros(len(self), 3)).clamp(0, 1)
            colors = self._base
        else:
            colors = sh_to_rgb(self._sh[:, : (degree + 1) ** 2], directions).clamp(0, 1)
        return colors if self.color is None else tinted(colors, self.color)

    def colors_seen_from(self, eye: torch.Tensor, frame: Frame, degree: int, pose: Pose) -> torch.Tensor:
        """Return the colours (n, 3), 0 to 1, seen from a point ``eye`` (3,), metres.

        Args:
            frame: of all of the source's Gaussians; with rotations where they turn.
            degree: of the coefficients that are used, at most those that there are.
            pose: where the part is drawn.
        """
        degree = min(degree, self.source.sh_degree)
        if degree == 0:
            return self.colors(0)
        directions = self.means(frame) - pose.undo(eye)
        if frame.rotations is not None:
            # A function turned by R has at d the value that it had at R^T d.
            directions = (self._own(frame.rotations).mT @ directions[..., None]).squeeze(-1)
        return self.colors(degree, torch.nn.functional.normalize(directions, dim=1))

    def gaussians(self, frame: Frame, cuts: Cuts, pose: Pose, opacity: float = 1.0) -> Gaussians:
        """Return the Gaussians that are drawn of the part, in the world.

        Args:
            frame: of all of the source's Gaussians; with rotations where they turn.
            pose: where the part is drawn.
            opacity: a factor.
        """
        means = self.means(frame)
        chosen = self.shown(pose.points(means), cuts)
        if self.color is None:
            degree = min(cuts.sh_degree, self.source.sh_degree)
            sh = self._sh[chosen, : (degree + 1) ** 2]
            if degree and frame.rotations is not None:
                sh = rotate_sh(sh, self._own(frame.rotations)[chosen])
        else:
            sh = rgb_to_sh(self.colors(0)[chosen])
        found = Gaussians(
            means=means[chosen],
            opacities=self.opacities[chosen] * opacity,
            sh=sh,
            covariances=self.covariances(frame)[chosen],
        )
        return pose.gaussians(found)


@dataclass
class Layer:
    """A ``Layer`` is a source with its parts.

    Attributes:
        source: what is shown.
        parts: its objects.
        visible: whether any of them is drawn.
        opacity: a factor for the opacities.
        offset: (3,), metres, by which it is moved to the side.
    """

    source: SplatSource
    parts: list[Part]
    visible: bool = True
    opacity: float = 1.0
    offset: torch.Tensor = field(default_factory=lambda: torch.zeros(3))

    @staticmethod
    def of(source: SplatSource) -> "Layer":
        """Return a source as nobody has changed it."""
        return Layer(source, [Part(source, name, rows) for name, rows in source.objects.items()])

    def pose(self, part: Part) -> Pose:
        """Return where a part of this layer is drawn."""
        return part.pose.shifted(self.offset)


class Stage:
    """A ``Stage`` holds all layers, and what they have in common.

    Attributes:
        layers: the sources, in step.
        background: what stands still behind them, or None.
        cuts: which Gaussians are drawn.
        arrangement: how several sources are shown.
        wipe: where the line stands that a wipe parts the first source from the others with, 0 (left) to 1.
        version: changes whenever anything does.
    """

    def __init__(self, sources: Sequence[SplatSource], background: SplatSource | None = None) -> None:
        self.layers = [Layer.of(source) for source in sources]
        self.background = None if background is None else Layer.of(background)
        self.cuts = Cuts(sh_degree=self.sh_degree)
        self.arrangement: Arrangement = "overlaid"
        self.wipe = 0.5
        self.version = 0

    @property
    def all_layers(self) -> list[Layer]:
        """Return the layers and, last, the background."""
        return self.layers + ([] if self.background is None else [self.background])

    @property
    def sh_degree(self) -> int:
        """Return the highest degree of spherical harmonics among the sources."""
        return max(layer.source.sh_degree for layer in self.all_layers)

    @property
    def up(self) -> str:
        """Return the axis that points upwards, such as "-y"."""
        return self.layers[0].source.up

    @property
    def signed_up(self) -> str:
        """Return the axis that points upwards with its sign, such as "+z"."""
        return self.up if self.up.startswith("-") else f"+{self.up}"

    @property
    def depends_on_eye(self) -> bool:
        """Return whether what is drawn depends on where it is seen from."""
        return self.arrangement == "wipe" or self.cuts.sh_degree > 0

    @property
    def duration(self) -> tuple[int, float]:
        """Return how many frames are played, and the seconds between them: the shortest ones, to the longest end."""
        moving = [layer.source for layer in self.layers if layer.source.frame_count > 1]
        if not moving:
            return 1, 1.0
        step = min(source.frame_dt for source in moving)
        end = max((source.frame_count - 1) * source.frame_dt for source in moving)
        return int(end / step + 1e-6) + 1, step

    def changed(self) -> None:
        """Note that something has changed."""
        self.version += 1

    def arrange(self, arrangement: Arrangement, sideways: torch.Tensor) -> None:
        """Show several sources over each other or in a row.

        Args:
            sideways: (3,), metres from one to the next in a row.
        """
        self.arrangement = arrangement
        for number, layer in enumerate(self.layers):
            apart = number - (len(self.layers) - 1) / 2 if arrangement == "side by side" else 0.0
            layer.offset = apart * sideways
        self.changed()

    def frames(self, time: float) -> list[Frame]:
        """Read the frame of each layer, the background last, at a time, seconds.

        Raises:
            InputError: a file is damaged.
        """
        fields = ("rot",) if self.cuts.sh_degree > 0 else ()
        return [layer.source.frame(layer.source.at(time), fields) for layer in self.all_layers]

    def beyond_wipe(self, layer: Layer, points: torch.Tensor, eye: Eye) -> torch.Tensor:
        """Return which of a layer's points (N, 3) are on the other layers' side of a wipe (N,), bool."""
        if self.arrangement != "wipe" or layer is self.background:
            return torch.zeros(len(points), dtype=torch.bool)
        right = eye.image_places(points)[0][:, 0] >= self.wipe
        return right if layer is self.layers[0] else ~right

    def gaussians(self, frames: Sequence[Frame], layers: Sequence[Layer] | None = None) -> Gaussians:
        """Return all Gaussians that are drawn, in the world.

        Args:
            frames: one for each of ``all_layers``.
            layers: those to take, by default all.
        """
        found = [
            part.gaussians(frame, self.cuts, layer.pose(part), layer.opacity)
            for layer, frame in zip(self.all_layers, frames, strict=True)
            if layer.visible and (layers is None or any(layer is chosen for chosen in layers))
            for part in layer.parts
            if part.visible
        ]
        return Gaussians.cat(found) if found else nothing()


def nothing() -> Gaussians:
    """Return no Gaussians."""
    return Gaussians(torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 1, 3), covariances=torch.zeros(0, 6))


def tinted(colors: torch.Tensor, tint: tuple[float, float, float]) -> torch.Tensor:
    """Return colours (n, 3), 0 to 1, with the hue of ``tint`` and light and dark as before."""
    luma = colors @ torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601
    shade = luma / luma.mean().clamp_min(1e-3)
    return (shade[:, None] * torch.tensor(tint)).clamp(0, 1)


def largest_scales(covariances: torch.Tensor) -> torch.Tensor:
    """Return the longest standard deviation (n,), metres, of covariances (n, 6): root of the largest eigenvalue.

    The eigenvalues of a symmetric matrix have a closed form (Smith 1961), which for a million is much faster than
    what solves for any matrix.
    """
    xx, xy, xz, yy, yz, zz = covariances.double().unbind(1)
    mean = (xx + yy + zz) / 3
    a, b, c = xx - mean, yy - mean, zz - mean
    p = ((a**2 + b**2 + c**2 + 2 * (xy**2 + xz**2 + yz**2)) / 6).sqrt()
    half_det = (a * (b * c - yz**2) - xy * (xy * c - yz * xz) + xz * (xy * yz - b * xz)) / 2
    cosine = (half_det / p**3).nan_to_num(1.0).clamp(-1, 1)
    return (mean + 2 * p * torch.cos(torch.acos(cosine) / 3)).clamp_min(0).sqrt().float()
