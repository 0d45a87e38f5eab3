"""This module puts scenes together from the objects that their configs place."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dataset.layout import MADE_FROM, Layout
from dataset.scenes.scene_configs import PlacedObject, read_scenes
from dataset.scenes.scene_files import SCENE_FILES, write_scene
from gaussians.cameras import Orbit
from gaussians.files.splats.ply import read_ply
from gaussians.representation import Gaussians
from gaussians.stage.atomic_files import file_hash
from gaussians.stage.command_line import take_shard
from gaussians.stage.errors import InputError
from gaussians.stage.provenance import Provenance

DEFAULT_ORBIT = Orbit(center=(0.0, 0.0, -0.3), azimuth=120.0, elevation=20.0, radius=4.0)
"""The published cameras of dynamic_config.json, in world coordinates."""

_VIEWS = 100
_RESOLUTION = 1280


def compose_scenes(
    source: Path, output: Path, layout: Layout, shard: tuple[int, int], overwrite: bool
) -> tuple[int, int]:
    """Write every scene of a shard of a file of scene configs, leaving out what is complete.

    Args:
        output: the folder for the scenes' directories.
        layout: paths of the dataset, which holds the objects.
        shard: (i, n), which chooses every n-th scene from the i-th on.
        overwrite: whether to write again what is complete.

    Returns:
        How many scenes were written, and how many were there already.

    Raises:
        InputError: the configs or an object's point cloud are missing or damaged, a file cannot be written, or a scene
            is there that was made from something else.
    """
    scenes = read_scenes(source, layout)
    chosen = take_shard(list(scenes), shard)
    check_object_clouds(sorted({placed.entry.name for name in chosen for placed in scenes[name]}), layout)
    cloud_hash = cache(lambda name: file_hash(layout.object_ply(name)))
    made_from = {name: _made_from(scenes[name], cloud_hash) for name in chosen}

    def is_current(name: str) -> bool:
        folder = output / name
        return Provenance(folder / MADE_FROM, made_from[name]).is_current(folder / file for file in SCENE_FILES)

    todo = [name for name in chosen if overwrite or not is_current(name)]
    names = sorted({placed.entry.name for name in todo for placed in scenes[name]})
    clouds = {name: read_ply(layout.object_ply(name)) for name in tqdm(names, desc="read objects", leave=False)}
    cameras = DEFAULT_ORBIT.cameras(range(_VIEWS), _RESOLUTION)
    for name in tqdm(todo, desc="scenes", unit="scene"):
        gaussians, objects = compose(scenes[name], clouds), describe(scenes[name], clouds)
        write_scene(output / name, gaussians, objects, cameras, made_from[name])
    return len(todo), len(chosen) - len(todo)


def _made_from(objects: Sequence[PlacedObject], cloud_hash: Callable[[str], str]) -> dict[str, Any]:
    """Return what a scene is made from, for its record: placements, materials and the objects' point clouds."""
    placed = [
        {
            "index": one.entry.index,
            "translation": list(one.translation),
            "scale": one.scale,
            "youngs_modulus": one.entry.youngs_modulus,
            "density": one.entry.density,
            "material": one.entry.material,
        }
        for one in objects
    ]
    return {"objects": placed, "point_clouds": [cloud_hash(one.entry.name) for one in objects]}


def check_object_clouds(names: Iterable[str], layout: Layout) -> None:
    """Refuse objects without a point cloud.

    Raises:
        InputError: naming all of them and the command that makes them.
    """
    missing = [name for name in names if not layout.object_ply(name).is_file()]
    if missing:
        listed = ",".join(missing)
        raise InputError(
            f"{layout.objects}: no point cloud of {listed}: "
            f"`python -m dataset.generate_objects --data_root {layout.root} --objects {listed}` makes them"
        )


def compose(objects: Sequence[PlacedObject], clouds: Mapping[str, Gaussians]) -> Gaussians:
    """Return the Gaussians of a scene, labelled 0 to K-1 in the order of its K objects.

    Args:
        clouds: the objects' Gaussians as stored, by name.
    """
    parts = []
    for label, placed in enumerate(objects):
        translation = torch.tensor(placed.translation, dtype=torch.float32)
        part = clouds[placed.entry.name].transformed(translation=translation, scale=placed.scale)
        labels = torch.full((len(part),), label, dtype=torch.int32)
        parts.append(Gaussians(part.means, part.opacities, part.sh, part.scales, part.quaternions, labels=labels))
    return Gaussians.cat(parts)


def describe(objects: Sequence[PlacedObject], clouds: Mapping[str, Gaussians]) -> list[dict[str, int | float | str]]:
    """Return the content of a scene's objects.json: youngs_modulus in Pa, density in kg/m^3."""
    return [
        {
            "label": label,
            "name": placed.entry.name,
            "index": placed.entry.index,
            "count": len(clouds[placed.entry.name]),
            "youngs_modulus": placed.entry.youngs_modulus,
            "density": placed.entry.density,
            "material": placed.entry.material,
        }
        for label, placed in enumerate(objects)
    ]
