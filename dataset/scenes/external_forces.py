"""The flags that ask for external forces, and which of a file's forces act on a scene."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from gaussians.files.external_forces import ExternalForce, read_external_forces
from gaussians.stage.command_line import ArgumentParser
from gaussians.stage.errors import InputError


def add_force_arguments(parser: ArgumentParser) -> None:
    """The flags that ask for external forces: of every command that moves objects."""
    parser.add_argument("--use_external_forces", action="store_true", help="push objects as the next flag's file says")
    parser.add_argument(
        "--external_forces_config",
        type=Path,
        metavar="JSON",
        help='{"<scene>": [{"obj_id", "start", "end" [s], "force" [N], "torque" [N m], "mass" [kg]}]}',
    )


def forces_asked_for(arguments: Namespace) -> dict[str, tuple[ExternalForce, ...]]:
    """The forces by scene that the flags of ``add_force_arguments`` ask for.

    Raises:
        InputError: one flag is given without the other, or the file is damaged.
    """
    if arguments.use_external_forces != (arguments.external_forces_config is not None):
        raise InputError("--use_external_forces and --external_forces_config JSON: expected both or neither")
    return read_external_forces(arguments.external_forces_config) if arguments.use_external_forces else {}


def forces_on_scene(
    forces: Mapping[str, Sequence[ExternalForce]], scene: str, objects: int, path: str | Path
) -> tuple[ExternalForce, ...]:
    """The forces on one scene, none if the file does not name it.

    Args:
        scene: its name.
        objects: how many it holds.
        path: where the forces were read from.

    Raises:
        InputError: one is on an object that the scene lacks.
    """
    found = tuple(forces.get(scene, ()))
    for i, force in enumerate(found):
        if force.obj_id >= objects:
            raise InputError(
                f"{path}: {scene}.{i}.obj_id: expected less than {objects}, the number of objects in the scene, "
                f"found {force.obj_id}"
            )
    return found
