"""Which objects a scene holds, what they are made of, and which Gaussians are theirs."""

import json
import math
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dataset.catalog import FIRST_CUSTOM_INDEX, object_by_name
from dataset.config import Config
from dataset.layout import Layout
from dataset.mpm.constitutive_laws import LAWS, Positive
from gaussians.files.labels import read_labels
from gaussians.stage.command_line import ArgumentParser
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json_as


class SceneObject(BaseModel):
    """One entry of a scene's ``objects.json``; None where the scene does not say."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)

    label: Annotated[int, Field(ge=0)]
    """its value in segmentation.npy"""
    name: str
    index: int = -1
    """its number in the catalogue, -1 for unknown"""
    count: int | None = None
    """Gaussians before any opacity cut"""
    youngs_modulus: Positive | None = None
    """Pa"""
    density: Positive | None = None
    """kg/m^3"""
    material: str | None = None
    """constitutive law"""


@dataclass(frozen=True)
class ObjectMaterial:
    """An object with everything the solver needs.

    Attributes:
        youngs_modulus: Pa.
        nu: Poisson's ratio.
        density: kg/m^3.
        material: name of the constitutive law.
        settings: values of ``LAWS[material].settings`` by name.
    """

    name: str
    label: int
    index: int
    youngs_modulus: float
    nu: float
    density: float
    material: str
    settings: Mapping[str, Any]


def scene_directory(path: Path) -> Path:
    """Where the files beside a scene's PLY lie: ``path`` itself, or the folder of a PLY file."""
    return path if path.is_dir() else path.parent


def scene_name(path: Path) -> str:
    """The scene that ``path`` is of.

    That is the name of the folder or file, but of a reconstruction, ``<scene>/<background>/sim_refine``, the scene.
    """
    path = path.resolve()
    if path.is_file() and path.stem != "point_cloud":
        return path.stem
    parts = list((path.parent if path.is_file() else path).parts)
    if parts[-1] not in ("sim", "sim_refine"):
        return parts[-1]
    candidates = parts[-2:-4:-1]
    return next((part for part in candidates if part.split("_")[0].isdecimal()), candidates[0])


def scene_objects(path: Path, layout: Layout) -> list[SceneObject]:
    """The objects of the scene at ``path``.

    From its ``objects.json``, else from a name like ``3_ball_duck`` of it or of a folder above it, else one object for
    each label, else a single one.

    Args:
        path: scene directory or PLY file.
        layout: where objects that people added are described.

    Raises:
        InputError: ``objects.json`` or ``segmentation.npy`` is damaged, or they contradict each other.
    """
    directory = scene_directory(path)
    if (directory / "objects.json").is_file():
        return _read_objects(directory / "objects.json")
    labels = directory / "segmentation.npy"
    found = np.unique(read_labels(labels).numpy()) if labels.is_file() else np.zeros(1)
    count = int((found >= 0).sum())
    entries = _entries_by_name(path, layout)
    if entries and not (labels.is_file() and count != len(entries)):
        return [entry.model_copy(update={"label": label}) for label, entry in enumerate(entries)]
    if count == 1:
        return [SceneObject(label=0, name=path.stem if path.is_file() else path.resolve().name)]
    return [SceneObject(label=label, name=f"object{label}") for label in range(count)]


def _read_objects(path: Path) -> list[SceneObject]:
    objects = read_json_as(path, list[SceneObject])
    if [entry.label for entry in objects] != list(range(len(objects))) or not objects:
        raise InputError(f"{path}: label: expected 0, 1, 2, ..., found {[entry.label for entry in objects]}")
    return objects


def _entries_by_name(path: Path, layout: Layout) -> list[SceneObject]:
    """The objects that the nearest folder called <number>_<object>_<object>... names; empty if there is none."""
    for part in reversed(path.resolve().parts):
        number, *names = part.split("_")
        if not number.isdecimal() or not names:
            continue
        try:
            entries = [object_by_name(name, layout) for name in names]
        except InputError:
            continue
        return [
            SceneObject(
                label=0,
                name=entry.name,
                index=entry.index,
                # Published scenes hold the published objects; ours come with objects.json.
                count=entry.gaussian_count or None,
                youngs_modulus=entry.youngs_modulus,
                density=entry.density,
                material=entry.material,
            )
            for entry in entries
        ]
    return []


