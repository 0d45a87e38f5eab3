"""This module holds the settings of the simulation command, and the flags that it shares with prediction."""

import json
from argparse import ArgumentTypeError, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dataset.scenes.capture_settings import CaptureSettings
from gaussians.files.storage_options import Compression
from gaussians.limits import LARGEST, SMALLEST
from gaussians.stage.command_line import ArgumentParser
from gaussians.stage.errors import InputError


@dataclass(frozen=True)
class SimulationSettings:
    """Holds the settings of ``dataset.gs_simulation_scene``.

    Attributes:
        model_path: a scene's directory or PLY file, or a directory of scenes.
        config: JSON file of the simulation's settings.
        output_path: directory of the trajectory, or of one directory for each scene of a group.
        youngs_moduli: Young's modulus of each object by label, Pa; None: what config and scene say.
        densities: density of each object by label, kg/m^3; None: what config and scene say.
        capture: how a file of another program is placed in the world.
        substep_dt: time step of the solver, seconds; None: the config's, "auto": a safe one for each scene.
        frame_num: frames to simulate; None: the config's.
        external_forces: JSON file of forces by scene; None: no forces.
        dtype: type of positions, rotations and velocities on disk.
        compression: how frames lie on disk.
        save_fields: the datasets of a frame.
        deterministic: whether each run on the same GPU gives bitwise equal results.
        data_root: root directory of the dataset, where objects that people added are described.
        device: where to compute: ``auto``, ``cpu`` or ``cuda``.
        shard: (i, n), which chooses every n-th scene from the i-th on.
        overwrite: whether to simulate again what is complete.
    """

    model_path: Path
    config: Path
    output_path: Path
    youngs_moduli: tuple[float, ...] | None
    densities: tuple[float, ...] | None
    capture: CaptureSettings
    substep_dt: float | Literal["auto"] | None
    frame_num: int | None
    external_forces: Path | None
    dtype: Literal["float32", "float16"]
    compression: Compression
    save_fields: tuple[str, ...]
    deterministic: bool
    data_root: Path
    device: str
    shard: tuple[int, int]
    overwrite: bool


def add_material_arguments(parser: ArgumentParser) -> None:
    """Add ``--E`` and ``--density``, which say what objects are made of."""
    parser.add_argument("--E", type=_parse_values, metavar="'[..]'", help="Young's modulus of each object by label, Pa")
    parser.add_argument("--density", type=_parse_values, metavar="'[..]'", help="density of each object, kg/m^3")


def _parse_values(text: str) -> tuple[float, ...]:
    """Read a JSON list of positive numbers."""
    try:
        values = json.loads(text, parse_int=float)
    except (ValueError, RecursionError):
        values = None
    numbers = isinstance(values, list) and all(type(value) is float for value in values)
    if not numbers or not values or not all(value > 0 for value in values):
        raise ArgumentTypeError(f"expected a list of positive numbers such as '[1e5, 2e6]', found {text!r}")
    if not all(SMALLEST <= value <= LARGEST for value in values):
        raise ArgumentTypeError(f"expected numbers from {SMALLEST:g} to {LARGEST:g}, found {text!r}")
    return tuple(values)


def add_force_arguments(parser: ArgumentParser) -> None:
    """Add ``--use_external_forces`` and ``--external_forces_config``."""
    parser.add_argument("--use_external_forces", action="store_true", help="push objects as the next flag's file says")
    parser.add_argument(
        "--external_forces_config",
        type=Path,
        metavar="JSON",
        help='{"<scene>": [{"obj_id", "start", "end" [s], "force" [N], "torque" [N m], "mass" [kg]}]}',
    )


def external_forces_file(args: Namespace) -> Path | None:
    """Return the file that the flags of ``add_force_arguments`` name, None where they ask for no forces.

    Raises:
        InputError: one of the flags is given without the other.
    """
    if args.use_external_forces != (args.external_forces_config is not None):
        raise InputError("--use_external_forces and --external_forces_config JSON: expected both or neither")
    return args.external_forces_config
