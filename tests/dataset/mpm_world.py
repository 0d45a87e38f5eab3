"""Bodies of particles for tests of the solver."""

from typing import Any

import numpy as np

from dataset.mpm.boundary_conditions import BoundingBox
from dataset.mpm.lattice import Lattice
from dataset.mpm.model import Material, MPMModel
from dataset.mpm.solver import MPMSolver
from dataset.mpm.state import MPMState

BOX = (BoundingBox(type="bounding_box"),)


def block(size: tuple[float, float, float], center: tuple[float, float, float], spacing: float) -> np.ndarray:
    """A regular cubic packing of particles, spacing^3 each."""
    axes = [(np.arange(n := round(s / spacing)) - (n - 1) / 2) * spacing + c for s, c in zip(size, center, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


class World:
    """A model of one material with its state and solver."""

    def __init__(
        self,
        x: np.ndarray,
        v: np.ndarray | None = None,
        *,
        n_grid: int = 32,
        E: float = 1e5,
        nu: float = 0.3,
        density: float = 1000.0,
        spacing: float | None = None,
        law: str | np.ndarray = "jelly",
        parameters: tuple[float, ...] | None = None,
        device: str = "cpu",
        **settings: Any,
    ) -> None:
        self.lattice = Lattice(n_grid)
        count = len(x)
        volumes = self.lattice.particle_volumes(x) if spacing is None else np.full(count, spacing**3)
        own = None if parameters is None else np.tile([*parameters, *[0.0] * (4 - len(parameters))], (count, 1))
        material = Material(np.full(count, E), np.full(count, nu), np.full(count, density), law, own)
        self.model = MPMModel.create(self.lattice, volumes, material, positions=x, device=device, **settings)
        self.state = MPMState.at_rest(x, v, device, plastic=self.model.plastic)
        self.solver = MPMSolver(self.model)

    def run(self, substeps: int, dt: float) -> None:
        self.solver.advance(self.state, substeps, dt)

    def set(self, name: str, values: np.ndarray) -> None:
        array = getattr(self.state, name)
        array.assign(values.astype(np.float32))

    def get(self, name: str) -> np.ndarray:
        return getattr(self.state, name).numpy().astype(np.float64)

    def momentum(self) -> np.ndarray:
        return self.model.mass.numpy().astype(np.float64) @ self.get("v")

    def angular_momentum(self) -> np.ndarray:
        """Of the particles and their affine fields, whose inertia is that of the spline, dx^2 / 4."""
        m, x, v, C = self.model.mass.numpy().astype(np.float64), self.get("x"), self.get("v"), self.get("C")
        skew = np.stack([C[:, 2, 1] - C[:, 1, 2], C[:, 0, 2] - C[:, 2, 0], C[:, 1, 0] - C[:, 0, 1]], 1)
        return m @ (np.cross(x, v) + skew * self.lattice.dx**2 / 4)