def label_rows(path: Path, objects: Sequence[SceneObject], count: int) -> np.ndarray:
    """The label (count,) int32 of each row of the scene's PLY, -1 for none.

    From ``segmentation.npy``; without it, from the objects' counts, one after the other; a single object has all rows.

    Raises:
        InputError: the file is damaged or of another length, or nothing tells the objects apart.
    """
    file = scene_directory(path) / "segmentation.npy"
    if file.is_file():
        labels = read_labels(file).numpy()
        if len(labels) != count:
            raise InputError(f"{file}: expected {count} labels, one for each Gaussian, found {len(labels)}")
        used = np.unique(labels[labels >= 0])
        if len(used) > len(objects):
            raise InputError(f"{file}: expected {len(objects)} labels, one for each object, found {len(used)}")
        # Files that count from 1, or on from other objects, mean the same order. A subset of 0..K-1 is itself.
        ranks = used if used.size == 0 or used[-1] < len(objects) else np.arange(len(used))
        mapped = np.full(count, -1, np.int32)
        mapped[labels >= 0] = ranks[np.searchsorted(used, labels[labels >= 0])]
        return mapped
    if len(objects) == 1:
        return np.zeros(count, np.int32)
    counts = [entry.count or 0 for entry in objects]
    if sum(counts) != count:
        names = ", ".join(entry.name for entry in objects)
        raise InputError(f"{file}: no such file: expected a label for each Gaussian, to tell {names} apart")
    return np.repeat(np.arange(len(objects), dtype=np.int32), counts)


def add_material_arguments(parser: ArgumentParser) -> None:
    """The flags that say what objects are made of: of every command that moves objects."""
    parser.add_argument("--E", type=_parse_values, metavar="'[..]'", help="Young's modulus of each object by label, Pa")
    parser.add_argument("--density", type=_parse_values, metavar="'[..]'", help="density of each object, kg/m^3")


def _parse_values(text: str) -> list[float]:
    """A JSON list of positive numbers."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError:
        values = None
    numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    if not numbers or not values or not all(0 < value < math.inf for value in values):
        raise ArgumentTypeError(f"expected a list of positive numbers such as '[1e5, 2e6]', found {text!r}")
    return [float(value) for value in values]


def check_values(objects: Sequence[SceneObject], **flags: Sequence[float] | None) -> None:
    """Refuse flags of ``add_material_arguments``, by name, whose number of values is not that of the objects.

    Raises:
        InputError: naming the flag and the objects.
    """
    for flag, values in flags.items():
        if values is not None and len(values) != len(objects):
            names = ", ".join(entry.name for entry in objects)
            raise InputError(f"--{flag}: expected {len(objects)} values ({names}), found {len(values)}")


def object_materials(
    objects: Sequence[SceneObject],
    config: Config,
    E: Sequence[float] | None = None,
    density: Sequence[float] | None = None,
    config_path: Path | str = "config",
) -> list[ObjectMaterial]:
    """What each object is made of: from ``E`` and ``density`` if given, else the config, else the scene itself.

    A config's map by name must name every object of the catalogue that the scene holds; objects that people added
    (index 100 and up) may speak for themselves.

    Args:
        E, density: one value an object, Pa and kg/m^3, as the flags of that name give them.

    Raises:
        InputError: a value is missing, or the flags' number of values is not that of the objects.
    """
    check_values(objects, E=E, density=density)
    laws = [_law(config, entry, config_path) for entry in objects]
    return [
        ObjectMaterial(
            name=entry.name,
            label=entry.label,
            index=entry.index,
            youngs_modulus=E[i] if E else _choose("E", config.E, entry, entry.youngs_modulus, config_path),
            nu=config.nu,
            density=density[i] if density else _choose("density", config.density, entry, entry.density, config_path),
            material=laws[i],
            settings={key: _setting(key, config, entry, config_path) for key in LAWS[laws[i]].settings},
        )
        for i, entry in enumerate(objects)
    ]


def _choose(
    key: str,
    setting: float | Mapping[str, float] | None,
    entry: SceneObject,
    own: float | None,
    config_path: Path | str,
) -> float:
    if isinstance(setting, Mapping):
        if entry.name in setting:
            return setting[entry.name]
        if own is None or entry.index < FIRST_CUSTOM_INDEX:
            raise InputError(f"{config_path}: {key}: no value for object {entry.name!r} of the scene")
    elif setting is not None:
        return setting
    if own is None:
        raise InputError(
            f"{config_path}: {key}: expected a value, because the scene does not say what {entry.name!r} is made of "
            f"(or give --{key})"
        )
    return own


def _law(config: Config, entry: SceneObject, config_path: Path | str) -> str:
    if isinstance(config.material, Mapping):
        if entry.name not in config.material:
            raise InputError(f"{config_path}: material: no value for object {entry.name!r} of the scene")
        return config.material[entry.name]
    law = config.material or entry.material or "jelly"
    if law not in LAWS:
        raise InputError(f"object {entry.name!r}: material {law!r} is not supported: expected one of {', '.join(LAWS)}")
    return law


def _setting(key: str, config: Config, entry: SceneObject, config_path: Path | str) -> Any:
    value = getattr(config, key)
    if not isinstance(value, Mapping):
        return value
    if entry.name not in value:
        raise InputError(f"{config_path}: {key}: no value for object {entry.name!r} of the scene")
    return value[entry.name]
