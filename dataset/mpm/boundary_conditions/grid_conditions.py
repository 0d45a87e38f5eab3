"""This module defines boundary conditions that act on grid nodes: settings, and functions that change velocities.

Nodes behind a surface feel what is up to one and a half cells away from them, so that bodies come to rest half a cell
from the first of these nodes, wherever the surface lies between it and the next. ``boundaries`` "nodes" does just that,
as published. With "surfaces" a node is held only while a particle in its reach is at the surface or behind it, and then
up to ``_LAYER`` in front of the surface, so that what lies at the surface is held there.

Adding one: write its settings, its functions with the signatures of ``bounding_box`` and ``bounding_box_sides``, and
enter all in the tables at the end.
"""

# mypy: ignore-errors

from functools import cache
from typing import Literal

import warp as wp
from pydantic import field_validator, model_validator

from dataset.mpm.boundary_conditions.condition import (
    Condition,
    ConditionStruct,
    Timed,
    has_direction,
    is_active,
    is_in_box,
    world,
)
from dataset.mpm.lattice import PADDING, WORLD_TO_MPM, LatticeStruct, coordinates
from gaussians.numbers import NotNegative, PositiveVector, Vector


class BoundingBox(Condition):
    """Encloses the grid in floor, walls and ceiling, each within a cell of its place in ``Lattice.walls``."""

    type: Literal["bounding_box"]


# The published factors are for a substep of 1e-4 s; as rates they do not depend on the substep.
_PUBLISHED_SUBSTEP = wp.constant(1.0e-4)
_WALL_FRICTION = wp.constant(0.9)
_PADDING = wp.constant(PADDING)
BY_NODES = wp.constant(-1)
"""Stands for the sides that are touched where boundaries are those of the nodes."""
SIDES = wp.constant(3)
"""Number of bits for the sides of a condition that particles can touch."""
_LAYER = wp.constant(0.55)
"""How far in front of a surface nodes are held, in cells: over half of one, so that some node is that near to it."""


@wp.func
def bounding_box(
    condition: ConditionStruct,
    lattice: LatticeStruct,
    node: wp.vec3i,
    velocity: wp.vec3,
    time: float,
    dt: float,
    touched: int,
) -> wp.vec3:
    """Stop nodes of the padding from moving into their wall, and slow those that press against it along the wall.

    Args:
        node: its indices.
        velocity: m/s, under gravity and the conditions before.
        time: the middle of the substep, s.
        dt: the substep, s.
        touched: what the particles near the node touch, as ``bounding_box_sides`` has it, or ``BY_NODES``.
    """
    factor = wp.pow(_WALL_FRICTION, dt / _PUBLISHED_SUBSTEP)
    v = velocity
    for axis in range(3):
        first_free = _PADDING
        if touched != BY_NODES:
            first_free = _PADDING + 1  # the wall is at the node before, and the upper one at the first of its padding
        into_lower = node[axis] < first_free and v[axis] < 0.0
        into_upper = node[axis] >= lattice.nodes - _PADDING and v[axis] > 0.0
        if (into_lower or into_upper) and (touched & (1 << axis)) != 0:
            v = v * factor
            v[axis] = 0.0
    return v


@wp.func
def bounding_box_sides(condition: ConditionStruct, lattice: LatticeStruct, x: wp.vec3, time: float) -> int:
    """Return what a particle at x, m, touches at ``time``, s: a bit for a wall along each axis."""
    c = coordinates(lattice, x)
    sides = int(0)
    for axis in range(3):
        if c[axis] <= float(_PADDING) or c[axis] >= float(lattice.nodes - _PADDING):
            sides = sides | (1 << axis)
    return sides


_SURFACES = ("sticky", "slip", "separate", "cut")
_STICKY = wp.constant(0)
_SEPARATE = wp.constant(2)
_CUT = wp.constant(3)


class SurfaceCollider(Timed):
    """Fills the half-space behind a plane with a solid, on whose surface matter sticks, slips or separates."""

    type: Literal["surface_collider"]
    point: Vector
    """A point of the plane, m."""
    normal: Vector
    """Vector of any length from the plane into free space."""
    surface: Literal["sticky", "slip", "separate", "cut"] = "sticky"
    """sticky: everything stops. slip: what touches it slides along it and cannot leave. separate: as slip, but free to
    leave. cut: a wall with a slot at heights 0.4 to 0.53, sticky elsewhere, in which matter creeps along x and z."""
    friction: NotNegative = 0.0
    """Coulomb's coefficient, for slip and separate."""

    _direction = field_validator("normal")(has_direction)

    @model_validator(mode="after")
    def _friction_has_a_meaning(self) -> "SurfaceCollider":
        if self.friction and self.surface in ("sticky", "cut"):
            raise ValueError(f"friction: expected 0 for a {self.surface} surface, found {self.friction:g}")
        return self

    def pack(self) -> ConditionStruct:
        packed = super().pack()
        packed.point = world(self.point)
        packed.normal = wp.normalize(wp.vec3(*self.normal))
        packed.surface = _SURFACES.index(self.surface)
        packed.friction = self.friction
        return packed


