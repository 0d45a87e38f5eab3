"""External forces on objects against closed-form answers."""

import numpy as np
import pytest

from dataset.mpm.object_forces import ObjectForces
from dataset.mpm.solver import MPMSolver
from gaussians.files.external_forces import ExternalForce
from tests.dataset.mpm.mpm_world import World, block

SPACING, DT = 0.0625, 1e-3


def two_bodies(
    *forces: ExternalForce, gravity: tuple[float, float, float] = (0.0, 0.0, 0.0), device: str = "cpu"
) -> World:
    """Bars of labels 0 and 1 that lie apart, not along the axes' planes of symmetry."""
    bars = [block((0.5, 0.25, 0.125), center, SPACING) for center in ((-0.7, 0.1, 0.3), (0.6, -0.2, 0.5))]
    x = np.concatenate(bars)
    labels = np.repeat([0, 1], [len(bar) for bar in bars])
    world = World(x, E=1e6, spacing=SPACING, gravity=gravity, device=device)
    world.solver = MPMSolver(world.model, ObjectForces(world.model, labels, forces))
    return world


def of_body(world: World, label: int) -> tuple[np.ndarray, ...]:
    """Masses, positions and velocities of the particles of one body."""
    half = len(world.model) // 2
    rows = slice(half) if label == 0 else slice(half, None)
    return world.model.mass.numpy().astype(np.float64)[rows], world.get("x")[rows], world.get("v")[rows]


def run_frames(world: World, frames: int, substeps: int = 20) -> None:
    for _ in range(frames):
        world.run(substeps, DT)


def test_momentum_gained_is_force_times_time_on_that_object_alone() -> None:
    force = np.array([30.0, -20.0, 50.0])
    # Neither end lies on a frame; 37 substeps have their middle inside.
    world = two_bodies(ExternalForce(obj_id=1, start=0.013, end=0.05, force=tuple(force.tolist())))
    run_frames(world, 4)
    m, _, v = of_body(world, 1)
    # Sums of float32 velocities of about 0.2 m/s, rounded in each of 80 substeps.
    np.testing.assert_allclose(m @ v, force * 0.037, rtol=2e-5)
    _, _, still = of_body(world, 0)
    assert np.abs(still).max() == 0


def test_force_acts_only_inside_its_window() -> None:
    world = two_bodies(ExternalForce(obj_id=0, start=0.02, end=0.04, force=(0.0, 0.0, 10.0)))
    heights = []
    for _ in range(4):
        world.run(20, DT)
        m, _, v = of_body(world, 0)
        heights.append(float((m @ v)[2]))
    assert heights[0] == 0
    assert heights[1] == pytest.approx(0.2, rel=1e-5)
    assert heights[2:] == pytest.approx([0.2, 0.2], rel=1e-5)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_free_flight_under_a_constant_force(device: str) -> None:
    g, given = -5.0, 4.0
    world = two_bodies(
        ExternalForce(obj_id=0, start=0.0, end=1.0, force=(2.0, 0.0, 0.0), mass=given),
        ExternalForce(obj_id=0, start=0.0, end=1.0, force=(0.0, 6.0, 0.0)),
        gravity=(0.0, 0.0, g),
        device=device,
    )
    m, start, _ = of_body(world, 0)
    run_frames(world, 10)
    _, x, v = of_body(world, 0)
    acceleration, t = np.array([2.0 / given, 6.0 / m.sum(), g]), 0.2
    np.testing.assert_allclose(v, np.tile(acceleration * t, (len(m), 1)), atol=2e-5)
    # The method's own fall, t (t + dt) / 2; positions near 1 are rounded by 6e-8 in each of 200 substeps.
    np.testing.assert_allclose(x - start, np.tile(acceleration * t * (t + DT) / 2, (len(m), 1)), atol=1e-5)


def angular_momentum(m: np.ndarray, x: np.ndarray, v: np.ndarray, C: np.ndarray, dx: float) -> np.ndarray:
    """About the centre of mass, that of the affine fields included."""
    centre, velocity = m @ x / m.sum(), m @ v / m.sum()
    skew = np.stack([C[:, 2, 1] - C[:, 1, 2], C[:, 0, 2] - C[:, 2, 0], C[:, 1, 0] - C[:, 0, 1]], 1)
    return m @ (np.cross(x - centre, v - velocity) + skew * dx**2 / 4)


def test_angular_momentum_gained_is_torque_times_time() -> None:
    torque, force = np.array([0.3, -0.6, 0.45]), np.array([0.0, 0.0, 40.0])
    world = two_bodies(
        ExternalForce(obj_id=0, start=0.0, end=0.2, force=tuple(force.tolist()), torque=tuple(torque.tolist()))
    )
    run_frames(world, 10)
    m, x, v = of_body(world, 0)
    found = angular_momentum(m, x, v, world.get("C")[: len(m)], world.lattice.dx)
    # Within a frame the inertia tensor stays that of its start: in the last one the bar turns by 0.4 degrees, 0.007.
    np.testing.assert_allclose(found, torque * 0.2, rtol=0.005)
    # So does the centre's velocity: on average the centre is a T^2 / 6 = 0.17 mm from where it is thought to be, and
    # turning about there at 1.8 rad/s^2 moves it by 15.6 kg x 1.8 rad/s^2 x 0.17 mm in 0.2 s, 0.001 kg m/s.
    np.testing.assert_allclose(m @ v, force * 0.2, atol=0.003)


def test_needles_and_points_take_no_torque_about_their_axis() -> None:
    x = np.stack([np.linspace(-0.25, 0.25, 9), np.full(9, 0.1), np.full(9, 0.2)], 1)
    x = np.concatenate([x, [[0.8, 0.8, 0.8]]])
    world = World(x, spacing=SPACING)
    torque = (3.0, 0.0, 0.0)
    forces = [
        ExternalForce(obj_id=0, start=0.0, end=1.0, torque=torque),
        ExternalForce(obj_id=1, start=0.0, end=1.0, torque=(1.0, 2.0, 3.0)),
    ]
    world.solver = MPMSolver(world.model, ObjectForces(world.model, np.repeat([0, 1], [9, 1]), forces))
    world.run(20, DT)
    assert np.abs(world.get("v")).max() == 0


def test_object_without_particles_is_refused() -> None:
    with pytest.raises(ValueError, match="expected labels of particles, found 3"):
        two_bodies(ExternalForce(obj_id=3, start=0.0, end=1.0))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_forces_set_between_frames_act_from_the_next_frame_on(device: str) -> None:
    world = two_bodies(device=device)
    labels = np.repeat([0, 1], len(world.model) // 2)
    forces = ObjectForces(world.model, labels)
    world.solver = MPMSolver(world.model, forces)
    momenta = []
    for pushed in (None, 1, 0, None):
        push = [] if pushed is None else [ExternalForce(obj_id=pushed, start=0.0, end=1.0, force=(0.0, 10.0, 0.0))]
        forces.set_forces(push)
        world.run(20, DT)
        momenta.append([float((m @ v)[1]) for m, _, v in (of_body(world, 0), of_body(world, 1))])
    # 10 N for a frame of 20 ms; sums of float32 velocities.
    assert np.array(momenta) == pytest.approx(np.array([[0, 0], [0, 0.2], [0.2, 0.2], [0.2, 0.2]]), rel=1e-5, abs=1e-9)
    push = ExternalForce(obj_id=0, start=0.0, end=1.0)
    with pytest.raises(ValueError, match=r"expected at most 2 \(capacity\), found 3"):
        forces.set_forces([push] * 3)
