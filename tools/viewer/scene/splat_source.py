"""Open what the viewer shows: Gaussians of a file, a scene or a trajectory, read frame by frame, by object."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from dataset.layout import Layout, find_point_cloud, subdirectories
from dataset.rendering.background import load_background
from dataset.scenes.scene_objects import (
    IndistinctObjectsError,
    SceneObject,
    is_described,
    scene_labels,
    scene_objects,
    trajectory_objects,
)
from gaussians.cameras import Cameras, read_cameras
from gaussians.files.external_forces import ExternalForce, recorded_external_forces
from gaussians.files.splats.splat_formats import read_splats
from gaussians.files.splats.splat_rows import CAPTURE_UP
from gaussians.files.trajectory_format import Frame, Walls
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import degree_of
from gaussians.stage.errors import InputError

# Trajectories of positions alone are shown as dots of this standard deviation, metres.
_DOT = 0.004
# What videogen.reconstruct writes, the better one first.
_RECONSTRUCTED = ("sim_refine", "sim")


@dataclass(frozen=True)
class SplatSource:
    """A ``SplatSource`` is N Gaussians at one or more moments.

    Attributes:
        name: what it is called in the viewer.
        opacities: (N,), 0 to 1.
        sh: (N, K, 3), spherical-harmonic coefficients in the orientation of frame 0.
        objects: by name, the rows of each object; what belongs to none is called "rest".
        frame: reads a frame, with covariances and those of its other fields that are asked for and there.
        frame_count: moments; 1 for what does not move.
        frame_dt: seconds from frame to frame.
        walls: the simulation box.
        up: the axis that points upwards, such as ``"-y"``.
        note: what a person should know of it, or empty.
        described: by name, what is known of objects.
        masses: kg, by name, of the objects whose mass is known.
        gravity: m/s^2.
        forces: external forces that act on its objects.
        cameras: of the pictures that it was made from or is seen by, if any.
        kind: what it is, which tells a prediction from a simulation of the same name.
    """

    name: str
    opacities: torch.Tensor
    sh: torch.Tensor
    objects: Mapping[str, torch.Tensor]
    frame: Callable[[int, Sequence[str]], Frame]
    frame_count: int = 1
    frame_dt: float = 1.0
    walls: Walls | None = None
    up: str = "z"
    note: str = ""
    described: Mapping[str, SceneObject] = field(default_factory=dict)
    masses: Mapping[str, float] = field(default_factory=dict)
    gravity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    forces: tuple[ExternalForce, ...] = ()
    cameras: Cameras | None = None
    kind: str = "file"

    def __len__(self) -> int:
        return len(self.opacities)

    @property
    def sh_degree(self) -> int:
        return degree_of(self.sh.shape[1])

    def at(self, time: float) -> int:
        """Return the frame shown at a time, seconds: the one last reached, its last one after its end."""
        # The small addition keeps rounding from showing the frame before.
        return max(0, min(int(time / self.frame_dt + 1e-6), self.frame_count - 1))


def open_sources(paths: Sequence[Path], layout: Layout, up: str | None = None) -> list[SplatSource]:
    """Open what is at each of ``paths``, and give each source a name of its own.

    Raises:
        InputError: nothing that can be shown is at one of them, or it is damaged.
    """
    sources = [open_source(path, layout, up) for path in paths]
    for names in ([source.name for source in sources], [source.kind for source in sources]):
        if len(set(names)) == len(names):
            break
    else:
        names = [f"{number} {source.name}" for number, source in enumerate(sources, 1)]
    return [replace(source, name=name) for source, name in zip(sources, names, strict=True)]


def open_source(path: Path, layout: Layout, up: str | None = None) -> SplatSource:
    """Open what is at ``path``: a trajectory, a file of Gaussians, a directory with one, or a reconstruction.

    Args:
        layout: where objects that people added are described.
        up: the axis that points upwards; None: that of the file, for a capture without one -y, else z.

    Raises:
        InputError: nothing that can be shown is there, or it is damaged.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or directory")
    path = _predicted(path)
    if is_trajectory(path):
        return replace(_open_trajectory(path, layout), up=up or "z")
    path = next((path / name for name in _RECONSTRUCTED if (path / name).is_dir()), path)
    described = is_described(path, layout)
    splats = read_splats(find_point_cloud(path), keep_rows=described)
    gaussians = splats.gaussians
    entries: list[SceneObject] = []
    if path.suffix.lower() == ".pt":
        objects, usual = rows_by_name(gaussians.labels, len(gaussians), []), "z"
    else:
        objects, entries = _objects_of_scene(path, len(gaussians), layout)
        usual = "z" if described else CAPTURE_UP
    notes = list(splats.notes)
    cameras = None
    file = path / "cameras.json" if path.is_dir() else path.parent / "cameras.json"
    if file.is_file():
        try:
            cameras = read_cameras(file)
        except InputError as error:  # Gaussians can be looked at without them
            notes.append(f"cameras are not shown: {error}")
    return SplatSource(
        _name_of(path),
        gaussians.opacities,
        gaussians.sh,
        objects,
        _standing(gaussians),
        up=up or splats.up or usual,
        note="; ".join(f"{path}: {note}" for note in notes),
        described=entries_by_name(entries),
        cameras=cameras,
    )


