"""This module pushes and turns whole objects by external forces and torques over windows of time.

A force gives every particle of its object the same acceleration, a torque the angular acceleration I^-1 torque about
the object's centre of mass. Mass, centre, velocity and inertia tensor I are measured on the device at the start of each
frame; within it the centre goes on at its velocity. Forces may be set anew between frames.

>>> forces = ObjectForces(model, labels, [ExternalForce(obj_id=0, start=0.1, end=0.3, force=(0.0, 0.0, 2.0))])
>>> solver = MPMSolver(model, forces)
"""

# mypy: ignore-errors

from collections.abc import Sequence

import numpy as np
import warp as wp

from dataset.mpm.model import MPMModel
from dataset.mpm.state import MPMState
from gaussians.files.external_forces import ExternalForce
from gaussians.stage.shape_checks import check_shape

wp.set_module_options({"enable_backward": False})


# Particles are summed by this many threads an object, their sums by its square root: the order never changes, so that
# the result does not either.
_FOLDED = 64
_PARTS = _FOLDED**2
# Below this share of mass dx^2 an object counts as a needle or a point, which no torque turns about that axis.
_LEAST_INERTIA = 1e-6


@wp.struct
class ForceStruct:
    """Holds an ``ExternalForce`` for kernels."""

    start: float
    end: float
    force: wp.vec3
    torque: wp.vec3
    mass: float  # 0: the body's


@wp.struct
class BodyStruct:
    """Holds the mass, place and motion of an object when it was last measured."""

    time: float  # s
    mass: float  # kg
    centre: wp.vec3  # m
    velocity: wp.vec3  # m/s
    inverse_inertia: wp.mat33  # 1/(kg m^2), about the centre


@wp.struct
class ForcesStruct:
    """Holds all forces for kernels; on body k act the forces ``first[k]`` to ``first[k + 1] - 1``."""

    body: wp.array(dtype=int)  # of each particle, -1 for none
    forces: wp.array(dtype=ForceStruct)
    first: wp.array(dtype=int)
    bodies: wp.array(dtype=BodyStruct)


@wp.struct
class Moments:
    """Holds sums over the particles of an object."""

    mass: wp.float64
    mass_x: wp.vec3d
    mass_v: wp.vec3d
    mass_xx: wp.mat33d


@wp.func
def acceleration(forces: ForcesStruct, p: int, x: wp.vec3, time: float, dt: float) -> wp.vec3:
    """Return the acceleration of particle p by the forces on its object, m/s^2.

    Args:
        x: where it is at the end of the substep, m.
        time: the middle of the substep, s.
        dt: the substep, s.
    """
    k = forces.body[p]
    if k < 0:
        return wp.vec3()
    linear = wp.vec3()
    angular = wp.vec3()
    body = forces.bodies[k]
    for i in range(forces.first[k], forces.first[k + 1]):
        force = forces.forces[i]
        if time > force.start and time < force.end:
            mass = wp.where(force.mass > 0.0, force.mass, body.mass)
            linear += force.force / mass
            angular += (body.mass / mass) * force.torque
    centre = body.centre + (time + 0.5 * dt - body.time) * body.velocity
    return linear + wp.cross(body.inverse_inertia * angular, x - centre)


@wp.func
def add_moments(a: Moments, b: Moments) -> Moments:
    total = Moments()
    total.mass = a.mass + b.mass
    total.mass_x = a.mass_x + b.mass_x
    total.mass_v = a.mass_v + b.mass_v
    total.mass_xx = a.mass_xx + b.mass_xx
    return total


@wp.kernel
def sum_particles(
    body: wp.array(dtype=int),
    mass: wp.array(dtype=float),
    x: wp.array(dtype=wp.vec3),
    v: wp.array(dtype=wp.vec3),
    parts: wp.array2d(dtype=Moments),
):
    k, part = wp.tid()
    total = Moments()
    p = int(part)
    while p < body.shape[0]:
        if body[p] == k:
            m = wp.float64(mass[p])
            place = wp.vec3d(x[p])
            total.mass += m
            total.mass_x += m * place
            total.mass_v += m * wp.vec3d(v[p])
            total.mass_xx += m * wp.outer(place, place)
        p += parts.shape[1]
    parts[k, part] = total


@wp.kernel
def fold(parts: wp.array2d(dtype=Moments), folded: wp.array2d(dtype=Moments)):
    k, part = wp.tid()
    total = Moments()
    i = int(part)
    while i < parts.shape[1]:
        total = add_moments(total, parts[k, i])
        i += folded.shape[1]
    folded[k, part] = total


