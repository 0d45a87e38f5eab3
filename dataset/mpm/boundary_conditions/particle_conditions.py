"""This module defines boundary conditions that act on particles which start in a region, wherever these go.

Adding one: write its settings, its function with the signature of ``particle_impulse``, and enter both in the tables at
the end.
"""

# mypy: ignore-errors

from typing import Annotated, Literal

import numpy as np
import warp as wp
from pydantic import Field, field_validator, model_validator

from dataset.mpm.boundary_conditions.condition import (
    Condition,
    ConditionStruct,
    Timed,
    has_direction,
    is_active,
    is_in_box,
    world,
)
from dataset.mpm.lattice import WORLD_TO_MPM
from gaussians.numbers import NotNegative, Positive, PositiveVector, Real, Vector

_MOST_SUBSTEPS = 10**9  # what kernels count with


class Regional(Condition):
    """Holds the settings of a condition that acts on the particles which start in a region."""

    def acts_on(self, positions: np.ndarray) -> np.ndarray:
        """Return (N,) bool: whether the condition acts on particles that start at world positions (N, 3), metres."""
        return np.ones(len(positions), bool)


class InBox(Regional):
    """Holds the settings of a condition whose region is a box."""

    point: Vector
    """Centre of the box, m."""
    size: PositiveVector
    """Half extents, m."""

    def acts_on(self, positions: np.ndarray) -> np.ndarray:
        return np.all(np.abs(positions + WORLD_TO_MPM - self.point) < self.size, axis=1)


class ParticleImpulse(InBox):
    """Pushes every particle that starts in a box with a force."""

    type: Literal["particle_impulse"]
    force: Vector
    """Force on each particle, N."""
    num_dt: Annotated[int, Field(ge=1, le=_MOST_SUBSTEPS)] = 1
    """Number of substeps that it acts for."""
    point: Vector = (1.0, 1.0, 1.0)
    """Centre of the box, m."""
    size: PositiveVector = (1.0, 1.0, 1.0)
    """Half extents, m."""
    start_time: NotNegative = 0.0
    """When it begins, s."""

    def pack(self) -> ConditionStruct:
        packed = super().pack()
        packed.start_time, packed.count = self.start_time, self.num_dt
        packed.point, packed.size, packed.vector = world(self.point), wp.vec3(*self.size), wp.vec3(*self.force)
        return packed


@wp.func
def particle_impulse(
    condition: ConditionStruct, start: wp.vec3, mass: float, x: wp.vec3, velocity: wp.vec3, time: float, dt: float
) -> wp.vec3:
    """Return the velocity after an impulse: it gains force times time over mass.

    Args:
        start: where the particle was at the start, m.
        mass: kg.
        x: where it is, m.
        velocity: m/s, as the grid gives it.
        time: the middle of the substep, s.
        dt: the substep, s.
    """
    during = time >= condition.start_time and time < condition.start_time + float(condition.count) * dt
    if during and is_in_box(start - condition.point, condition.size):
        return velocity + (dt / mass) * condition.vector
    return velocity


class EnforceParticleTranslation(InBox, Timed):
    """Gives all particles that start in a box a constant velocity."""

    type: Literal["enforce_particle_translation"]
    velocity: Vector
    """Velocity of the particles, m/s."""

    def pack(self) -> ConditionStruct:
        packed = super().pack()
        packed.point, packed.size, packed.vector = world(self.point), wp.vec3(*self.size), wp.vec3(*self.velocity)
        return packed


@wp.func
def enforce_particle_translation(
    condition: ConditionStruct, start: wp.vec3, mass: float, x: wp.vec3, velocity: wp.vec3, time: float, dt: float
) -> wp.vec3:
    if is_active(condition, time) and is_in_box(start - condition.point, condition.size):
        return condition.vector
    return velocity


