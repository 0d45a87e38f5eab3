"""This module finds conditions and forces that would have no effect on a scene: they are refused or warned of."""

from collections.abc import Sequence

import numpy as np

from dataset.config import Config
from dataset.mpm.boundary_conditions import Cuboid, ParticleCondition
from dataset.mpm.lattice import WORLD_TO_MPM
from gaussians.files.external_forces import ExternalForce
from gaussians.stage.errors import InputError


def check_cuboids(config: Config) -> None:
    """Refuse a cuboid that falls through between the grid's nodes, or that matter passes before it is stopped.

    With ``boundaries`` at surfaces, half a cell holds what comes at 4 m/s, wherever it lies, and a tenth does not.

    Raises:
        InputError: naming the cuboid, and the half extents and the ``n_grid`` that would hold.
    """
    lattice = config.lattice
    surfaces = config.boundaries == "surfaces"
    needed = lattice.dx / 2 if surfaces else lattice.dx
    why = "half a cell, which matter may pass" if surfaces else "a cell, so that no node of the grid need lie in it"
    for i, cuboid in enumerate(config.boundary_conditions):
        if not isinstance(cuboid, Cuboid):
            continue
        size, origin = np.array(cuboid.size), np.array(lattice.origin)
        low, high = (np.array(cuboid.point) - WORLD_TO_MPM + sign * size for sign in (-1, 1))
        thin = 2 * size <= needed
        if not surfaces:
            first = np.floor((low - origin) / lattice.dx) + 1  # the first node beyond the lower face
            thin = (origin + first * lattice.dx >= high) | (thin & (np.array(cuboid.velocity) != 0))
        if thin.any():
            n_grid = int(needed / lattice.dx * lattice.grid_lim / (2 * min(cuboid.size))) + 1
            raise InputError(
                f"boundary_conditions.{i} (cuboid): along {'xyz'[int(thin.argmax())]} it is thinner than {why}: "
                f"expected half extents of more than {needed / 2:.4g} m, or n_grid {n_grid}"
            )


def conditions_without_effect(config: Config, positions: np.ndarray) -> list[str]:
    """Return a line for each condition that begins after the end, and for each box that no particle starts in.

    Args:
        positions: (N, 3), metres, of all particles in the simulation at the start.
    """
    found = []
    for i, condition in enumerate(config.boundary_conditions):
        start, what = getattr(condition, "start_time", 0.0), f"boundary_conditions.{i} ({condition.type})"
        if isinstance(condition, ParticleCondition) and not condition.acts_on(positions).any():
            found.append(f"{what}: no particle starts in its region")
        elif start >= config.duration > 0:
            found.append(f"{what}: it begins at {start:g} s, but the simulation ends at {config.duration:g} s")
    for i, region in enumerate(config.additional_material_params):
        if not region.contains(positions).any():
            found.append(f"additional_material_params.{i}: no particle starts in its box")
    return found


def forces_without_effect(
    forces: Sequence[ExternalForce], names: Sequence[str], labels: np.ndarray, config: Config
) -> list[str]:
    """Return a line for each external force on an object without particles, and for each that begins after the end.

    Args:
        names: the objects' names, by label.
        labels: (N,), the object of each particle.
    """
    found = []
    for force in forces:
        what = f"external force on object {names[force.obj_id]!r} at {force.start:g} s"
        if not (labels == force.obj_id).any():
            found.append(f"{what}: none of the object's Gaussians moves")
        elif force.start >= config.duration > 0:
            found.append(f"{what}: the simulation ends at {config.duration:g} s")
    return found
