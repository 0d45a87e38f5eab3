"""Milliseconds that a substep of the simulator takes: three balls of radius 0.3 m that fall and pile up."""

import time

import numpy as np
import torch
import warp as wp

from dataset.mpm.boundary_conditions import BoundingBox
from dataset.mpm.lattice import Lattice
from dataset.mpm.model import Material, MPMModel
from dataset.mpm.solver import MPMSolver
from dataset.mpm.state import MPMState

_CENTERS = ((0.0, 0.0, -0.62), (0.1, 0.05, 0.02), (-0.05, 0.1, 0.66))
_RADIUS = 0.3
_DT = 1e-4
# Particles and cells a side: the quickstart's size and a larger one; the published size, which a CPU takes minutes for.
_CPU_WORKLOADS = ((8_000, 64), (20_000, 64))
_CUDA_WORKLOADS = ((20_000, 64), (232_788, 200), (2_000_000, 400))


def measure(device: torch.device) -> list[dict[str, object]]:
    """The best of several runs, after one that compiles and warms up."""
    workloads = _CUDA_WORKLOADS if device.type == "cuda" else _CPU_WORKLOADS
    return [
        {
            "what": "mpm substep, jelly, bounding box",
            "particles": particles,
            "grid": f"{n_grid}^3",
            "ms": _milliseconds(device, particles, n_grid),
        }
        for particles, n_grid in workloads
    ]


def _milliseconds(device: torch.device, particles: int, n_grid: int) -> float:
    substeps, repeats = (200, 5) if device.type == "cuda" else (20, 15)
    lattice = Lattice(n_grid)
    positions = _balls(particles)
    positions = positions[lattice.order(positions)]
    constants = [np.full(particles, value) for value in (1e5, 0.3, 700.0)]
    model = MPMModel.create(
        lattice,
        lattice.particle_volumes(positions),
        Material(*constants),
        gravity=(0.0, 0.0, -5.0),
        rpic_damping=0.9,
        boundary_conditions=(BoundingBox(type="bounding_box"),),
        device=str(device),
    )
    state, solver = MPMState.at_rest(positions, device=str(device)), MPMSolver(model)
    best = float("inf")
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        solver.advance(state, substeps, _DT)
        wp.synchronize_device(str(device))
        if repeat > 0:
            best = min(best, time.perf_counter() - start)
    return 1000 * best / substeps


def _balls(count: int) -> np.ndarray:
    """Points (count, 3) spread evenly over the balls."""
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = _RADIUS * generator.uniform(size=(count, 1)) ** (1 / 3)
    return np.array(_CENTERS)[np.arange(count) % len(_CENTERS)] + radii * directions