class EnforceParticleVelocityRotation(Regional, Timed):
    """Turns all particles that start in a cylinder about its axis, and moves them along it."""

    type: Literal["enforce_particle_velocity_rotation"]
    point: Vector
    """Centre of the cylinder, m."""
    normal: Vector
    """Vector of any length along its axis."""
    half_height_and_radius: tuple[Positive, Positive]
    """Half height and radius of the cylinder, m."""
    rotation_scale: Real
    """Angular velocity, rad/s, clockwise for who looks against ``normal``, as published."""
    translation_scale: Real
    """Velocity along ``normal``, m/s."""

    _direction = field_validator("normal")(has_direction)

    def acts_on(self, positions: np.ndarray) -> np.ndarray:
        axis = np.array(self.normal) / np.linalg.norm(self.normal)
        offsets = positions + WORLD_TO_MPM - self.point
        heights = offsets @ axis
        radii = np.linalg.norm(offsets - heights[:, None] * axis, axis=1)
        half_height, radius = self.half_height_and_radius
        return (np.abs(heights) < half_height) & (radii < radius)

    def pack(self) -> ConditionStruct:
        packed = super().pack()
        packed.point, packed.normal = world(self.point), wp.normalize(wp.vec3(*self.normal))
        packed.size = wp.vec3(*self.half_height_and_radius, 0.0)
        packed.rotation, packed.translation = self.rotation_scale, self.translation_scale
        return packed


@wp.func
def enforce_particle_velocity_rotation(
    condition: ConditionStruct, start: wp.vec3, mass: float, x: wp.vec3, velocity: wp.vec3, time: float, dt: float
) -> wp.vec3:
    offset = start - condition.point
    height = wp.dot(offset, condition.normal)
    radius = wp.length(offset - height * condition.normal)
    if not is_active(condition, time) or wp.abs(height) >= condition.size[0] or radius >= condition.size[1]:
        return velocity
    turning = condition.rotation * wp.cross(x - condition.point, condition.normal)
    return turning + condition.translation * condition.normal


class ReleaseParticlesSequentially(Regional, Timed):
    """Holds all particles where they are, and releases them layer by layer from start_position to end_position."""

    type: Literal["release_particles_sequentially"]
    normal: Vector
    """The axis across the layers: only one number is not zero."""
    start_position: Real
    """Coordinate of the first layer along that axis, m."""
    end_position: Real
    """Coordinate of the last one, m."""
    num_layers: Annotated[int, Field(ge=1, le=_MOST_SUBSTEPS)] = 50
    """Number of layers."""
    end_time: Positive
    """When the last one is let go, s; the others at equal intervals from 0 on."""

    @model_validator(mode="after")
    def _layers_exist(self) -> "ReleaseParticlesSequentially":
        if sum(component != 0 for component in self.normal) != 1:
            raise ValueError("normal: expected one number that is not zero")
        if self.start_position == self.end_position:
            raise ValueError("end_position: expected another than start_position")
        return self

    def pack(self) -> ConditionStruct:
        packed = super().pack()
        axis = next(i for i, component in enumerate(self.normal) if component)
        point, normal = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
        point[axis], normal[axis] = self.end_position, 1.0
        packed.point, packed.normal, packed.count = world(tuple(point)), wp.vec3(*normal), self.num_layers
        packed.size = wp.vec3(abs(self.start_position - self.end_position), 0.0, 0.0)
        return packed


@wp.func
def release_particles_sequentially(
    condition: ConditionStruct, start: wp.vec3, mass: float, x: wp.vec3, velocity: wp.vec3, time: float, dt: float
) -> wp.vec3:
    distance = wp.abs(wp.dot(start - condition.point, condition.normal)) / condition.size[0]
    layers = float(condition.count)
    release = condition.end_time * wp.ceil((1.0 - distance) * layers) / layers
    if time >= condition.start_time and time < release:
        return wp.vec3()
    return velocity


ParticleCondition = (
    ParticleImpulse | EnforceParticleTranslation | EnforceParticleVelocityRotation | ReleaseParticlesSequentially
)
"""Settings of any particle condition."""
PARTICLE_CONDITIONS: dict[str, wp.Function] = {
    "particle_impulse": particle_impulse,
    "enforce_particle_translation": enforce_particle_translation,
    "enforce_particle_velocity_rotation": enforce_particle_velocity_rotation,
    "release_particles_sequentially": release_particles_sequentially,
}
"""Function of a particle by the condition's name in the configuration."""
