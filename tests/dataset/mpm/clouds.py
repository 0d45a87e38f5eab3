"""Clouds of Gaussians to fill with particles, and what is in them."""

import math
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from dataset.mpm.lattice import Lattice
from dataset.mpm.particle_filling import Filled, ParticleFilling
from gaussians.stage.json_files import validated

LATTICE = Lattice(64)
SIGMA = 0.01
OPACITY = 0.9
# Cells of 2 cm, and a density at which a shell of the test's bodies, about 2 to 4 in its middle, is closed.
SETTINGS = {"n_grid": 200, "search_threshold": 0.5, "density_threshold": 40.0}

Cloud = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def settings(**changes: Any) -> ParticleFilling:
    return validated("settings", SETTINGS | changes, ParticleFilling)


def cloud(means: np.ndarray, scales: Any = SIGMA, rotations: np.ndarray | None = None, label: int = 0) -> Cloud:
    """Gaussians of one object, with standard deviations (3,) or one for all axes."""
    count = len(means)
    axes = (np.eye(3) if rotations is None else rotations) * np.broadcast_to(scales, 3)
    matrices = np.broadcast_to(axes @ np.swapaxes(axes, -1, -2), (count, 3, 3))
    covariances = matrices[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    return means, covariances, np.full(count, OPACITY), np.full(count, label)


def random_cloud(count: int, scales: tuple[float, float, float], rng: np.random.Generator) -> Cloud:
    rotations = Rotation.random(count, random_state=rng).as_matrix()
    return cloud(rng.uniform(-0.5, 0.5, (count, 3)), scales, rotations)


def together(*clouds: Cloud) -> Cloud:
    means, covariances, opacities, labels = (np.concatenate(arrays) for arrays in zip(*clouds, strict=True))
    return means, covariances, opacities, labels


def sphere(count: int = 10_000, radius: float = 0.3, center: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """Even points of a sphere, on a golden spiral."""
    k = np.arange(count) + 0.5
    z, angle = 1 - 2 * k / count, math.pi * (1 + math.sqrt(5)) * k
    rim = np.sqrt(1 - z**2)
    return radius * np.stack([rim * np.cos(angle), rim * np.sin(angle), z], 1) + center


def box_surface(half: float = 0.25, spacing: float = 0.01) -> np.ndarray:
    steps = np.arange(-half, half + spacing / 2, spacing)
    u, v = (values.ravel() for values in np.meshgrid(steps, steps))
    sides = [np.insert(np.stack([u, v], 1), axis, side, 1) for axis in range(3) for side in (-half, half)]
    return np.concatenate(sides)


def cell_numbers(positions: np.ndarray, size: float) -> np.ndarray:
    """Cells count from the walls."""
    return np.floor((positions.astype(np.float64) - LATTICE.walls[0]) / size).astype(int)


def body_volume(gaussians: np.ndarray, filled: Filled, size: float) -> float:
    """Of all cells that hold a particle, m^3."""
    return len(np.unique(cell_numbers(np.concatenate([gaussians, filled.positions]), size), axis=0)) * size**3