def is_trajectory(path: Path) -> bool:
    """Return whether a path is the directory of a trajectory."""
    return path.is_dir() and ((path / "opacity.h5").is_file() or (path / "meta.json").is_file())


def _predicted(path: Path) -> Path:
    """Return the one trajectory in what ``videogen.eval --save_trajectory`` has written, another path as it is."""
    folder = path / "trajectory"
    if not folder.is_dir():
        return path
    found = [entry for entry in subdirectories(folder) if is_trajectory(entry)]
    if len(found) != 1:
        raise InputError(f"{folder}: expected one trajectory, found {len(found)}; name one of them")
    return found[0]


def reconstructed_background(path: Path) -> Path | None:
    """Return the rest of a reconstruction, ``bg``, which stands still behind its objects; None if there is none."""
    folder = path.parent if path.name in _RECONSTRUCTED else path
    named = any((folder / name).is_dir() for name in _RECONSTRUCTED)
    return folder / "bg" if named and (folder / "bg").is_dir() else None


def open_background(path: Path) -> SplatSource:
    """Open a background, placed in the world as ``dataset.render`` places it.

    Raises:
        InputError: a file is missing or damaged.
    """
    gaussians = load_background(path)
    rows = {"background": torch.arange(len(gaussians))}
    return SplatSource("background", gaussians.opacities, gaussians.sh, rows, _standing(gaussians))


def _standing(gaussians: Gaussians) -> Callable[[int, Sequence[str]], Frame]:
    frame = Frame(gaussians.means, gaussians.covariance())
    return lambda _, fields: frame


def _name_of(path: Path) -> str:
    """Return a source's name: that of its directory or file, of a reconstruction that of its scene."""
    place = path.resolve()
    if place.name in _RECONSTRUCTED:
        return f"{place.parent.name} {place.name}"
    return place.name if place.is_dir() else place.stem


def _open_trajectory(path: Path, layout: Layout) -> SplatSource:
    reader = TrajectoryReader(path, allow_incomplete=True)
    entries: Sequence[SceneObject] = ()
    try:
        found = trajectory_objects(reader, layout)
        objects, entries = rows_by_name(found.labels, reader.count, found.objects), found.objects
    except IndistinctObjectsError:
        objects = _whole(path, reader.count)

    def frame(k: int, fields: Sequence[str]) -> Frame:
        read = reader.frame(k, ("cov3D", *fields))
        if read.covariances is not None:
            return read
        return replace(read, covariances=(torch.tensor([1.0, 0, 0, 1, 0, 1]) * _DOT**2).expand(reader.count, 6))

    source = SplatSource(
        _name_of(path), reader.opacities, reader.sh, objects, frame, len(reader), reader.frame_dt,
        described=entries_by_name(entries),
    )  # fmt: skip
    meta = reader.meta
    if meta is None:
        return source
    note = ""
    if not meta.complete:
        note = f"{path}: incomplete: its simulation was interrupted or still runs; {len(reader)} frames are there"
    names = object_names(entries)
    forces = recorded_external_forces(f"{path / 'meta.json'}: settings", meta.settings.get("external_forces", []))
    return replace(
        source,
        walls=meta.walls,
        note=note,
        kind="prediction" if "checkpoint" in meta.settings else "simulation",
        masses={names[entry.label]: entry.mass for entry in meta.objects if entry.label in names},
        gravity=meta.gravity,
        forces=forces,
    )


def _objects_of_scene(path: Path, count: int, layout: Layout) -> tuple[dict[str, torch.Tensor], list[SceneObject]]:
    entries = scene_objects(path, layout)
    try:
        return rows_by_name(scene_labels(path, entries, count), count, entries), entries
    except IndistinctObjectsError:
        return _whole(path, count), []


def _whole(path: Path, count: int) -> dict[str, torch.Tensor]:
    """Return all rows as one object, for scenes in which nothing tells objects apart."""
    return {path.resolve().stem: torch.arange(count)}


def object_names(entries: Sequence[SceneObject]) -> dict[int, str]:
    """Return the name of each label; objects of equal name are numbered."""
    times = Counter(entry.name for entry in entries)
    return {entry.label: entry.name if times[entry.name] == 1 else f"{entry.name} {entry.label}" for entry in entries}


def entries_by_name(entries: Sequence[SceneObject]) -> dict[str, SceneObject]:
    """Return the objects by the names of ``object_names``."""
    names = object_names(entries)
    return {names[entry.label]: entry for entry in entries}


def rows_by_name(labels: torch.Tensor | None, count: int, entries: Sequence[SceneObject]) -> dict[str, torch.Tensor]:
    """Return rows by name of object; objects of equal name are numbered, those without a name go by their label."""
    if labels is None:
        return {"all": torch.arange(count)}
    names = object_names(entries)
    found = [int(label) for label in labels.unique()]
    return {
        names.get(label, f"object {label}" if label >= 0 else "rest"): (labels == label).nonzero().squeeze(1)
        for label in sorted(found, key=lambda label: (label < 0, label))
    }
