"""Read JSON files of external forces on the objects of scenes.

    {"<scene>": [{"obj_id": 0, "start": 0.1, "end": 0.3, "force": [2, 0, 0], "torque": [0, 0, 0], "mass": 0.5}]}

``docs/formats.md`` describes the format. The simulator and the predictor take the same file, and a trajectory's
meta.json records the forces that it was simulated under in the same form.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gaussians.numbers import NotNegative, Positive, Real, Vector
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json_as, validated


class ExternalForce(BaseModel):
    """An ``ExternalForce`` is a force and a torque that act on one object while start < time < end."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    obj_id: Annotated[int, Field(ge=0)]
    """The object's label."""
    start: NotNegative
    """When it begins, s."""
    end: Real
    """When it ends, s."""
    force: Vector = (0.0, 0.0, 0.0)
    """N, in the world."""
    torque: Vector = (0.0, 0.0, 0.0)
    """N m, in the world, about the object's centre of mass."""
    mass: Positive | None = None
    """kg: the acceleration is that of an object of this mass and shape. None: of the object's own mass."""

    @model_validator(mode="after")
    def _ends_later(self) -> "ExternalForce":
        if self.end <= self.start:
            raise ValueError(f"end: expected more than start = {self.start:g}, found {self.end:g}")
        return self


def read_external_forces(path: str | Path) -> dict[str, tuple[ExternalForce, ...]]:
    """Read and check a file of forces by scene.

    Raises:
        InputError: the file is missing, not JSON, or has an unknown key, a wrong type or an impossible value; the
            message names the file, the scene, the number of the entry, the field and what was expected.
    """
    return read_json_as(path, dict[str, tuple[ExternalForce, ...]])


def forces_on_scene(
    forces: Mapping[str, Sequence[ExternalForce]], scene: str, objects: int, path: str | Path
) -> tuple[ExternalForce, ...]:
    """Return the forces on one scene of a file, none if the file does not name it.

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


def recorded_external_forces(where: str, recorded: Any) -> tuple[ExternalForce, ...]:
    """Check the forces that a trajectory records in ``settings.external_forces`` of its meta.json.

    Keys that are not known here are ignored: a later version may have recorded more.

    Args:
        where: what the message of an error begins with.
        recorded: the list as JSON has it.

    Raises:
        InputError: a field is missing or has a wrong type or an impossible value.
    """
    if isinstance(recorded, list):
        recorded = [_known_fields(force) if isinstance(force, dict) else force for force in recorded]
    return validated(where, recorded, tuple[ExternalForce, ...])


def _known_fields(force: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in force.items() if key in ExternalForce.model_fields}
