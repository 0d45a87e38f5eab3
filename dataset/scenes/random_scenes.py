"""This module draws scenes at random: their objects, and where these stand."""

import zlib

import numpy as np
from tqdm import tqdm

from dataset.catalog import ObjectEntry
from dataset.layout import Layout
from dataset.scenes.composition import check_object_clouds
from dataset.scenes.placement import GAP, SPACE, Body, fits_at_origin, place
from dataset.scenes.scene_configs import PlacedObject, Scenes
from dataset.scenes.scene_names import scene_name
from gaussians.files.splats.ply import read_ply
from gaussians.stage.errors import InputError

_DRAWS = 100


def draw_scenes(
    bodies: dict[ObjectEntry, Body],
    obj_num: int | None,
    scene_num: int,
    group: str,
    seed: int,
    floor: float | None = None,
) -> Scenes:
    """Draw ``scene_num`` scenes of ``obj_num`` objects each, and return them by name.

    Scene i depends only on the seed, the group and i.

    Args:
        bodies: the objects to draw from, with replacement.
        obj_num: number of objects in each scene; None: each of ``bodies`` once, in any order.
        floor: height of a floor on which the first object of every scene stands, metres; None: it is at the origin.

    Raises:
        InputError: no arrangement is found within a bounded number of tries.
    """
    scenes = {}
    for i in tqdm(range(scene_num), desc="draw scenes", unit="scene"):
        rng = np.random.default_rng([seed, zlib.crc32(group.encode()), i])
        objects = _draw_scene(bodies, obj_num, rng, floor)
        if objects is None:
            raise InputError(
                f"--obj_num {obj_num or len(bodies)}: scene {i}: found no room for so many objects in "
                f"[-{SPACE}, {SPACE}]^3 m with gaps of {GAP} m in {_DRAWS} draws of objects: "
                "expected fewer or smaller ones"
            )
        scenes[scene_name(i, [placed.entry.name for placed in objects])] = objects
    return scenes


def _draw_scene(
    bodies: dict[ObjectEntry, Body], obj_num: int | None, rng: np.random.Generator, floor: float | None
) -> list[PlacedObject] | None:
    entries = list(bodies)
    for _ in range(_DRAWS):
        chosen = rng.permutation(len(entries)) if obj_num is None else rng.integers(len(entries), size=obj_num)
        drawn = [entries[k] for k in chosen]
        translations = place([bodies[entry] for entry in drawn], rng, floor)
        if translations is not None:
            return [
                PlacedObject(entry, (float(x), float(y), float(z)), entry.scale)
                for entry, (x, y, z) in zip(drawn, translations, strict=True)
            ]
    return None


def load_bodies(entries: list[ObjectEntry], layout: Layout) -> dict[ObjectEntry, Body]:
    """Read the point clouds of ``entries`` at their size in a scene.

    Raises:
        InputError: one is missing, damaged, or too large.
    """
    check_object_clouds([entry.name for entry in entries], layout)
    bodies = {}
    for entry in tqdm(entries, desc="read objects", unit="object", leave=False):
        path = layout.object_ply(entry.name)
        body = Body.of(read_ply(path).means.double().numpy() * entry.scale)
        if not fits_at_origin(body):
            raise InputError(
                f"{path}: too large for a scene: at scale {entry.scale} its bounding sphere "
                f"of radius {body.radius:.2f} m is not inside [-{SPACE}, {SPACE}]^3 m"
            )
        bodies[entry] = body
    return bodies
