"""This module makes the builtin objects and backgrounds from shapes, and writes them to a dataset."""

from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from dataset.catalog import Placement, object_by_name, object_json
from dataset.layout import BACKGROUND_CLOUDS, Layout
from dataset.objects.settings import BuiltinSettings
from dataset.shapes.backgrounds import SCENERIES
from dataset.shapes.fabrics import cloth, cloth2, cloth3, pillow, pillow2, rope, rope2
from dataset.shapes.figures import bear, miku, panda
from dataset.shapes.household import bowl, can, phone, toy
from dataset.shapes.scenery import background_gaussians
from dataset.shapes.solid import Solid, object_gaussians
from dataset.shapes.toys import ball, duck, duck2, soccer
from gaussians.files.ply import write_ply
from gaussians.stage.json_files import write_json

SOLIDS: dict[str, Callable[[], Solid]] = {
    builder.__name__: builder
    for builder in (
        *(ball, bear, bowl, can, cloth, cloth2, cloth3, duck, duck2),
        *(miku, panda, phone, pillow, pillow2, rope, rope2, soccer, toy),
    )
}
"""Functions that model the catalogue's objects, by name; sizes are those after the catalogue's scale."""

PLACEMENT = Placement((0.0, 0.0, 0.0), (0.0, 0.0, -0.94), 1.0, center=(0.0, 0.0, 0.0), crop=False)
"""Our backgrounds are upright and in metres, with the table top at z = 0."""


def make_builtin(settings: BuiltinSettings) -> str:
    """Make the builtin objects and backgrounds that are asked for and not there yet.

    Returns:
        A line that says how many were written where.

    Raises:
        InputError: a file cannot be written.
    """
    layout = Layout(settings.data_root)
    jobs: list[tuple[Callable[[Layout, str, int, int], None], str, int]] = []
    for name in settings.objects:
        if settings.overwrite or not layout.object_ply(name).is_file():
            jobs.append((write_object, name, settings.gaussians))
    for name in settings.backgrounds:
        directory = layout.background_dir(name)
        if settings.overwrite or not any((directory / cloud).is_file() for cloud in BACKGROUND_CLOUDS):
            jobs.append((write_background, name, settings.background_gaussians))
    for write, name, count in (progress := tqdm(jobs, desc="make objects", unit="object")):
        progress.set_postfix_str(name)
        write(layout, name, count, settings.seed)
    skipped = len(settings.objects) + len(settings.backgrounds) - len(jobs)
    return f"wrote {len(jobs)} objects and backgrounds to {layout.root} ({skipped} were there already)"


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
