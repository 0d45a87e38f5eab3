"""Make the balls of particles that the simulator is measured with."""

from dataclasses import dataclass

import numpy as np
import torch

from dataset.mpm.boundary_conditions import BoundingBox
from dataset.mpm.contact import BodyContact
from dataset.mpm.lattice import Lattice
from dataset.mpm.model import MPMModel, ParticleMaterials
from dataset.mpm.solver import MPMSolver
from dataset.mpm.state import MPMState

# The published solver was measured with three balls that fall and pile up.
_CENTERS = ((0.0, 0.0, -0.62), (0.1, 0.05, 0.02), (-0.05, 0.1, 0.66))
_RADIUS = 0.3
_SPIN_AXIS = (0.6, 0.0, 0.8)
YOUNGS_MODULUS, NU, DENSITY = 1e5, 0.3, 700.0
GRAVITY, RPIC_DAMPING = (0.0, 0.0, -5.0), 0.9
# Bodies settle in substeps of this share of the largest stable one, since nothing is measured then.
_SETTLING_PACE = 0.9
_SETTLING_SUBSTEPS = 20


@dataclass(frozen=True)
class Workload:
    """A ``Workload`` is a number of balls, together 0.34 m^3, over a bounding box's floor.

    Attributes:
        name: what the workload shows.
        particles: number of particles in all balls together.
        n_grid: grid cells along 4 m.
        balls: number of balls; three stand one above the other, others in two layers.
        laws: materials that the balls have in turn.
        speed: initial speed of the balls, each in a direction of its own, m/s.
        spin: initial angular speed of each ball about its centre, rad/s.
        settle: how long they move before anything is measured, s.
        deterministic: whether reruns on the same machine give the same bits.
        friction: Coulomb's coefficient between balls with a velocity field each; None: all share one.
    """

    name: str
    particles: int
    n_grid: int
    balls: int = 3
    laws: tuple[str, ...] = ("jelly",)
    speed: float = 0.0
    spin: float = 0.0
    settle: float = 0.0
    deterministic: bool = False
    friction: float | None = None

    @property
    def substep_dt(self) -> float:
        """Return the substep, seconds: 1e-4 at the published 200 cells, and in proportion to the size of a cell."""
        return 0.02 / self.n_grid

    def start(self, device: torch.device) -> "Run":
        """Put the balls on ``device`` and let them settle."""
        positions, balls = self.particles_of_balls()
        lattice = Lattice(self.n_grid)
        ones = np.ones(self.particles)
        law = np.array(self.laws)[balls % len(self.laws)]
        model = MPMModel.create(
            lattice,
            lattice.particle_volumes(positions),
            ParticleMaterials(YOUNGS_MODULUS * ones, NU * ones, DENSITY * ones, law),
            gravity=GRAVITY,
            rpic_damping=RPIC_DAMPING,
            boundary_conditions=(BoundingBox(type="bounding_box"),),
            device=str(device),
            contact=None if self.friction is None else BodyContact.create(positions, balls, self.friction),
        )
        velocities = self._velocities(positions, balls)
        state = MPMState.at_rest(positions, velocities, device=str(device), plastic=model.plastic)
        run = Run(model, state, MPMSolver(model, deterministic=self.deterministic), self.substep_dt)
        dt = _SETTLING_PACE * float(model.largest_substep.min())
        for _ in range(round(self.settle / (_SETTLING_SUBSTEPS * dt))):
            run.solver.advance(state, _SETTLING_SUBSTEPS, dt)
        return run

    @property
    def radius(self) -> float:
        """Return the radius of each ball, metres."""
        return _RADIUS * (len(_CENTERS) / self.balls) ** (1 / 3)

    def centers(self) -> np.ndarray:
        """Return the centres (balls, 3), metres."""
        if self.balls == len(_CENTERS):
            return np.array(_CENTERS)
        ball = np.arange(self.balls)
        layer, place = ball // 4, ball % 4
        x, y = 0.6 * (place % 2) - 0.3 + 0.1 * layer, 0.6 * (place // 2) - 0.3
        return np.stack([x, y, -0.92 + self.radius * (1 + 2.2 * layer)], 1)

    def particles_of_balls(self) -> tuple[np.ndarray, np.ndarray]:
        """Return points (N, 3) spread evenly over the balls, metres, and the ball (N,) of each."""
        generator = np.random.default_rng(0)
        ball = np.arange(self.particles) % self.balls
        directions = generator.normal(size=(self.particles, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        radii = self.radius * generator.uniform(size=(self.particles, 1)) ** (1 / 3)
        return self.centers()[ball] + radii * directions, ball

    def _velocities(self, positions: np.ndarray, balls: np.ndarray) -> np.ndarray:
        """Return the initial velocities (N, 3), m/s."""
        angle = 2 * np.pi * balls / self.balls
        along = np.stack([np.cos(angle), np.sin(angle), np.zeros(len(balls))], 1)
        around = np.cross(_SPIN_AXIS, positions - self.centers()[balls])
        return self.speed * along + self.spin * around


@dataclass(frozen=True)
class Run:
    """A ``Run`` is a workload under way; ``substep_dt`` is in seconds."""

    model: MPMModel
    state: MPMState
    solver: MPMSolver
    substep_dt: float

    def touched_nodes(self) -> int:
        """Return how many nodes have a particle in reach of their spline, 1.5 cells along each axis."""
        lattice = self.model.lattice
        first = np.floor(lattice.coordinates(self.state.x.numpy()) - 0.5).astype(np.int64)
        touched = np.zeros((lattice.nodes,) * 3, bool)
        touched[tuple(first.T)] = True
        for axis in range(3):
            touched = touched | np.roll(touched, 1, axis) | np.roll(touched, 2, axis)
        return int(touched.sum())
