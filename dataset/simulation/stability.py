"""This module finds the largest substep with which a simulation is stable, and what limits it.

Elastic waves may not cross a cell in a substep: dt < 0.68 dx / sqrt((lambda + 2 mu) / rho). Matter may not cross more
than half of one (Courant, Friedrichs and Lewy 1928); how fast it gets is bounded by the velocities at the start and of
the boundary conditions, by a fall through the whole grid, and by the external forces.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dataset.config import MOST_SUBSTEPS, Config, MaterialRegion, with_flag
from dataset.mpm.boundary_conditions import BoundaryCondition
from dataset.mpm.model import STABLE_SHARE, ParticleMaterials
from dataset.simulation.initial_motion import initial_velocity
from dataset.simulation.materials import ObjectMaterial
from gaussians.files.external_forces import ExternalForce
from gaussians.stage.errors import InputError

SHARE_OF_A_CELL = 0.5
"""Share of a cell that matter may cross in a substep."""
SAFETY = 0.955
"""Share of the limit that ``with_automatic_substep`` takes, as the published settings do with their stiffest object."""


@dataclass(frozen=True)
class Limit:
    """Limits how long a substep may be.

    Attributes:
        seconds: what every substep must be shorter than, s.
        reason: words for what happens in that time, for the message of an error.
    """

    seconds: float
    reason: str


def elastic_limit(dx: float, name: str, speed: float) -> Limit:
    """Return the limit of an object whose pressure waves run at ``speed``, m/s, on cells of ``dx`` metres."""
    reason = f"{STABLE_SHARE} of the time sound takes through a cell in {name!r} ({speed:.4g} m/s)"
    return Limit(STABLE_SHARE * dx / speed, reason)


def motion_limit(dx: float, what: str, speed: float) -> Limit:
    """Return the limit of something that may move at ``speed``, m/s, on cells of ``dx`` metres."""
    seconds = SHARE_OF_A_CELL * dx / speed if speed > 0 else math.inf
    return Limit(seconds, f"the time {what}, at up to {speed:.4g} m/s, takes through half a cell")


def fall_limit(config: Config, name: str, start: float, pushed: float = 0.0) -> Limit:
    """Return the limit of an object that may fall through the whole grid, or as long as the simulation lasts.

    Args:
        start: the object's speed at the start, m/s.
        pushed: the speed that external forces may add, m/s.
    """
    lattice = config.lattice
    work = sum(abs(g) * (high - low) for g, low, high in zip(config.g, *lattice.walls, strict=True))
    through_the_grid = math.sqrt((start + pushed) ** 2 + 2 * work)
    all_the_time = start + pushed + math.hypot(*config.g) * config.duration
    return motion_limit(lattice.dx, repr(name), min(through_the_grid, all_the_time))


def pushed_speed(forces: Iterable[ExternalForce], duration: float, positions: np.ndarray, masses: np.ndarray) -> float:
    """Return how much forces on an object may add to the speed of its fastest particle, m/s, if nothing resists.

    Args:
        duration: how long the simulation lasts, s.
        positions: (N, 3), positions of the object's particles, metres.
        masses: (N,), their masses, kg.
    """
    mass = masses.sum()
    offsets = positions - np.average(positions, axis=0, weights=masses)
    spread = np.einsum("p,pi,pj->ij", masses, offsets, offsets)
    inverse_inertia = np.linalg.pinv(np.trace(spread) * np.eye(3) - spread, rcond=1e-6, hermitian=True)
    reach = np.linalg.norm(offsets, axis=1).max()
    total = 0.0
    for force in forces:
        own = mass if force.mass is None else force.mass
        turning = (mass / own) * float(np.linalg.norm(inverse_inertia @ force.torque))
        total += max(0.0, min(force.end, duration) - force.start) * (math.hypot(*force.force) / own + turning * reach)
    return total


def limits(config: Config, materials: Sequence[ObjectMaterial], regions: bool = False) -> list[Limit]:
    """Return all limits that are known before the scene's Gaussians are read.

    Args:
        regions: whether to include what ``additional_material_params`` would make of every object, wherever it is.
    """
    dx = config.lattice.dx
    found = []
    for material in materials:
        for region in (None, *(config.additional_material_params if regions else ())):
            found.append(elastic_limit(dx, material.name, _speed_of_sound(material, region)))
        velocity, _ = initial_velocity(config, material.name)
        found.append(fall_limit(config, material.name, float(np.linalg.norm(velocity))))
    for i, condition in enumerate(config.boundary_conditions):
        if speed := _enforced_speed(condition):
            found.append(motion_limit(dx, f"what boundary_conditions.{i} ({condition.type}) moves", speed))
    return found


def _speed_of_sound(material: ObjectMaterial, region: MaterialRegion | None) -> float:
    """Return the speed of sound in an object, m/s, if it were made of what a region says."""
    E, nu, density = material.youngs_modulus, material.nu, material.density
    if region is not None:
        E = E if region.E is None else region.E
        nu = nu if region.nu is None else region.nu
        density = density if region.density is None else region.density
    alone = ParticleMaterials(np.array([E]), np.array([nu]), np.array([density]), material.material)
    return float(alone.speed_of_sound[0])


def _enforced_speed(condition: BoundaryCondition) -> float:
    """Return the velocity that a condition gives to what it holds, m/s; 0 for those that only brake."""
    if condition.type in ("cuboid", "enforce_particle_translation"):
        return math.hypot(*condition.velocity)
    if condition.type == "enforce_particle_velocity_rotation":
        return math.hypot(condition.rotation_scale * condition.half_height_and_radius[1], condition.translation_scale)
    return 0.0


def check_substep(config: Config, found: Iterable[Limit], where: str = "") -> None:
    """Refuse a substep that is not stable.

    Args:
        found: all limits.
        where: what the message begins with.

    Raises:
        InputError: naming the object or condition that sets the limit and the largest substep that works.
    """
    limit = min(found, key=lambda entry: entry.seconds)
    if config.substep_seconds < limit.seconds:
        return
    # Where the limit itself is a whole fraction of a frame it must not be named, whichever way it was rounded.
    works = config.frame_dt / (math.floor(config.frame_dt / limit.seconds * (1 + 1e-6)) + 1)
    raise InputError(
        f"{where}substep_dt: expected less than {limit.seconds:.4g} s, {limit.reason}, found "
        f"{config.substep_seconds:g}: the largest that works is {works:.7g}"
    )


def with_automatic_substep(config: Config, materials: Sequence[ObjectMaterial]) -> Config:
    """Return ``config`` with a number of seconds for its substep.

    An ``auto`` becomes the largest whole fraction of ``frame_dt`` that is at most ``SAFETY`` times the limit.
    """
    if config.substep_dt != "auto":
        return config
    limit = min(limits(config, materials, regions=True), key=lambda entry: entry.seconds)
    substeps = math.ceil(config.frame_dt / (SAFETY * limit.seconds))
    if substeps > MOST_SUBSTEPS:
        raise InputError(
            f"substep_dt: expected at most {MOST_SUBSTEPS} substeps in a frame, found {substeps:.4g}: each is shorter "
            f"than {limit.seconds:.4g} s, {limit.reason}"
        )
    return with_flag(config, "substep_dt", config.frame_dt / substeps)
