"""Open what the viewer shows: Gaussians of a file, a scene or a trajectory, read frame by frame, by object."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dataset.layout import Layout, find_point_cloud
from dataset.rendering.background import load_background
from dataset.scenes.scene_objects import (
    IndistinctObjectsError,
    SceneObject,
    is_described,
    scene_labels,
    scene_objects,
    trajectory_objects,
)
from gaussians.files.splats.splat_formats import read_splats
from gaussians.files.splats.splat_rows import CAPTURE_UP
from gaussians.files.trajectory_format import Walls
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import sh_to_rgb
from gaussians.stage.errors import InputError

# Trajectories of positions alone are shown as dots of this standard deviation, metres.
_DOT = 0.004


@dataclass(frozen=True)
class SplatSource:
    """A ``SplatSource`` is N Gaussians at one or more moments.

    Attributes:
        opacities: (N,), 0 to 1.
        colors: (N, 3), 0 to 1, as seen from any side: the viewer draws degree 0 alone.
        objects: by name, the rows of each object; what belongs to none is called "rest".
        shapes: means (N, 3), metres, and covariances (N, 6), metres^2, of a frame.
        frame_count: moments; 1 for what does not move.
        frame_dt: seconds from frame to frame.
        walls: the simulation box.
        up: the axis that points upwards, such as ``"-y"``.
        note: what a person should know of it, or empty.
    """

    opacities: torch.Tensor
    colors: torch.Tensor
    objects: Mapping[str, torch.Tensor]
    shapes: Callable[[int], tuple[torch.Tensor, torch.Tensor]]
    frame_count: int = 1
    frame_dt: float = 1.0
    walls: Walls | None = None
    up: str = "z"
    note: str = ""

    def __len__(self) -> int:
        return len(self.opacities)


def open_source(path: Path, layout: Layout, up: str | None = None) -> SplatSource:
    """Open what is at ``path``: a trajectory directory, or a file of Gaussians or a directory with one.

    Args:
        layout: where objects that people added are described.
        up: the axis that points upwards; None: that of the file, for a capture without one -y, else z.

    Raises:
        InputError: nothing that can be shown is there, or it is damaged.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or directory")
    if path.is_dir() and ((path / "opacity.h5").is_file() or (path / "meta.json").is_file()):
        return replace(_open_trajectory(path, layout), up=up or "z")
    described = is_described(path, layout)
    splats = read_splats(find_point_cloud(path), keep_rows=described)
    gaussians = splats.gaussians
    if path.suffix.lower() == ".pt":
        objects, usual = _objects_of(gaussians.labels, len(gaussians), []), "z"
    else:
        objects, usual = _objects_of_scene(path, len(gaussians), layout), "z" if described else CAPTURE_UP
    shown = _still(gaussians, objects)
    return replace(shown, up=up or splats.up or usual, note="; ".join(f"{path}: {note}" for note in splats.notes))


def open_background(path: Path) -> SplatSource:
    """Open a background, placed in the world as ``dataset.render`` places it.

    Raises:
        InputError: a file is missing or damaged.
    """
    gaussians = load_background(path)
    return _still(gaussians, {"background": torch.arange(len(gaussians))})


def _still(gaussians: Gaussians, objects: Mapping[str, torch.Tensor]) -> SplatSource:
    shape = gaussians.means, gaussians.covariance()
    return SplatSource(gaussians.opacities, _colors(gaussians.sh), objects, lambda _: shape)


def _open_trajectory(path: Path, layout: Layout) -> SplatSource:
    reader = TrajectoryReader(path, allow_incomplete=True)
    try:
        found = trajectory_objects(reader, layout)
        objects = _objects_of(found.labels, reader.count, found.objects)
    except IndistinctObjectsError:
        objects = _whole(path, reader.count)

    def shapes(k: int) -> tuple[torch.Tensor, torch.Tensor]:
        frame = reader.frame(k, ("pos", "cov3D"))
        if frame.covariances is not None:
            return frame.means, frame.covariances
        return frame.means, (torch.tensor([1.0, 0, 0, 1, 0, 1]) * _DOT**2).expand(reader.count, 6)

    note = ""
    if reader.meta is not None and not reader.meta.complete:
        note = f"{path}: incomplete: its simulation was interrupted or still runs; {len(reader)} frames are there"
    walls = reader.meta.walls if reader.meta else None
    colors = _colors(reader.sh)
    return SplatSource(reader.opacities, colors, objects, shapes, len(reader), reader.frame_dt, walls, note=note)


def _colors(sh: torch.Tensor) -> torch.Tensor:
    dc = sh[:, :1]
    return sh_to_rgb(dc, torch.zeros_like(dc[:, 0])).clamp(0, 1)


def _objects_of_scene(path: Path, count: int, layout: Layout) -> dict[str, torch.Tensor]:
    objects = scene_objects(path, layout)
    try:
        return _objects_of(scene_labels(path, objects, count), count, objects)
    except IndistinctObjectsError:
        return _whole(path, count)


def _whole(path: Path, count: int) -> dict[str, torch.Tensor]:
    """Return all rows as one object, for scenes in which nothing tells objects apart."""
    return {path.resolve().stem: torch.arange(count)}


def _objects_of(labels: torch.Tensor | None, count: int, objects: Sequence[SceneObject]) -> dict[str, torch.Tensor]:
    """Return rows by name of object; objects of equal name are numbered, those without a name go by their label."""
    if labels is None:
        return {"all": torch.arange(count)}
    times = Counter(entry.name for entry in objects)
    names = {entry.label: entry.name if times[entry.name] == 1 else f"{entry.name} {entry.label}" for entry in objects}
    found = [int(label) for label in labels.unique()]
    return {
        names.get(label, f"object {label}" if label >= 0 else "rest"): (labels == label).nonzero().squeeze(1)
        for label in sorted(found, key=lambda label: (label < 0, label))
    }
