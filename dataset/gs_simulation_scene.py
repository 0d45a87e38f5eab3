"""Simulate scenes of Gaussians with MLS-MPM and write their motion.

--model_path is one scene (a directory with a 3DGS PLY, or the PLY itself) or a directory of scenes; of such a group
each scene gets a directory of its own below --output_path. It may also be a capture, a file of Gaussians of another
program (PLY, compressed PLY, .splat, .spz, .pt): that is made upright, moved to the origin and scaled to 1 m where it
does not fit into the box [-1, 1]^3 as it is, and what floats far around it is left out; --up and --scale say otherwise.

What the objects are made of comes from the config, else from the scene's objects.json; --E and --density override
both. External forces on a scene's objects come from a JSON file, in which the scene is called as its directory. A scene
that is complete and was made with the same settings and forces is skipped. Processes that are given the same scenes
share them. SIGTERM drops the scene in hand, and the command can be given again.

Units: metres, seconds, pascals, kg/m^3. docs/formats.md describes the files.

Examples:
  python -m dataset.gs_simulation_scene --model_path data/GSCollision/scenes/2/0_ball_duck \\
      --config config/dynamic_config.json --output_path data/GSCollision/mpm/2/0_ball_duck --save_h5
  python -m dataset.gs_simulation_scene --model_path data/GSCollision/scenes/2 \\
      --config config/dynamic_config.json --output_path data/GSCollision/mpm/2 --shard 0/4
  python -m dataset.gs_simulation_scene --model_path chair.ply --config config/dynamic_config.json \\
      --output_path output/chair --up=-y --scale 0.5 --E '[1e5]' --density '[400]' --substep_dt auto
  python -m dataset.gs_simulation_scene --model_path data/GSCollision/scenes/2/0_ball_duck \\
      --config config/dynamic_config.json --output_path output/pushed --use_external_forces \\
      --external_forces_config forces.json
"""

import math
from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import Literal

from dataset.layout import add_data_root, check_config_path, find_point_cloud
from dataset.scenes.capture_settings import add_capture_arguments, capture_settings
from dataset.simulation.settings import (
    SimulationSettings,
    add_force_arguments,
    add_material_arguments,
    external_forces_file,
)
from gaussians.files.storage_options import COMPRESSIONS, FIELDS
from gaussians.stage.command_line import ArgumentParser, run


def _parse_fields(text: str) -> tuple[str, ...]:
    """Read the names of a frame's datasets, separated by commas."""
    fields = tuple(dict.fromkeys(text.split(",")))
    if "pos" not in fields or not set(fields) <= set(FIELDS):
        raise ArgumentTypeError(f"expected pos and any of {', '.join(FIELDS)}, found {text!r}")
    return fields


def _parse_substep(text: str) -> float | Literal["auto"]:
    """Read a positive number or ``auto``."""
    if text == "auto":
        return "auto"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"expected auto or a positive number of seconds, found {text!r}")
    return value


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--model_path", type=Path, required=True, help="a scene or a directory of scenes")
    parser.add_argument("--config", type=Path, required=True, help="JSON of settings, e.g. config/dynamic_config.json")
    parser.add_argument("--output_path", type=Path, required=True, help="directory for the trajectory (or one a scene)")
    parser.add_argument(
        "--save_h5", action="store_true", help="accepted as published; the trajectory is always written as HDF5"
    )
    add_material_arguments(parser)
    add_capture_arguments(parser)
    parser.add_argument(
        "--substep_dt",
        type=_parse_substep,
        metavar="auto|SECONDS",
        help="time step of the solver instead of the config's; auto: for each scene a safe one, which is printed",
    )
    parser.add_argument("--frame_num", type=int, help="frames to simulate instead of the config's")
    add_force_arguments(parser)
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16"),
        default="float32",
        help="type of positions, rotations and velocities on disk; float16 is the published one, half the size",
    )
    parser.add_argument(
        "--compression",
        choices=COMPRESSIONS,
        default="none",
        help="how frames lie on disk; any but none detects damaged bytes when read (docs/formats.md: sizes and times)",
    )
    parser.add_argument(
        "--save_fields",
        type=_parse_fields,
        default=",".join(FIELDS),
        metavar=",".join(FIELDS),
        help="what a frame holds; pos alone suffices for training",
    )
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="bitwise equal results in each run on the same GPU, a little slower; CPU runs always are",
    )
    add_data_root(parser)
    parser.add_device()
    parser.add_shard()
    parser.add_overwrite()
    return parser


def _settings(args: Namespace) -> SimulationSettings:
    if not args.model_path.exists():
        find_point_cloud(args.model_path)
    check_config_path(args.config)
    return SimulationSettings(
        model_path=args.model_path,
        config=args.config,
        output_path=args.output_path,
        youngs_moduli=args.E,
        densities=args.density,
        capture=capture_settings(args),
        substep_dt=args.substep_dt,
        frame_num=args.frame_num,
        external_forces=external_forces_file(args),
        dtype=args.dtype,
        compression=args.compression,
        save_fields=args.save_fields,
        deterministic=args.deterministic,
        data_root=args.data_root,
        device=args.device,
        shard=args.shard,
        overwrite=args.overwrite,
    )


def main() -> None:
    settings = _settings(_parser().parse_args())

    from dataset.simulation.jobs import simulate_all

    print(simulate_all(settings))


if __name__ == "__main__":
    run(main)
