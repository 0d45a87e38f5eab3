"""Make the dataset's builtin objects and backgrounds, or an object from a mesh or from Gaussians.

Examples:
    python -m dataset.generate_objects
    python -m dataset.generate_objects --objects duck,bowl --gaussians 16000 --overwrite
    python -m dataset.generate_objects --mesh chair.obj --name chair --youngs_modulus 5e5 --density 400
    python -m dataset.generate_objects --splat capture.ply --name statue --up=-y

Objects are solid bodies of Gaussians, centred on the origin, z up, written to <data_root>/objects/<name> together with
an object.json {index, youngs_modulus [Pa], density [kg/m^3], scale, prompt}. Backgrounds go to
<data_root>/backgrounds/<name> with a placement.json that puts their table top at z = -0.94 m. A mesh (any format that
trimesh reads, with vertex colours, textures or plain materials) or a file of Gaussians (a PLY of 3D Gaussian Splatting
or of another program, also a compressed one, a .splat, a .spz or a .pt) becomes 0.5 m long times --scale; what floats
far around the Gaussians of a capture is left out.
"""

import re
from argparse import Namespace
from pathlib import Path

from dataset.layout import add_data_root
from dataset.objects.settings import BuiltinSettings, OwnObjectSettings
from gaussians.files.storage_options import UP_AXES
from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError

_LEAST_GAUSSIANS = 200
_DEFAULTS = {"gaussians": 4_000, "background_gaussians": 24_000, "seed": 0}
_OWN_DEFAULTS = {"youngs_modulus": 1e5, "density": 500.0, "scale": 1.0}


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    add_data_root(parser)
    parser.add_argument("--objects", help="names, comma-separated (default: all, unless --backgrounds names some)")
    parser.add_argument("--backgrounds", help="names, comma-separated (default: all, unless --objects names some)")
    parser.add_argument("--gaussians", type=int, help="Gaussians in each object (default: 4000)")
    parser.add_argument("--background_gaussians", type=int, help="Gaussians in each background (default: 24000)")
    parser.add_argument("--seed", type=int, help="same seed, same files (default: 0)")
    parser.add_overwrite()
    own = parser.add_argument_group("an object of your own")
    own.add_argument("--mesh", type=Path, help="mesh file: obj, ply, stl, glb, ...")
    own.add_argument("--splat", type=Path, help="file of Gaussians: PLY, compressed PLY, .splat, .spz, .pt")
    own.add_argument("--name", help="the new object's name: letters, digits and hyphens")
    own.add_argument(
        "--up",
        choices=UP_AXES,
        help="upward axis of the file (default: with --splat what the file says, else -y; z for stl, ply, 3mf; else y)",
    )
    own.add_argument("--youngs_modulus", type=float, help="Pa (default: 1e5)")
    own.add_argument("--density", type=float, help="kg/m^3 (default: 500)")
    own.add_argument("--scale", type=float, help="factor to its size in scenes; at 1 it is 0.5 m long (default: 1)")
    own.add_argument("--prompt", help="what it is, in words (default: A <name>.)")
    return parser


def _settings(args: Namespace) -> BuiltinSettings | OwnObjectSettings:
    for flag in _without_effect(args):
        if getattr(args, flag) is not None:
            raise InputError(f"--{flag}: has no effect on what is made here: expected the command without it")
    for name, default in _DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
    for name in ("gaussians", "background_gaussians"):
        if getattr(args, name) < _LEAST_GAUSSIANS:
            raise InputError(f"--{name}: expected {_LEAST_GAUSSIANS} or more, found {getattr(args, name)}")
    if args.seed < 0:
        raise InputError(f"--seed: expected 0 or more, found {args.seed}")
    if args.mesh is not None or args.splat is not None:
        return _own_settings(args)
    for flag in ("name", "up", "prompt", *_OWN_DEFAULTS):
        if getattr(args, flag) is not None:
            raise InputError(f"--{flag}: describes an object of your own: expected --mesh or --splat FILE with it")

    from dataset.catalog import BACKGROUNDS, OBJECTS

    return BuiltinSettings(
        data_root=args.data_root,
        objects=_chosen(args.objects, [entry.name for entry in OBJECTS], "--objects", args.backgrounds is None),
        backgrounds=_chosen(args.backgrounds, list(BACKGROUNDS), "--backgrounds", args.objects is None),
        gaussians=args.gaussians,
        background_gaussians=args.background_gaussians,
        seed=args.seed,
        overwrite=args.overwrite,
    )


def _without_effect(args: Namespace) -> tuple[str, ...]:
    """Return the flags of numbers that no step of the command would look at."""
    if args.splat is not None:
        return ("gaussians", "background_gaussians", "seed")
    if args.mesh is not None or (args.objects is not None and args.backgrounds is None):
        return ("background_gaussians",)
    return ("gaussians",) if args.backgrounds is not None and args.objects is None else ()


def _chosen(text: str | None, known: list[str], flag: str, default_all: bool) -> tuple[str, ...]:
    if text is None:
        return tuple(known) if default_all else ()
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            raise InputError(f"{flag}: {name!r} is not builtin: expected some of {', '.join(known)}")
    return names


def _own_settings(args: Namespace) -> OwnObjectSettings:
    if args.objects is not None or args.backgrounds is not None:
        raise InputError("--mesh, --splat: make one object: expected neither --objects nor --backgrounds with them")
    if args.mesh is not None and args.splat is not None:
        raise InputError("--mesh, --splat: expected one of them")
    if args.name is None or not re.fullmatch(r"[A-Za-z0-9-]+", args.name):
        raise InputError(f"--name: expected letters, digits and hyphens, found {args.name!r}")
    values = {}
    for key, default in _OWN_DEFAULTS.items():
        values[key] = default if getattr(args, key) is None else getattr(args, key)
        if not 0 < values[key] < float("inf"):
            raise InputError(f"--{key}: expected a positive number, found {values[key]}")
    return OwnObjectSettings(
        data_root=args.data_root,
        mesh=args.mesh,
        splat=args.splat,
        name=args.name,
        up=args.up,
        **values,
        prompt=args.prompt or f"A {args.name}.",
        gaussians=args.gaussians,
        seed=args.seed,
        overwrite=args.overwrite,
    )


def main() -> None:
    settings = _settings(_parser().parse_args())
    if isinstance(settings, OwnObjectSettings):
        from dataset.objects.own_objects import make_own_object

        print(make_own_object(settings))
    else:
        from dataset.objects.builtin_objects import make_builtin

        print(make_builtin(settings))


if __name__ == "__main__":
    run(main)
