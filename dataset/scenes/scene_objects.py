"""This module finds the objects of a scene or a trajectory, and which object each Gaussian belongs to."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from dataset.catalog import OBJECTS, object_by_name
from dataset.layout import Layout
from dataset.scenes.scene_names import objects_in_name, scene_directory, scene_of
from gaussians.files.labels import read_labels
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.numbers import Positive
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json_as, validated

MAX_OBJECTS = 2**16
"""More objects than any scene has: labels are below this."""
DEFAULT_YOUNGS_MODULUS = 1e5
"""Pa, of objects that nothing describes."""
DEFAULT_DENSITY = 500.0
"""kg/m^3, of objects that nothing describes."""


class IndistinctObjectsError(InputError):
    """Raised where nothing tells which object each Gaussian belongs to, though no file is damaged."""


class SceneObject(BaseModel):
    """Describes one object of a scene, an entry of its ``objects.json``; None stands for unknown."""

    model_config = ConfigDict(
        extra="ignore", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    label: Annotated[int, Field(ge=0, lt=MAX_OBJECTS)]
    """The label of its Gaussians."""
    name: str
    """What it is called, in the catalogue if it has an entry there."""
    index: int = -1
    """Its number in the catalogue, -1 for unknown."""
    count: Annotated[int, Field(ge=0)] | None = None
    """Its number of Gaussians before any opacity cut."""
    youngs_modulus: Positive | None = None
    """Pa"""
    density: Positive | None = None
    """kg/m^3"""
    material: str | None = None
    """The name of its constitutive law."""


@dataclass(frozen=True)
class TrajectoryObjects:
    """Holds the objects of a trajectory of N Gaussians.

    Attributes:
        objects: the objects that something describes, by label.
        labels: (N,) int32, the object of each Gaussian, -1 for none.
    """

    objects: tuple[SceneObject, ...]
    labels: torch.Tensor

    @property
    def names(self) -> tuple[str, ...]:
        """Return the name of each label, ``object<label>`` for one that nothing describes."""
        known = {entry.label: entry.name for entry in self.objects}
        count = max([*known, int(self.labels.max())]) + 1
        return tuple(known.get(label, f"object{label}") for label in range(count))


def scene_objects(path: Path, layout: Layout | None = None) -> list[SceneObject]:
    """Return the objects of a scene, by label: 0, 1, 2, ...

    They come from its ``objects.json``, else from its name if that lists known objects, else there is one object for
    each label of its ``segmentation.npy``, else a single one.

    Args:
        path: scene directory or PLY file.
        layout: where objects that people added are described.

    Raises:
        InputError: ``objects.json`` or ``segmentation.npy`` is damaged.
    """
    directory = scene_directory(path)
    if (directory / "objects.json").is_file():
        return _read_objects(directory / "objects.json")
    file = directory / "segmentation.npy"
    return _undescribed_objects(path, read_labels(file) if file.is_file() else None, layout)


def is_described(path: Path, layout: Layout | None = None) -> bool:
    """Return whether something says what the Gaussians of a path are: files beside them, or the name of the scene.

    Otherwise they are a capture: Gaussians of another program, in its axes and units.

    Args:
        path: scene directory or file of Gaussians.
        layout: where objects that people added are described.
    """
    directory = scene_directory(path)
    if any((directory / name).is_file() for name in ("objects.json", "segmentation.npy", "object.json")):
        return True
    scene = scene_of(path)
    return bool(_named_objects(scene, layout)) or (path.is_dir() and scene in {entry.name for entry in OBJECTS})


def _read_objects(path: Path) -> list[SceneObject]:
    objects = read_json_as(path, list[SceneObject])
    if [entry.label for entry in objects] != list(range(len(objects))) or not objects:
        raise InputError(f"{path}: label: expected 0, 1, 2, ..., found {[entry.label for entry in objects]}")
    return objects


def _undescribed_objects(path: Path, labels: torch.Tensor | None, layout: Layout | None) -> list[SceneObject]:
    """Return the objects that the scene's name lists, if ``labels`` have as many; else one for each label."""
    count = 1 if labels is None else int((labels.unique() >= 0).sum())
    named = _named_objects(scene_of(path), layout)
    if named and (labels is None or count == len(named)):
        return named
    if count == 1:
        return [SceneObject(label=0, name=path.stem if path.is_file() else path.resolve().name)]
    return [SceneObject(label=label, name=f"object{label}") for label in range(count)]


def _named_objects(scene: str, layout: Layout | None) -> list[SceneObject]:
    """Return the objects that a scene's name lists; none if one of them is unknown."""
    try:
        entries = [object_by_name(name, layout) for name in objects_in_name(scene)]
    except InputError:
        return []
    return [
        SceneObject(
            label=label,
            name=entry.name,
            index=entry.index,
            # Published scenes hold the published objects; ours come with objects.json.
            count=entry.gaussian_count or None,
            youngs_modulus=entry.youngs_modulus,
            density=entry.density,
            material=entry.material,
        )
        for label, entry in enumerate(entries)
    ]


