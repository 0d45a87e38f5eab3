"""Make the dataset's builtin objects and backgrounds, or an object from a mesh or from Gaussians.

Examples:
    python -m dataset.generate_objects
    python -m dataset.generate_objects --objects duck,bowl --gaussians 16000 --overwrite
    python -m dataset.generate_objects --mesh chair.obj --name chair --youngs_modulus 5e5 --density 400
    python -m dataset.generate_objects --splat capture.ply --name statue --up=-y

Objects are solid bodies of Gaussians, centred on the origin, z up, written to <data_root>/objects/<name> together with
an object.json {index, youngs_modulus [Pa], density [kg/m^3], scale, prompt}. Backgrounds go to
<data_root>/backgrounds/<name> with a placement.json that puts their table top at z = -0.94 m. A mesh (any format that
trimesh reads, with vertex colours, textures or plain materials) or a 3D Gaussian Splatting PLY becomes 0.5 m long
times --scale.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.catalog import (
    BACKGROUNDS,
    FIRST_CUSTOM_INDEX,
    OBJECTS,
    ObjectEntry,
    Placement,
    all_objects,
    object_by_name,
    object_json,
)
from dataset.layout import BACKGROUND_CLOUDS, Layout, add_data_root
from dataset.objects.meshes import UP_AXES, default_up, mesh_gaussians
from dataset.objects.splats import DEFAULT_UP, splat_gaussians
from dataset.shapes.backgrounds import SCENERIES
from dataset.shapes.objects import SOLIDS
from dataset.shapes.scenery import background_gaussians
from dataset.shapes.solid import object_gaussians
from gaussians.files.ply import write_ply
from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import write_json

PLACEMENT = Placement((0.0, 0.0, 0.0), (0.0, 0.0, -0.94), 1.0, center=(0.0, 0.0, 0.0), crop=False)
"""Our backgrounds are upright and in metres, with the table top at z = 0."""

_LEAST_GAUSSIANS = 200
_OWN_DEFAULTS = {"youngs_modulus": 1e5, "density": 500.0, "scale": 1.0}


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


def write_mesh_object(layout: Layout, mesh: Path, up: str, entry: ObjectEntry, count: int, seed: int) -> list[str]:
    """Write an object made from a mesh; returns what a person should know about it."""
    made = mesh_gaussians(mesh, up, count, np.random.default_rng([seed, entry.index]))
    write_json(layout.object_json(entry.name), object_json(entry))
    write_ply(layout.object_ply(entry.name), made.gaussians)
    return made.notes


def write_splat_object(layout: Layout, splat: Path, up: str, entry: ObjectEntry) -> int:
    """Write an object made of the Gaussians in a file; returns their number."""
    gaussians = splat_gaussians(splat, up)
    write_json(layout.object_json(entry.name), object_json(entry))
    write_ply(layout.object_ply(entry.name), gaussians)
    return len(gaussians)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    add_data_root(parser)
    parser.add_argument("--objects", help="names, comma-separated (default: all, unless --backgrounds names some)")
    parser.add_argument("--backgrounds", help="names, comma-separated (default: all, unless --objects names some)")
    parser.add_argument("--gaussians", type=int, default=4_000, help="Gaussians in each object")
    parser.add_argument("--background_gaussians", type=int, default=24_000, help="Gaussians in each background")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same files")
    parser.add_overwrite()
    own = parser.add_argument_group("an object of your own")
    own.add_argument("--mesh", type=Path, help="mesh file: obj, ply, stl, glb, ...")
    own.add_argument("--splat", type=Path, help="3D Gaussian Splatting PLY file")
    own.add_argument("--name", help="the new object's name: letters, digits and hyphens")
    own.add_argument(
        "--up", choices=UP_AXES, help="upward axis of the file (default: -y for --splat, z for stl, ply, 3mf, else y)"
    )
    own.add_argument("--youngs_modulus", type=float, help="Pa (default: 1e5)")
    own.add_argument("--density", type=float, help="kg/m^3 (default: 500)")
    own.add_argument("--scale", type=float, help="factor to its size in scenes; at 1 it is 0.5 m long (default: 1)")
    own.add_argument("--prompt", help="what it is, in words (default: A <name>.)")
    return parser


def main() -> None:
    args = _parser().parse_args()
    for name in ("gaussians", "background_gaussians"):
        if getattr(args, name) < _LEAST_GAUSSIANS:
            raise InputError(f"--{name}: expected {_LEAST_GAUSSIANS} or more, found {getattr(args, name)}")
    if args.seed < 0:
        raise InputError(f"--seed: expected 0 or more, found {args.seed}")
    layout = Layout(args.data_root)
    if args.mesh is not None or args.splat is not None:
        _make_own_object(args, layout)
        return
    for flag in ("name", "up", "prompt", *_OWN_DEFAULTS):
        if getattr(args, flag) is not None:
            raise InputError(f"--{flag}: describes an object of your own: expected --mesh or --splat FILE with it")
    objects = _names(args.objects, [entry.name for entry in OBJECTS], "--objects", args.backgrounds is None)
    backgrounds = _names(args.backgrounds, list(BACKGROUNDS), "--backgrounds", args.objects is None)
    jobs: list[tuple[Callable[[Layout, str, int, int], None], str, int]] = []
    for name in objects:
        if args.overwrite or not layout.object_ply(name).is_file():
            jobs.append((write_object, name, args.gaussians))
    for name in backgrounds:
        directory = layout.background_dir(name)
        if args.overwrite or not any((directory / cloud).is_file() for cloud in BACKGROUND_CLOUDS):
            jobs.append((write_background, name, args.background_gaussians))
    for write, name, count in (progress := tqdm(jobs, desc="make objects", unit="object")):
        progress.set_postfix_str(name)
        write(layout, name, count, args.seed)
    skipped = len(objects) + len(backgrounds) - len(jobs)
    print(f"wrote {len(jobs)} objects and backgrounds to {layout.root} ({skipped} were there already)")


def _names(text: str | None, known: list[str], flag: str, default_all: bool) -> list[str]:
    if text is None:
        return known if default_all else []
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            raise InputError(f"{flag}: {name!r} is not builtin: expected some of {', '.join(known)}")
    return names


def _make_own_object(args: argparse.Namespace, layout: Layout) -> None:
    if args.objects is not None or args.backgrounds is not None:
        raise InputError("--mesh, --splat: make one object: expected neither --objects nor --backgrounds with them")
    if args.mesh is not None and args.splat is not None:
        raise InputError("--mesh, --splat: expected one of them")
    entry = _own_entry(args, layout)
    path, count = layout.object_ply(entry.name), args.gaussians
    if path.is_file() and not args.overwrite:
        print(f"{path} is there already (--overwrite makes it again)")
        return
    if args.splat is not None:
        count = write_splat_object(layout, args.splat, args.up or DEFAULT_UP, entry)
    else:
        up = args.up or default_up(args.mesh)
        for note in write_mesh_object(layout, args.mesh, up, entry, count, args.seed):
            print(f"note: {args.mesh} {note}")
    print(f"wrote {count} Gaussians to {path}; its index in scenes is {entry.index}")


def _own_entry(args: argparse.Namespace, layout: Layout) -> ObjectEntry:
    """What the new object is, with the index that it has already or the next free one."""
    if args.name is None or not re.fullmatch(r"[A-Za-z0-9-]+", args.name):
        raise InputError(f"--name: expected letters, digits and hyphens, found {args.name!r}")
    if args.name in {entry.name for entry in OBJECTS}:
        raise InputError(f"--name: {args.name!r} is an object of the catalogue: expected another name")
    values = {key: getattr(args, key) or default for key, default in _OWN_DEFAULTS.items()}
    for key in _OWN_DEFAULTS:
        given = getattr(args, key)
        if given is not None and not 0 < given < float("inf"):
            raise InputError(f"--{key}: expected a positive number, found {given}")
    existing = all_objects(layout)
    index = next(
        (entry.index for entry in existing if entry.name == args.name),
        max(FIRST_CUSTOM_INDEX, *(entry.index + 1 for entry in existing)),
    )
    return ObjectEntry(
        *(index, args.name, "custom"),
        youngs_modulus=values["youngs_modulus"],
        density=values["density"],
        gaussian_count=0,
        scale=values["scale"],
        prompt=args.prompt or f"A {args.name}.",
    )


if __name__ == "__main__":
    run(main)
