"""This package defines boundary conditions: settings, and functions that change velocities of grid nodes or particles.

Settings are a pydantic model whose ``type`` is the condition's name in the configuration, with ``pack`` for the
kernels, which are compiled for the conditions that a scene uses. Places are in the coordinates of the configuration,
world + (2, 2, 1) metres.
"""

from typing import Annotated

from pydantic import Field

from dataset.mpm.boundary_conditions.condition import ConditionStruct
from dataset.mpm.boundary_conditions.grid_conditions import (
    GRID_CONDITIONS,
    SIDES_TOUCHED,
    BoundingBox,
    Cuboid,
    GridCondition,
    SurfaceCollider,
    first_bit,
    held_velocity,
)
from dataset.mpm.boundary_conditions.particle_conditions import (
    PARTICLE_CONDITIONS,
    EnforceParticleTranslation,
    EnforceParticleVelocityRotation,
    ParticleCondition,
    ParticleImpulse,
    ReleaseParticlesSequentially,
)

BoundaryCondition = Annotated[GridCondition | ParticleCondition, Field(discriminator="type")]

__all__ = [
    "GRID_CONDITIONS",
    "PARTICLE_CONDITIONS",
    "SIDES_TOUCHED",
    "BoundaryCondition",
    "BoundingBox",
    "ConditionStruct",
    "Cuboid",
    "EnforceParticleTranslation",
    "EnforceParticleVelocityRotation",
    "ParticleCondition",
    "ParticleImpulse",
    "ReleaseParticlesSequentially",
    "SurfaceCollider",
    "first_bit",
    "held_velocity",
]
