"""This module has what all boundary conditions share: a struct for kernels, base classes, tests of box and time."""

# mypy: ignore-errors

import math

import warp as wp
from pydantic import BaseModel, ConfigDict, model_validator

from dataset.mpm.lattice import WORLD_TO_MPM
from gaussians.numbers import SMALLEST, NotNegative, Positive, Vector


@wp.struct
class ConditionStruct:
    """Holds the settings of one condition for kernels, in world coordinates; each condition uses only some fields."""

    start_time: float
    end_time: float
    point: wp.vec3
    size: wp.vec3  # half extents
    normal: wp.vec3  # of length 1
    vector: wp.vec3  # velocity, m/s, or force, N
    friction: float
    rotation: float  # rad/s
    translation: float  # m/s
    count: int
    surface: int


class Condition(BaseModel):
    """Holds the settings of a condition in a configuration file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def pack(self) -> ConditionStruct:
        """Return the settings as kernels take them."""
        return ConditionStruct()


class Timed(Condition):
    """Holds the settings of a condition that acts during a window of time."""

    start_time: NotNegative = 0.0
    """When it begins, s."""
    end_time: Positive | None = None
    """When it ends, s. None: never."""

    @model_validator(mode="after")
    def _ends_later(self) -> "Timed":
        if self.end_time is not None and self.end_time <= self.start_time:
            raise ValueError(f"end_time: expected more than start_time = {self.start_time:g}, found {self.end_time:g}")
        return self

    def pack(self) -> ConditionStruct:
        packed = super().pack()
        packed.start_time = self.start_time
        packed.end_time = float("inf") if self.end_time is None else self.end_time
        return packed


def world(point: Vector) -> wp.vec3:
    """Return the world position, m, of a point in the coordinates of a configuration file."""
    return wp.vec3(*(c - shift for c, shift in zip(point, WORLD_TO_MPM, strict=True)))


def has_direction(normal: Vector) -> Vector:
    """Check that ``normal`` is not zero and return it; pydantic calls this as a ``field_validator``.

    Raises:
        ValueError: it is zero.
    """
    if math.hypot(*normal) < SMALLEST:
        raise ValueError("expected a direction, found zero")
    return normal


@wp.func
def is_active(condition: ConditionStruct, time: float) -> bool:
    """Return whether ``time``, s, is in the condition's window."""
    return time >= condition.start_time and time < condition.end_time


@wp.func
def is_in_box(offset: wp.vec3, size: wp.vec3) -> bool:
    """Return whether a point at ``offset`` from the centre of a box lies inside it; ``size`` has the half extents."""
    return wp.abs(offset[0]) < size[0] and wp.abs(offset[1]) < size[1] and wp.abs(offset[2]) < size[2]