_SLOT_LOW = wp.constant(0.4 - WORLD_TO_MPM[2])
_SLOT_HIGH = wp.constant(0.53 - WORLD_TO_MPM[2])
_SLOT_FRICTION = wp.constant(0.3)


@wp.func
def layer(lattice: LatticeStruct, touched: int) -> float:
    """Return how far in front of a surface nodes are held, m, where ``touched`` is what particles near them touch."""
    if touched == BY_NODES:
        return 0.0
    return _LAYER * lattice.dx


@wp.func
def surface_collider(
    condition: ConditionStruct,
    lattice: LatticeStruct,
    node: wp.vec3i,
    velocity: wp.vec3,
    time: float,
    dt: float,
    touched: int,
) -> wp.vec3:
    """Return the velocity after contact with the plane, with Coulomb friction.

    The change of the normal velocity is the normal impulse over the mass; friction takes at most its multiple.
    """
    x = lattice.origin + lattice.dx * wp.vec3(float(node[0]), float(node[1]), float(node[2]))
    height = wp.dot(x - condition.point, condition.normal)
    if touched == 0 or not is_active(condition, time) or height >= layer(lattice, touched):
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


@wp.func
def surface_collider_sides(condition: ConditionStruct, lattice: LatticeStruct, x: wp.vec3, time: float) -> int:
    return int(is_active(condition, time) and wp.dot(x - condition.point, condition.normal) <= 0.0)


class Cuboid(Timed):
    """Moves a box at a constant velocity, which takes everything in it along."""

    type: Literal["cuboid"]
    point: Vector
    """Its centre at start_time, m."""
    size: PositiveVector
    """Half extents, m."""
    velocity: Vector
    """Velocity of the box, m/s."""
    reset: Literal[0, 1] = 0
    """1: everything in the scene is stopped for 15 substeps after end_time."""

    def pack(self) -> ConditionStruct:
        packed = super().pack()
        packed.point, packed.size, packed.vector = world(self.point), wp.vec3(*self.size), wp.vec3(*self.velocity)
        packed.count = 15 * self.reset
        return packed


@wp.func
def centre_at(condition: ConditionStruct, time: float) -> wp.vec3:
    """Return the centre of a cuboid, m, at ``time``, s."""
    return condition.point + (time - condition.start_time) * condition.vector


@wp.func
def cuboid(
    condition: ConditionStruct,
    lattice: LatticeStruct,
    node: wp.vec3i,
    velocity: wp.vec3,
    time: float,
    dt: float,
    touched: int,
) -> wp.vec3:
    if is_active(condition, time):
        x = lattice.origin + lattice.dx * wp.vec3(float(node[0]), float(node[1]), float(node[2]))
        margin = layer(lattice, touched)
        size = condition.size + wp.vec3(margin, margin, margin)
        if touched != 0 and is_in_box(x - centre_at(condition, time), size):
            return condition.vector
    elif time >= condition.end_time and time < condition.end_time + float(condition.count) * dt:
        return wp.vec3()
    return velocity


@wp.func
def cuboid_sides(condition: ConditionStruct, lattice: LatticeStruct, x: wp.vec3, time: float) -> int:
    return int(is_active(condition, time) and is_in_box(x - centre_at(condition, time), condition.size))


GridCondition = BoundingBox | SurfaceCollider | Cuboid
"""Settings of any grid condition."""
GRID_CONDITIONS: dict[str, wp.Function] = {
    "bounding_box": bounding_box,
    "surface_collider": surface_collider,
    "cuboid": cuboid,
}
"""Function of a node by the condition's name in the configuration."""
SIDES_TOUCHED: dict[str, wp.Function] = {
    "bounding_box": bounding_box_sides,
    "surface_collider": surface_collider_sides,
    "cuboid": cuboid_sides,
}
"""Function of a particle by the condition's name: which of its ``SIDES`` the particle touches, a bit each."""
_ALL_SIDES = wp.constant((1 << SIDES) - 1)
_BITS = 30  # of an int that is never negative


def first_bit(i: int) -> int:
    """Return the first bit of condition i among those that a node keeps; beyond ten, conditions share theirs."""
    return SIDES * (i % (_BITS // SIDES))


@cache
def held_velocity(conditions: tuple[str, ...], surfaces: bool) -> wp.Function:
    """Return the function that gives a node's velocity under all conditions.

    Args:
        conditions: names of the grid conditions in use.
        surfaces: whether they hold at their surfaces.
    """
    functions = tuple(GRID_CONDITIONS[name] for name in conditions)
    first_bits = tuple(first_bit(i) for i in range(len(conditions)))

    # Warp tells functions apart by name.
    @wp.func(name="_".join(("held_at", "surfaces" if surfaces else "nodes", *conditions)))
    def held(
        settings: wp.array(dtype=ConditionStruct),
        lattice: LatticeStruct,
        node: wp.vec3i,
        velocity: wp.vec3,
        time: float,
        dt: float,
        sides: int,
    ) -> wp.vec3:
        v = velocity
        for i in range(wp.static(len(functions))):
            touched = BY_NODES
            if wp.static(surfaces):
                touched = (sides >> wp.static(first_bits[i])) & _ALL_SIDES
            v = wp.static(functions[i])(settings[i], lattice, node, v, time, dt, touched)
        return v

    return held
