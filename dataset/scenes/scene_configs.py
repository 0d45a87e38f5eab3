"""This module reads and writes scene configs: JSON files that say which objects stand where in each scene."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from dataset.catalog import ObjectEntry, all_objects
from dataset.layout import Layout
from dataset.scenes.scene_names import objects_in_name
from gaussians.numbers import Positive, Vector
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json, validated, write_json


@dataclass(frozen=True)
class PlacedObject:
    """Places one object in a scene: its point cloud is scaled by ``scale``, then moved by ``translation``, metres."""

    entry: ObjectEntry
    translation: Vector
    scale: float


Scenes = Mapping[str, list[PlacedObject]]


class _SceneFields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    scene_object_idxs: Annotated[list[int], Field(min_length=1)]
    translation: list[Vector]
    scale: list[Positive]


def read_scenes(path: Path, layout: Layout) -> Scenes:
    """Read and check the scene configs of one file.

    Raises:
        InputError: the file is missing or not JSON, or a scene has an unknown field, a value of the wrong type, lists
            of different lengths, an object that neither the catalogue nor ``layout`` has, or a name that disagrees
            with its objects.
    """
    values = read_json(path)
    if not isinstance(values, dict) or not values:
        raise InputError(f'{path}: expected {{"<number>_<object>_<object>": {{...}}}} with at least one scene')
    by_index = {entry.index: entry for entry in all_objects(layout)}
    scenes = {}
    for name, value in values.items():
        fields = validated(f"{path}: {name}", value, _SceneFields)
        scenes[name] = _placed(f"{path}: {name}", name, fields, by_index)
    return scenes


def _placed(where: str, name: str, fields: _SceneFields, by_index: dict[int, ObjectEntry]) -> list[PlacedObject]:
    count = len(fields.scene_object_idxs)
    for key, values in (("translation", fields.translation), ("scale", fields.scale)):
        if len(values) != count:
            raise InputError(f"{where}: {key}: expected one entry for each of {count} objects, found {len(values)}")
    for index in fields.scene_object_idxs:
        if index not in by_index:
            known = ", ".join(f"{entry.index} {entry.name}" for entry in by_index.values())
            raise InputError(f"{where}: scene_object_idxs: no object has the index {index} (known: {known})")
    entries = [by_index[index] for index in fields.scene_object_idxs]
    names = tuple(entry.name for entry in entries)
    if objects_in_name(name) != names:
        raise InputError(f"{where}: expected the name <number>_{'_'.join(names)}, after scene_object_idxs")
    return [
        PlacedObject(entry, translation, scale)
        for entry, translation, scale in zip(entries, fields.translation, fields.scale, strict=True)
    ]


def scenes_to_json(scenes: Scenes) -> dict[str, dict[str, list]]:
    """Return scenes as the content of a scene config file."""
    return {
        name: {
            "scene_object_idxs": [placed.entry.index for placed in objects],
            "translation": [list(placed.translation) for placed in objects],
            "scale": [placed.scale for placed in objects],
        }
        for name, objects in scenes.items()
    }


def write_scenes(path: Path, scenes: Scenes) -> None:
    """Write a scene config file, atomically."""
    write_json(path, scenes_to_json(scenes))