@wp.kernel
def describe_bodies(
    folded: wp.array2d(dtype=Moments),
    clock: wp.array(dtype=wp.float64),
    least_radius_squared: wp.float64,
    bodies: wp.array(dtype=BodyStruct),
):
    k = wp.tid()
    total = Moments()
    for i in range(folded.shape[1]):
        total = add_moments(total, folded[k, i])
    centre = total.mass_x / total.mass
    spread = total.mass_xx - total.mass * wp.outer(centre, centre)
    inertia = wp.trace(spread) * wp.identity(n=3, dtype=wp.float64) - spread
    axes, principal = wp.eig3(inertia)
    inverse = wp.vec3d()
    for i in range(3):
        if principal[i] > least_radius_squared * total.mass:
            inverse[i] = wp.float64(1.0) / principal[i]
    body = BodyStruct()
    body.time = float(clock[0])
    body.mass = float(total.mass)
    body.centre = wp.vec3(centre)
    body.velocity = wp.vec3(total.mass_v / total.mass)
    body.inverse_inertia = wp.mat33(axes * wp.diag(inverse) * wp.transpose(axes))
    bodies[k] = body


class ObjectForces:
    """Holds the forces on a model's objects for ``MPMSolver``, which calls ``measure`` at the start of each frame.

    Args:
        model: what they act on.
        labels: (N,), the object of each particle; negative for none.
        forces: any number of them.
        capacity: at most how many forces ``set_forces`` will be given; by default one for each object or as many as
            there are at the start.

    Attributes:
        struct: the forces and bodies, for kernels.

    Raises:
        ValueError: a force is on an object without particles, or there are more than ``capacity``.
    """

    def __init__(
        self, model: MPMModel, labels: np.ndarray, forces: Sequence[ExternalForce] = (), capacity: int | None = None
    ) -> None:
        check_shape("labels", labels, len(model))
        self._model, device = model, model.device
        self._objects = np.unique(labels[labels >= 0])
        body = np.where(labels >= 0, np.searchsorted(self._objects, labels), -1)
        count = len(self._objects)
        self._capacity = max(count, len(forces)) if capacity is None else capacity
        self.struct = ForcesStruct()
        self.struct.body = wp.array(body.astype(np.int32), dtype=int, device=device)
        self.struct.forces = wp.zeros(self._capacity, dtype=ForceStruct, device=device)
        self.struct.first = wp.zeros(count + 1, dtype=int, device=device)
        self.struct.bodies = wp.zeros(count, dtype=BodyStruct, device=device)
        self._parts = wp.zeros((count, _PARTS), dtype=Moments, device=device)
        self._folded = wp.zeros((count, _FOLDED), dtype=Moments, device=device)
        self.set_forces(forces)

    def set_forces(self, forces: Sequence[ExternalForce]) -> None:
        """Replace all forces from the next frame on.

        Raises:
            ValueError: a force is on an object without particles, or there are more than the capacity.
        """
        for force in forces:
            if force.obj_id not in self._objects:
                raise ValueError(f"forces: expected labels of particles, found {force.obj_id}")
        if len(forces) > self._capacity:
            raise ValueError(f"forces: expected at most {self._capacity} (capacity), found {len(forces)}")
        ordered = sorted(forces, key=lambda force: force.obj_id)
        first = np.searchsorted([force.obj_id for force in ordered], [*self._objects, np.inf]).astype(np.int32)
        # Copies into the same arrays, which a captured frame goes on to read.
        self.struct.first.assign(first)
        if ordered:
            packed = wp.array([_pack(force) for force in ordered], dtype=ForceStruct, device=self._model.device)
            wp.copy(self.struct.forces, packed, count=len(ordered))

    def measure(self, state: MPMState) -> None:
        """Measure mass, centre, velocity and inertia of the objects as they are, without waiting for the device."""
        model, parts, folded = self._model, self._parts, self._folded
        particles = [self.struct.body, model.mass, state.x, state.v]
        wp.launch(sum_particles, parts.shape, particles, [parts], device=model.device)
        wp.launch(fold, folded.shape, [parts], [folded], device=model.device)
        least = _LEAST_INERTIA * model.lattice.dx**2
        wp.launch(
            describe_bodies, folded.shape[0], [folded, state.time, least], [self.struct.bodies], device=model.device
        )


def _pack(force: ExternalForce) -> ForceStruct:
    packed = ForceStruct()
    packed.start, packed.end = force.start, force.end
    packed.force, packed.torque = wp.vec3(*force.force), wp.vec3(*force.torque)
    packed.mass = force.mass or 0.0
    return packed
