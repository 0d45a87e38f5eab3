"""One small piece per boundary condition: what it does to the velocity of a grid node, or of a particle.

Adding one: write its settings (a pydantic model whose ``type`` is its name in the configuration, with ``pack``), its
function of a node or of a particle, with the signature of ``bounding_box`` or ``particle_impulse``, and enter both in
``BoundaryCondition`` and in ``GRID_CONDITIONS`` or ``PARTICLE_CONDITIONS``; kernels are compiled for the conditions
that a scene uses.

Places are in the coordinates of the configuration, world + (2, 2, 1) metres. Conditions of particles are for those that
start in the given region, wherever they go.
"""

# mypy: ignore-errors

from typing import Annotated, Literal

import warp as wp
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dataset.mpm.lattice import PADDING, WORLD_TO_MPM, LatticeStruct

Vector = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
PositiveVector = tuple[Positive, Positive, Positive]


@wp.struct
class ConditionStruct:
    """What kernels know of a condition; each uses the fields it needs. World coordinates."""

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


class _Condition(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def pack(self) -> ConditionStruct:
        """For the kernels."""
        return ConditionStruct()


class _Timed(_Condition):
    start_time: NotNegative = 0.0
    """When it begins, s."""
    end_time: Positive | None = None
    """When it ends, s. None: never."""

    @model_validator(mode="after")
    def _ends_later(self) -> "_Timed":
        if self.end_time is not None and self.end_time <= self.start_time:
            raise ValueError(f"end_time: expected more than start_time = {self.start_time:g}, found {self.end_time:g}")
        return self

    def pack(self) -> ConditionStruct:
        packed = super().pack()
        packed.start_time = self.start_time
        packed.end_time = float("inf") if self.end_time is None else self.end_time
        return packed


def _world(point: Vector) -> wp.vec3:
    return wp.vec3(*(c - shift for c, shift in zip(point, WORLD_TO_MPM, strict=True)))


def _has_direction(normal: Vector) -> Vector:
    if not any(normal):
        raise ValueError("expected a direction, found zero")
    return normal


@wp.func
def is_active(condition: ConditionStruct, time: float) -> bool:
    return time >= condition.start_time and time < condition.end_time


@wp.func
def is_in_box(offset: wp.vec3, size: wp.vec3) -> bool:
    return wp.abs(offset[0]) < size[0] and wp.abs(offset[1]) < size[1] and wp.abs(offset[2]) < size[2]


class BoundingBox(_Condition):
    """Floor, four walls and ceiling, each within one cell of its place in the world; see ``Lattice.walls``."""

    type: Literal["bounding_box"]


# The published factors are for a substep of 1e-4 s; as rates they do not depend on the substep.
_PUBLISHED_SUBSTEP = wp.constant(1.0e-4)
_WALL_FRICTION = wp.constant(0.9)
_PADDING = wp.constant(PADDING)


@wp.func
def bounding_box(
    condition: ConditionStruct, lattice: LatticeStruct, node: wp.vec3i, velocity: wp.vec3, time: float, dt: float
) -> wp.vec3:
    """Nodes in the padding stop moving into the wall; while they press against it, sliding along it decays.

    Args:
        node: its indices.
        velocity: m/s, under gravity and the conditions before.
        time: the middle of the substep, s.
        dt: the substep, s.
    """
    factor = wp.pow(_WALL_FRICTION, dt / _PUBLISHED_SUBSTEP)
    v = velocity
    for axis in range(3):
        into_lower = node[axis] < _PADDING and v[axis] < 0.0
        into_upper = node[axis] >= lattice.nodes - _PADDING and v[axis] > 0.0
        if into_lower or into_upper:
            v = v * factor
            v[axis] = 0.0
    return v


_SURFACES = ("sticky", "slip", "separate", "cut")
_STICKY = wp.constant(0)
_SEPARATE = wp.constant(2)
_CUT = wp.constant(3)


class SurfaceCollider(_Timed):
    """A solid half-space behind a plane."""

    type: Literal["surface_collider"]
    point: Vector
    """A point of the plane, m."""
    normal: Vector
    """Where free space is; of any length."""
    surface: Literal["sticky", "slip", "separate", "cut"] = "sticky"
    """sticky: everything stops. slip: what touches it slides along it and cannot leave. separate: as slip, but free to
    leave. cut: a wall with a slot at heights 0.4 to 0.53, sticky elsewhere, in which matter creeps along x and z."""
    friction: NotNegative = 0.0
    """Coulomb's coefficient, for slip and separate."""

    _direction = field_validator("normal")(_has_direction)

    @model_validator(mode="after")
    def _friction_has_a_meaning(self) -> "SurfaceCollider":
        if self.friction and self.surface in ("sticky", "cut"):
            raise ValueError(f"friction: expected 0 for a {self.surface} surface, found {self.friction:g}")
        return self

    def pack(self) -> ConditionStruct:
        packed = super().pack()
        packed.point = _world(self.point)
        packed.normal = wp.normalize(wp.vec3(*self.normal))
        packed.surface = _SURFACES.index(self.surface)
        packed.friction = self.friction
        return packed


_SLOT_LOW = wp.constant(0.4 - WORLD_TO_MPM[2])
_SLOT_HIGH = wp.constant(0.53 - WORLD_TO_MPM[2])
_SLOT_FRICTION = wp.constant(0.3)


@wp.func
def surface_collider(
    condition: ConditionStruct, lattice: LatticeStruct, node: wp.vec3i, velocity: wp.vec3, time: float, dt: float
) -> wp.vec3:
    """The change of the normal velocity is the normal impulse over the mass; friction takes at most its multiple."""
    x = lattice.origin + lattice.dx * wp.vec3(float(node[0]), float(node[1]), float(node[2]))
    if not is_active(condition, time) or wp.dot(x - condition.point, condition.normal) >= 0.0:
        return velocity
    if condition.surface == _STICKY:
        return wp.vec3()
    if condition.surface == _CUT:
        if x[2] < _SLOT_LOW or x[2] > _SLOT_HIGH:
            return wp.vec3()
        return wp.pow(_SLOT_FRICTION, dt / _PUBLISHED_SUBSTEP) * wp.vec3(velocity[0], 0.0, velocity[2])
    outward = wp.dot(velocity, condition.normal)
    if outward >= 0.0 and condition.surface == _SEPARATE:
        return velocity
    sliding = velocity - outward * condition.normal
    speed = wp.length(sliding)
    if outward >= 0.0 or speed == 0.0:
        return sliding
    return wp.max(0.0, 1.0 + condition.friction * outward / speed) * sliding


class Cuboid(_Timed):
    """A box that moves at a constant velocity and takes everything in it along."""

    type: Literal["cuboid"]
    point: Vector
    """Its centre at start_time, m."""
    size: PositiveVector
    """Half extents, m."""
    velocity: Vector
    """m/s."""
    reset: Literal[0, 1] = 0
    """1: everything in the scene is stopped for 15 substeps after end_time."""

    def pack(self) -> ConditionStruct:
        packed = super().pack()
        packed.point, packed.size, packed.vector = _world(self.point), wp.vec3(*self.size), wp.vec3(*self.velocity)
        packed.count = 15 * self.reset
        return packed


@wp.func
def cuboid(
    condition: ConditionStruct, lattice: LatticeStruct, node: wp.vec3i, velocity: wp.vec3, time: float, dt: float
) -> wp.vec3:
    if is_active(condition, time):
        x = lattice.origin + lattice.dx * wp.vec3(float(node[0]), float(node[1]), float(node[2]))
        centre = condition.point + (time - condition.start_time) * condition.vector
        if is_in_box(x - centre, condition.size):
            return condition.vector
    elif time >= condition.end_time and time < condition.end_time + float(condition.count) * dt:
        return wp.vec3()
    return velocity


class ParticleImpulse(_Condition):
    """A force on every particle that starts in a box."""

    type: Literal["particle_impulse"]
    force: Vector
    """N, on each particle."""
    num_dt: Annotated[int, Field(ge=1)] = 1
    """For how many substeps."""
    point: Vector = (1.0, 1.0, 1.0)
    """Centre of the box, m."""
    size: PositiveVector = (1.0, 1.0, 1.0)
    """Half extents, m."""
    start_time: NotNegative = 0.0
    """When it begins, s."""

    def pack(self) -> ConditionStruct:
        packed = super().pack()
        packed.start_time, packed.count = self.start_time, self.num_dt
        packed.point, packed.size, packed.vector = _world(self.point), wp.vec3(*self.size), wp.vec3(*self.force)
        return packed


@wp.func
def particle_impulse(
    condition: ConditionStruct, start: wp.vec3, mass: float, x: wp.vec3, velocity: wp.vec3, time: float, dt: float
) -> wp.vec3:
    """Force times time over mass.

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


class EnforceParticleTranslation(_Timed):
    """Particles that start in a box move at a constant velocity."""

    type: Literal["enforce_particle_translation"]
    point: Vector
    """Centre of the box, m."""
    size: PositiveVector
    """Half extents, m."""
    velocity: Vector
    """m/s."""

    def pack(self) -> ConditionStruct:
        packed = super().pack()
        packed.point, packed.size, packed.vector = _world(self.point), wp.vec3(*self.size), wp.vec3(*self.velocity)
        return packed


@wp.func
def enforce_particle_translation(
    condition: ConditionStruct, start: wp.vec3, mass: float, x: wp.vec3, velocity: wp.vec3, time: float, dt: float
) -> wp.vec3:
    if is_active(condition, time) and is_in_box(start - condition.point, condition.size):
        return condition.vector
    return velocity


class EnforceParticleVelocityRotation(_Timed):
    """Particles that start in a cylinder turn about its axis and move along it."""

    type: Literal["enforce_particle_velocity_rotation"]
    point: Vector
    """Centre of the cylinder, m."""
    normal: Vector
    """Its axis; of any length."""
    half_height_and_radius: tuple[Positive, Positive]
    """m."""
    rotation_scale: float
    """rad/s, clockwise for who looks against ``normal``, as published."""
    translation_scale: float
    """m/s along ``normal``."""

    _direction = field_validator("normal")(_has_direction)

    def pack(self) -> ConditionStruct:
        packed = super().pack()
        packed.point, packed.normal = _world(self.point), wp.normalize(wp.vec3(*self.normal))
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


class ReleaseParticlesSequentially(_Timed):
    """Particles are held, and let go layer by layer, from start_position on to end_position."""

    type: Literal["release_particles_sequentially"]
    normal: Vector
    """The axis across the layers: only one number is not zero."""
    start_position: float
    """Coordinate of the first layer along that axis, m."""
    end_position: float
    """Coordinate of the last one, m."""
    num_layers: Annotated[int, Field(ge=1)] = 50
    """How many layers."""
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
        packed.point, packed.normal, packed.count = _world(tuple(point)), wp.vec3(*normal), self.num_layers
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


GRID_CONDITIONS: dict[str, wp.Function] = {
    "bounding_box": bounding_box,
    "surface_collider": surface_collider,
    "cuboid": cuboid,
}
"""Function of a node by the condition's name in the configuration."""
PARTICLE_CONDITIONS: dict[str, wp.Function] = {
    "particle_impulse": particle_impulse,
    "enforce_particle_translation": enforce_particle_translation,
    "enforce_particle_velocity_rotation": enforce_particle_velocity_rotation,
    "release_particles_sequentially": release_particles_sequentially,
}
"""Function of a particle by the condition's name in the configuration."""
BoundaryCondition = Annotated[
    BoundingBox
    | SurfaceCollider
    | Cuboid
    | ParticleImpulse
    | EnforceParticleTranslation
    | EnforceParticleVelocityRotation
    | ReleaseParticlesSequentially,
    Field(discriminator="type"),
]
