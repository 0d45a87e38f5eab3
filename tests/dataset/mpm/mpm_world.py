"""Bodies of particles for tests of the solver."""

import math
from typing import Any

import numpy as np
import torch

from dataset.mpm.boundary_conditions import BoundingBox, SurfaceCollider
from dataset.mpm.contact import BodyContact
from dataset.mpm.lattice import WORLD_TO_MPM, Lattice
from dataset.mpm.model import MPMModel, ParticleMaterials
from dataset.mpm.solver import MPMSolver
from dataset.mpm.state import MPMState
from dataset.simulation.frame_export import FrameExporter
from gaussians.representation import Gaussians

BOX = (BoundingBox(type="bounding_box"),)


def block(size: tuple[float, float, float], center: tuple[float, float, float], spacing: float) -> np.ndarray:
    """A regular cubic packing of particles, spacing^3 each."""
    axes = [(np.arange(n := round(s / spacing)) - (n - 1) / 2) * spacing + c for s, c in zip(size, center, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def ball(radius: float, center: tuple[float, float, float], spacing: float) -> np.ndarray:
    """The particles of a cubic packing that lie in a ball."""
    x = block((2 * radius,) * 3, center, spacing)
    return x[np.linalg.norm(x - center, axis=1) < radius]


def wall(point: np.ndarray, normal: tuple[float, float, float], surface: str = "slip") -> SurfaceCollider:
    """A surface through a point of the world."""
    shifted = tuple((point + np.array(WORLD_TO_MPM)).tolist())
    return SurfaceCollider.model_validate(
        {"type": "surface_collider", "point": shifted, "normal": normal, "surface": surface}
    )


def deformed(state: MPMState, covariances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Covariances (N, 6) and rotations (N, 3, 3) of Gaussians that the state's particles carry along."""
    count = len(covariances)
    cloud = Gaussians(torch.zeros(count, 3), torch.ones(count), torch.zeros(count, 1, 3), covariances=covariances)
    exporter = FrameExporter(state, cloud, covariances, torch.eye(3), Lattice(32), math.inf, np.zeros(count))
    exporter.start()
    frame, _, _ = exporter.finish()
    assert frame.covariances is not None
    assert frame.rotations is not None
    return frame.covariances, frame.rotations


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
        body: np.ndarray | None = None,
        friction: float | np.ndarray = 0.0,
        deterministic: bool = False,
        **settings: Any,
    ) -> None:
        self.lattice = Lattice(n_grid)
        count = len(x)
        volumes = self.lattice.particle_volumes(x) if spacing is None else np.full(count, spacing**3)
        own = None if parameters is None else np.tile([*parameters, *[0.0] * (4 - len(parameters))], (count, 1))
        material = ParticleMaterials(np.full(count, E), np.full(count, nu), np.full(count, density), law, own)
        contact = None if body is None else BodyContact.create(x, body, friction)
        self.model = MPMModel.create(
            self.lattice, volumes, material, positions=x, device=device, contact=contact, **settings
        )
        self.state = MPMState.at_rest(x, v, device, plastic=self.model.plastic)
        self.solver = MPMSolver(self.model, deterministic=deterministic)

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

    def energy(self) -> float:
        """Of jelly, J: motion with the affine fields, whose inertia is that of the spline, dx^2 / 4; fixed corotated
        elasticity (Stomakhin et al. 2012), mu sum (s - 1)^2 + lambda / 2 (J - 1)^2; and height against gravity."""
        mass, volume, mu, lam = (
            getattr(self.model, name).numpy().astype(np.float64) for name in ("mass", "volume", "mu", "lam")
        )
        x, v, C, F = (self.get(name) for name in ("x", "v", "C", "F"))
        s, J = np.linalg.svd(F, compute_uv=False), np.linalg.det(F)
        s[:, 2] *= np.sign(J)
        motion = mass @ (np.square(v).sum(1) + np.square(C).sum((1, 2)) * self.lattice.dx**2 / 4) / 2
        elastic = volume @ (mu * np.square(s - 1).sum(1) + lam / 2 * np.square(J - 1))
        return float(motion + elastic - mass @ x @ np.array(self.model.gravity))

    def cauchy_stress(self) -> np.ndarray:
        """Of jelly, (N, 3, 3), Pa: Kirchhoff stress 2 mu (F - R) F^T + lambda (J - 1) J I over J."""
        mu, lam = (getattr(self.model, name).numpy().astype(np.float64)[:, None, None] for name in ("mu", "lam"))
        F = self.get("F")
        U, _, Vh = np.linalg.svd(F)
        J = np.linalg.det(F)[:, None, None]
        return 2 * mu * (F - U @ Vh) @ F.transpose(0, 2, 1) / J + lam * (J - 1) * np.eye(3)
