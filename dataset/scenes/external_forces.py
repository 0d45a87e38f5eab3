"""External forces on the objects of scenes, as a JSON file has them.

    {"<scene>": [{"obj_id": 0, "start": 0.1, "end": 0.3, "force": [2, 0, 0], "torque": [0, 0, 0], "mass": 0.5}]}

``docs/formats.md`` describes it. The simulator and the predictor take the same file.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gaussians.stage.command_line import ArgumentParser
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json_as

Vector = tuple[float, float, float]


class ExternalForce(BaseModel):
    """A force and a torque that act together on one object while start < time < end."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    obj_id: Annotated[int, Field(ge=0)]
    """The object's label."""
    start: Annotated[float, Field(ge=0)]
    """When it begins, s."""
    end: float
    """When it ends, s."""
    force: Vector = (0.0, 0.0, 0.0)
    """N, in the world."""
    torque: Vector = (0.0, 0.0, 0.0)
    """N m, in the world, about the object's centre of mass."""
    mass: Annotated[float, Field(gt=0)] | None = None
    """kg: the acceleration is that of an object of this mass and shape. None: of the object's own."""

    @model_validator(mode="after")
    def _ends_later(self) -> "ExternalForce":
        if self.end <= self.start:
            raise ValueError(f"end: expected more than start = {self.start:g}, found {self.end:g}")
        return self


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
    return load_external_forces(arguments.external_forces_config) if arguments.use_external_forces else {}


def load_external_forces(path: str | Path) -> dict[str, tuple[ExternalForce, ...]]:
    """Read and check a file of forces by scene.

    Raises:
        InputError: the file is missing, not JSON, or has an unknown key, a wrong type or an impossible value; the
            message names the file, the scene, the number of the entry, the field and what was expected.
    """
    return read_json_as(path, dict[str, tuple[ExternalForce, ...]])


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
