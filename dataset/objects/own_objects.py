"""This module makes objects of a user's own, from a mesh or from Gaussians that were trained elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np

from dataset.catalog import FIRST_CUSTOM_INDEX, OBJECTS, ObjectEntry, all_objects, object_json
from dataset.layout import MADE_FROM, Layout
from dataset.objects.meshes import EXTENT, default_up, mesh_gaussians
from dataset.objects.settings import OwnObjectSettings
from dataset.scenes.captures import Capture, read_capture
from gaussians.files.splats.ply import write_ply
from gaussians.stage.atomic_files import file_hash
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import write_json
from gaussians.stage.provenance import Provenance


def make_own_object(settings: OwnObjectSettings) -> str:
    """Make an object from a mesh or from Gaussians, unless it is there already.

    Returns:
        A line that says what was written where; notes on the file are printed before.

    Raises:
        InputError: the name is the catalogue's, the file is missing or damaged, or the object is there but was made
            from something else.
    """
    layout, count = Layout(settings.data_root), settings.gaussians
    entry = _entry(settings, layout)
    path, source = layout.object_ply(entry.name), settings.splat or settings.mesh
    assert source is not None
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    made_from: dict[str, Any] = {"file": file_hash(source), "up": settings.up, "object": object_json(entry)}
    if settings.mesh is not None:
        made_from |= {"gaussians": count, "seed": settings.seed}
    record = Provenance(layout.object_dir(entry.name) / MADE_FROM, made_from)
    # A point cloud without a record is a person's.
    there = path.is_file() and not record.path.is_file()
    if not settings.overwrite and (there or record.is_current([path])):
        return f"{path} is there already (--overwrite makes it again)"
    if settings.splat is not None:
        capture = splat_gaussians(settings.splat, settings.up)
        gaussians, notes = capture.gaussians, [f"{settings.splat}: {note}" for note in capture.notes]
    else:
        assert settings.mesh is not None
        rng = np.random.default_rng([settings.seed, entry.index])
        made = mesh_gaussians(settings.mesh, settings.up or default_up(settings.mesh), count, rng)
        gaussians, notes = made.gaussians, [f"{settings.mesh} {note}" for note in made.notes]
    for note in notes:
        print(f"note: {note}")
    record.begin()
    write_json(layout.object_json(entry.name), object_json(entry))
    write_ply(path, gaussians)
    record.write([path])
    return f"wrote {len(gaussians)} Gaussians to {path}; its index in scenes is {entry.index}"


def _entry(settings: OwnObjectSettings, layout: Layout) -> ObjectEntry:
    """Describe the new object, with the index that it has already or the next free one."""
    if settings.name in {entry.name for entry in OBJECTS}:
        raise InputError(f"--name: {settings.name!r} is an object of the catalogue: expected another name")
    existing = all_objects(layout)
    index = next(
        (entry.index for entry in existing if entry.name == settings.name),
        max(FIRST_CUSTOM_INDEX, *(entry.index + 1 for entry in existing)),
    )
    return ObjectEntry(
        *(index, settings.name, "custom"),
        youngs_modulus=settings.youngs_modulus,
        density=settings.density,
        gaussian_count=0,
        scale=settings.scale,
        prompt=settings.prompt,
    )


def splat_gaussians(path: Path, up: str | None) -> Capture:
    """Return the Gaussians of a file of another program, z up, centred on the origin, and EXTENT metres long.

    Args:
        up: the file's axis that points upwards; None: what the file says, else -y.

    Raises:
        InputError: the file is missing or damaged, or all its visible Gaussians are in one place.
    """
    capture = read_capture(path, up)
    return capture.moved(EXTENT / capture.extent, centred=True)