def scene_labels(path: Path, objects: Sequence[SceneObject], count: int) -> torch.Tensor:
    """Return the label of each of a scene's Gaussians, in the order of its PLY file: (count,) int32, -1 for none.

    They come from ``segmentation.npy``; without it a single object has all Gaussians, and several have theirs one after
    the other, as many as their ``count`` says.

    Args:
        path: scene directory or PLY file.
        objects: its objects, by label.
        count: its number of Gaussians.

    Raises:
        IndistinctObjectsError: there is no file, and the objects' counts do not add up to ``count``.
        InputError: the file is damaged or of another length, or has more labels than there are objects.
    """
    file = scene_directory(path) / "segmentation.npy"
    if file.is_file():
        labels = read_labels(file)
        if len(labels) != count:
            raise InputError(f"{file}: expected {count} labels, one for each Gaussian, found {len(labels)}")
        return _ranked(file, labels, len(objects))
    if len(objects) == 1:
        return torch.zeros(count, dtype=torch.int32)
    labels_by_count = _consecutive(objects, count)
    if labels_by_count is None:
        names = ", ".join(entry.name for entry in objects)
        raise IndistinctObjectsError(f"{file}: no such file: expected a label for each Gaussian, to tell {names} apart")
    return labels_by_count


def _ranked(where: Path, labels: torch.Tensor, count: int) -> torch.Tensor:
    """Return ``labels`` as 0 to ``count`` - 1 in the order of their values, -1 for negative ones."""
    values = labels.numpy()
    used = np.unique(values[values >= 0])
    if len(used) > count:
        raise InputError(f"{where}: expected {count} labels, one for each object, found {len(used)}")
    # Files that count from 1, or on from other objects, mean the same order; labels within 0 to K-1 stay as they are.
    ranks = used if used.size == 0 or used[-1] < count else np.arange(len(used))
    mapped = np.full(len(values), -1, np.int32)
    mapped[values >= 0] = ranks[np.searchsorted(used, values[values >= 0])]
    return torch.from_numpy(mapped)


def _consecutive(objects: Sequence[SceneObject], count: int) -> torch.Tensor | None:
    """Return labels (count,) of objects that stand one after the other; None if their counts do not add up to that."""
    counts = [entry.count or 0 for entry in objects]
    if sum(counts) != count:
        return None
    return torch.arange(len(objects), dtype=torch.int32).repeat_interleave(torch.tensor(counts))


def trajectory_objects(trajectory: TrajectoryReader, layout: Layout) -> TrajectoryObjects:
    """Return the objects of a trajectory and the label of each of its Gaussians.

    Our trajectories record both. For a published one the objects are those of the scene that its directory is named
    after, and the labels those of a ``segmentation.npy`` in its directory or in the scene's; without any the objects
    have as many Gaussians, one after the other, as the catalogue says.

    Args:
        layout: where scenes and objects that people added are.

    Raises:
        IndistinctObjectsError: nothing tells the objects apart.
        InputError: a file is damaged, or has more labels than there are objects.
    """
    path, meta, labels = trajectory.path, trajectory.meta, trajectory.labels
    if meta is not None and meta.objects and labels is not None:
        entries = [vars(entry) for entry in meta.objects]
        recorded = validated(f"{path / 'meta.json'}: objects", entries, list[SceneObject])
        if (highest := int(labels.max())) >= MAX_OBJECTS:
            raise InputError(f"{path}: expected labels below {MAX_OBJECTS}, found {highest}")
        return TrajectoryObjects(tuple(sorted(recorded, key=lambda entry: entry.label)), labels)
    if labels is not None:
        objects = _undescribed_objects(path, labels, layout)
        return TrajectoryObjects(tuple(objects), _ranked(path, labels, len(objects)))
    scene, labels = _segmented_scene(path, trajectory.count, layout)
    objects = scene_objects(scene, layout)
    if labels is not None:
        return TrajectoryObjects(tuple(objects), _ranked(scene / "segmentation.npy", labels, len(objects)))
    known = len(objects) == 1 and objects[0].index >= 0
    labels = torch.zeros(trajectory.count, dtype=torch.int32) if known else _consecutive(objects, trajectory.count)
    if labels is None:
        raise IndistinctObjectsError(
            f"{path}: cannot tell objects apart: no labels.npy or segmentation.npy for {trajectory.count} Gaussians, "
            f"to tell {', '.join(entry.name for entry in objects)} apart, and the catalogue's objects in its name have "
            f"{sum(entry.count or 0 for entry in objects)}"
        )
    return TrajectoryObjects(tuple(objects), labels)


def _segmented_scene(path: Path, count: int, layout: Layout) -> tuple[Path, torch.Tensor | None]:
    """Return a published trajectory's scene with its labels, or ``path`` where its scene has none that fit."""
    group, name = Path(os.path.abspath(path)).parts[-2:]
    scene = layout.scene_dir(group, name)
    if (scene / "segmentation.npy").is_file():
        labels = read_labels(scene / "segmentation.npy")
        if len(labels) == count:
            return scene, labels
    return path, None
