"""This module makes the builtin objects and backgrounds from shapes, and writes them to a dataset."""

from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from dataset.catalog import Placement, object_by_name, object_json
from dataset.layout import BACKGROUND_CLOUDS, MADE_FROM, Layout
from dataset.objects.settings import BuiltinSettings
from dataset.shapes.backgrounds import SCENERIES
from dataset.shapes.fabrics import cloth, cloth2, cloth3, pillow, pillow2, rope, rope2
from dataset.shapes.figures import bear, miku, panda
from dataset.shapes.household import bowl, can, phone, toy
from dataset.shapes.scenery import background_gaussians
from dataset.shapes.solid import Solid, object_gaussians
from dataset.shapes.toys import ball, duck, duck2, soccer
from gaussians.files.splats.ply import write_ply
from gaussians.files.trajectory_format import PUBLISHED_WALLS
from gaussians.stage.json_files import write_json
from gaussians.stage.provenance import Provenance

SOLIDS: dict[str, Callable[[], Solid]] = {
    builder.__name__: builder
    for builder in (
        *(ball, bear, bowl, can, cloth, cloth2, cloth3, duck, duck2),
        *(miku, panda, phone, pillow, pillow2, rope, rope2, soccer, toy),
    )
}
"""Functions that model the catalogue's objects, by name; sizes are those after the catalogue's scale."""

PLACEMENT = Placement((0.0, 0.0, 0.0), (0.0, 0.0, PUBLISHED_WALLS.floor), 1.0, center=(0.0, 0.0, 0.0), crop=False)
"""Our backgrounds are upright and in metres, with the table top at z = 0."""


def make_builtin(settings: BuiltinSettings) -> str:
    """Make the builtin objects and backgrounds that are asked for and not there yet.

    Returns:
        A line that says how many were written where.

    Raises:
        InputError: a file cannot be written, or one that was made here has other settings.
    """
    layout, jobs = Layout(settings.data_root), []
    for name in settings.objects:
        jobs.append((write_object, layout.object_dir(name), layout.object_ply(name), settings.gaussians))
    for name in settings.backgrounds:
        folder = layout.background_dir(name)
        clouds = [folder / cloud for cloud in BACKGROUND_CLOUDS]
        cloud = next((cloud for cloud in clouds if cloud.is_file()), clouds[0])
        jobs.append((write_background, folder, cloud, settings.background_gaussians))
    written = 0
    for write, folder, cloud, count in (progress := tqdm(jobs, desc="make objects", unit="object")):
        progress.set_postfix_str(folder.name)
        record = Provenance(folder / MADE_FROM, {"gaussians": count, "seed": settings.seed})
        # A point cloud without a record is the published one, or a person's.
        there = cloud.is_file() and not record.path.is_file()
        if settings.overwrite or not (there or record.is_current([cloud])):
            record.begin()
            write(layout, folder.name, count, settings.seed)
            record.write([cloud])
            written += 1
    return f"wrote {written} objects and backgrounds to {layout.root} ({len(jobs) - written} were there already)"


def write_object(layout: Layout, name: str, count: int, seed: int) -> None:
    """Write a builtin object's point cloud and object.json."""
    entry = object_by_name(name)
    rng = np.random.default_rng([seed, entry.index])
    gaussians = object_gaussians(SOLIDS[name](), count, entry.scale, rng)
    write_json(layout.object_json(name), object_json(entry))
    write_ply(layout.object_ply(name), gaussians)


def write_background(layout: Layout, name: str, count: int, seed: int) -> None:
    """Write a builtin background's point cloud and placement.json."""
    rng = np.random.default_rng([seed, 1_000 + list(SCENERIES).index(name)])
    gaussians = background_gaussians(SCENERIES[name](), count, rng)
    write_json(layout.placement_json(name), PLACEMENT.to_json())
    write_ply(layout.background_dir(name) / BACKGROUND_CLOUDS[0], gaussians)
