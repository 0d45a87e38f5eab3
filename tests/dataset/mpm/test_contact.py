"""Contact between bodies with a velocity field of their own, against mechanics of rigid and elastic bodies."""

import math

import numpy as np
import pytest

from dataset.mpm.contact import BodyContact, ContactSettings
from dataset.mpm.grid import Grid
from dataset.mpm.lattice import Lattice
from dataset.mpm.solver import MPMSolver
from tests.dataset.mpm.mpm_world import BOX, World, ball, block, wall

G = 9.8
FLOOR = {"boundary_conditions": BOX, "boundaries": "surfaces"}


def bodies(*parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of all parts and the body of each particle."""
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def velocity_of(world: World, rows: np.ndarray) -> np.ndarray:
    mass = world.model.mass.numpy().astype(np.float64)[rows]
    return mass @ world.get("v")[rows] / mass.sum()


def two_balls(n_grid: int, offset: float = 0.0, friction: float = 0.3) -> tuple[World, np.ndarray, float]:
    """Balls of radius 0.25 m that fly towards each other at 1 m/s; the second is higher by ``offset`` metres."""
    spacing, radius = 2 / n_grid, 0.25
    half = math.sqrt(0.27**2 - (offset / 2) ** 2)
    x, body = bodies(
        ball(radius, (-half, 0.0, 0.9 - offset / 2), spacing), ball(radius, (half, 0.0, 0.9 + offset / 2), spacing)
    )
    v = np.where(body[:, None] == 0, [0.5, 0.0, 0.0], [-0.5, 0.0, 0.0])
    world = World(x, v, n_grid=n_grid, spacing=spacing, body=body, friction=friction)
    return world, body, 0.5 * float(world.model.largest_substep.min())


def restitution(n_grid: int) -> float:
    """How fast two balls part after they met head-on, as a share of how fast they met."""
    world, body, dt = two_balls(n_grid)
    world.run(round(0.35 / dt), dt)
    left, right = velocity_of(world, body == 0), velocity_of(world, body == 1)
    # As symmetric as the grid lets them be.
    np.testing.assert_allclose(left, -right, atol=1e-3)
    return float(right[0] - left[0])


def test_elastic_balls_bounce_better_on_finer_grids() -> None:
    found = [restitution(n_grid) for n_grid in (24, 36, 54)]
    assert found == sorted(found)
    assert found[2] < 1.0
    assert found[2] - found[1] < found[1] - found[0]


@pytest.mark.parametrize("offset", [0.0, 0.25])
def test_momentum_is_exact_in_collisions(offset: float) -> None:
    world, body, dt = two_balls(32, offset)
    momentum, angular = world.momentum(), world.angular_momentum()
    mass = world.model.mass.numpy().sum()
    world.run(round(0.4 / dt), dt)
    assert velocity_of(world, body == 0)[0] < 0.45  # they did collide
    assert np.linalg.norm(world.momentum() - momentum) < 1e-4 * mass * 0.5
    assert np.linalg.norm(world.angular_momentum() - angular) < 1e-4 * mass * 0.5 * 0.25


def test_bodies_that_never_meet_move_as_on_a_common_grid() -> None:
    """To the bit: a layer of its own changes nothing for a body alone."""
    spacing = 0.0625
    x, body = bodies(block((0.5, 0.4, 0.5), (-0.6, 0, -0.6), spacing), block((0.4, 0.4, 0.4), (0.5, 0.05, 0), spacing))
    settings = {"spacing": spacing, "E": 5e4, "gravity": (0.0, 0.0, -5.0), **FLOOR}
    alone, layered = World(x, **settings), World(x, body=body, **settings)
    for world in (alone, layered):
        world.run(300, 1e-3)
    for name in ("x", "v", "F"):
        np.testing.assert_array_equal(layered.get(name), alone.get(name))


def test_bodies_in_contact_come_apart_freely() -> None:
    """Blocks that touch: one flies off and neither takes nor gives anything."""
    spacing = 0.0625
    x, body = bodies(block((0.5, 0.5, 0.5), (0, 0, 0.25), spacing), block((0.5, 0.5, 0.5), (0, 0, 0.75), spacing))
    v = np.where(body[:, None] == 1, [0.0, 0.0, 0.5], [0.0, 0.0, 0.0])
    world = World(x, v, spacing=spacing, E=1e5, body=body, friction=0.5)
    world.run(300, 1e-3)
    # Rounding of 300 substeps.
    np.testing.assert_allclose(world.get("v"), v, atol=1e-4)


def test_bodies_that_lie_deep_in_each_other_part_slowly() -> None:
    spacing, dx, depth = 0.0625, 0.125, 0.7
    x, body = bodies(
        block((0.5, 0.5, 0.5), (0, 0, 0.25), spacing), block((0.5, 0.5, 0.5), (0, 0, 0.75 - depth * dx), spacing)
    )
    world = World(x, spacing=spacing, E=1e5, body=body)
    world.run(300, 1e-3)
    z = world.get("x")[:, 2]
    assert z[body == 1].min() - z[body == 0].max() - spacing > -0.35 * dx  # a quarter, and what the gap is accurate to
    # No faster than they were told to at first, (0.7 - 0.25) dx in 0.05 s.
    assert 0 <= velocity_of(world, body == 1)[2] - velocity_of(world, body == 0)[2] < 1.2
    assert np.abs(world.momentum()).max() < 1e-4 * world.model.mass.numpy().sum()


@pytest.mark.parametrize("n_grid", [32, 40])
def test_bodies_rest_on_each_other_with_their_surfaces_together(n_grid: int) -> None:
    spacing, floor = 2 / n_grid, -0.94
    x, body = bodies(
        block((0.8, 0.8, 0.3), (0, 0, floor + 0.15), spacing),
        block((0.4, 0.4, 0.3), (0, 0, floor + 0.5), spacing),  # falls a few centimetres
    )
    settings = {"gravity": (0.0, 0.0, -G), "rpic_damping": 0.5, **FLOOR}
    world = World(x, n_grid=n_grid, spacing=spacing, E=2e5, body=body, friction=0.4, **settings)
    dt = 0.6 * world.model.largest_substep.min()
    world.run(round(1.0 / dt), dt)
    z, middle = world.get("x")[:, 2], np.abs(x[:, :2]).max(1) < 0.15
    gap = z[middle & (body == 1)].min() - z[middle & (body == 0)].max() - spacing
    assert abs(gap) < 0.25 * world.lattice.dx  # half of what is asked for; found is 0.1
    assert abs(z.min() - floor) < 0.1 * world.lattice.dx


def incline(degrees: float, friction: float, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Times, s, and speeds, m/s, of a block on a slab that is tilted by ``degrees`` and held from behind."""
    n_grid, angle, centre = 32, math.radians(degrees), np.array([0.0, 0.0, 0.6])
    spacing = 2 / n_grid
    along, normal = np.array([math.cos(angle), 0, -math.sin(angle)]), np.array([math.sin(angle), 0, math.cos(angle)])
    x, body = bodies(
        block((2.0, 0.6, 6 * spacing), (0, 0, -3 * spacing), spacing), block((0.4, 0.3, 0.2), (-0.5, 0, 0.1), spacing)
    )
    x = x @ np.stack([along, [0, 1, 0], normal]) + centre
    held = wall(centre - 3 * spacing * normal, (math.sin(angle), 0.0, math.cos(angle)), "sticky")
    settings = {"gravity": (0.0, 0.0, -G), "boundary_conditions": (held,)}
    world = World(x, n_grid=n_grid, spacing=spacing, E=1e6, body=body, friction=friction, **settings)
    dt = 0.6 * world.model.largest_substep.min()
    times, speeds = [], []
    for _ in range(25):
        world.run(round(seconds / 25 / dt), dt)
        times.append((len(times) + 1) * round(seconds / 25 / dt) * dt)
        speeds.append(velocity_of(world, body == 1) @ along)
    return np.array(times), np.array(speeds)


@pytest.mark.parametrize("degrees", [20, 30])
def test_a_block_slides_down_a_tilted_body_as_coulomb_says(degrees: float) -> None:
    times, speeds = incline(degrees, 0.2, 0.5)
    sliding = times > 0.15  # it has found its place
    acceleration = np.polyfit(times[sliding], speeds[sliding], 1)[0]
    angle = math.radians(degrees)
    assert acceleration == pytest.approx(G * (math.sin(angle) - 0.2 * math.cos(angle)), rel=0.05)


def test_a_block_sticks_under_the_angle_of_friction() -> None:
    times, speeds = incline(20, 0.5, 0.5)  # tan 20 degrees = 0.36
    assert np.trapezoid(speeds, times) < 0.003
    assert abs(speeds[-5:]).max() < 0.01


def test_nothing_passes_through_a_thin_body_at_5_m_s() -> None:
    """A ball of scattered particles shot at a plate of one cell."""
    spacing, dx = 1 / 16, 1 / 8
    x, body = bodies(block((0.8, 0.8, dx), (0, 0, 0.9), spacing), ball(0.2, (0, 0, 1.22), spacing))
    x += np.random.default_rng(0).uniform(-0.4, 0.4, x.shape) * spacing
    v = np.where(body[:, None] == 0, [0.0, 0.0, 0.0], [0.0, 0.0, -5.0])
    world = World(x, v, spacing=spacing, body=body, friction=0.3)
    for _ in range(12):
        world.run(10, 1e-3)
        moved = world.get("x")
        below = np.floor(moved[:, :2] / dx).astype(int)
        for column in np.unique(below[body == 1], axis=0):
            here = (below == column).all(1)
            if (here & (body == 0)).any():
                # No particle of the ball is behind all of the plate's of its column, nor deep in it.
                assert moved[here & (body == 1), 2].min() > moved[here & (body == 0), 2].max() - 0.6 * dx
    assert velocity_of(world, body == 1)[2] > -2.5  # the plate weighs 2.4 times as much


def test_a_stack_of_three_stays() -> None:
    """Boxes, each a little beside the one below, of which the lowest is held by its foot."""
    spacing, foot = 0.0625, 0.0
    x, body = bodies(*(block((0.5, 0.5, 0.25), (0.02 * k, 0, foot + 0.125 + 0.25 * k), spacing) for k in range(3)))
    held = wall(np.array([0, 0, foot + 0.1]), (0, 0, 1), "sticky")
    settings = {"gravity": (0.0, 0.0, -5.0), "boundary_conditions": (held,), "rpic_damping": 0.5}
    world = World(x, spacing=spacing, E=1e6, body=body, friction=0.4, **settings)
    dt = 0.6 * world.model.largest_substep.min()
    world.run(round(1.5 / dt), dt)
    moved = world.get("x") - x
    for k in range(3):
        assert np.abs(moved[body == k].mean(0)[:2]).max() < 0.003
        # rho g h^2 / 2 E = 1.4 mm of squeeze, and each of two gaps within a twentieth of a cell.
        assert np.abs(moved[body == k].mean(0)[2]) < 0.0014 + 0.1 * world.lattice.dx
    assert np.linalg.norm(world.get("v"), axis=1).max() < 0.02


def test_three_bodies_at_one_node_keep_their_momentum() -> None:
    spacing = 0.0625
    parts = [ball(0.2, (0.26 * math.cos(a), 0.26 * math.sin(a), 0.8), spacing) for a in (0.3, 2.4, 4.5)]
    x, body = bodies(*parts)
    v = -1.5 * np.stack([part.mean(0) - [0, 0, 0.8] for part in parts])[body] / 0.26
    world = World(x, v, spacing=spacing, E=5e4, body=body, friction=0.4)
    momentum, angular, mass = world.momentum(), world.angular_momentum(), world.model.mass.numpy().sum()
    world.run(300, 1e-3)
    for k in range(3):
        assert velocity_of(world, body == k) @ v[body == k][0] < 0  # all were thrown back
    assert np.linalg.norm(world.momentum() - momentum) < 1e-4 * mass * 1.5
    assert np.linalg.norm(world.angular_momentum() - angular) < 1e-4 * mass * 1.5 * 0.2


def test_without_room_for_moments_bodies_share_their_velocity() -> None:
    """As on a common grid."""
    world, _, dt = two_balls(24)
    assert world.solver._contact is not None
    world.solver._contact.shared.capacity = 0
    x = world.get("x")
    common = World(x, world.get("v"), n_grid=24, spacing=2 / 24)
    for each in (world, common):
        each.run(round(0.3 / dt), dt)
    # Rounding alone, of which an impact makes a little more.
    np.testing.assert_allclose(world.get("x"), common.get("x"), atol=1e-4)


def test_nothing_is_left_of_moments_between_substeps() -> None:
    """Each frame begins without: the first of these two ends while the balls touch."""
    world, _, dt = two_balls(24)
    assert world.solver._contact is not None
    contact = world.solver._contact
    for _ in range(2):
        world.run(round(0.15 / dt), dt)
        assert contact.shared.counts.numpy().max() > 0
        assert (contact._struct.moments.numpy() == 0).all()


def test_grid_needs_a_layer_for_each_body() -> None:
    world, _, _ = two_balls(32)
    with pytest.raises(ValueError, match="layer for each body"):
        MPMSolver(world.model, grid=Grid(Lattice(32)))


def test_bodies_are_described_at_their_start() -> None:
    x, body = bodies(block((0.5,) * 3, (0, 0, 0), 0.0625), block((0.5,) * 3, (0, 0, 1), 0.125), np.zeros((1, 3)))
    contact = BodyContact.create(x, body, 0.3)
    np.testing.assert_allclose(contact.spacing, [0.0625, 0.125, 0.0], atol=1e-9)
    assert contact.bodies == 3
    assert (contact.friction == 0.3).all()
    with pytest.raises(ValueError, match="body: expected numbers from 0 to 30, found -1 to 1"):
        BodyContact.create(x, body - 1, 0.3)


def test_friction_of_pairs() -> None:
    names, laws = ("can", "bowl", "heap"), ("jelly", "metal", "sand")
    assert (ContactSettings(type="frictional").coefficients(names, laws) == 0.4).all()
    assert (ContactSettings(type="frictional", friction=0.1).coefficients(names, laws) == 0.1).all()
    pairs = {"bowl/can": 0.2, "sand/can": 0.7, "metal/sand": 0.6, "default": 0.5, "jelly/metal": 0.9}
    found = ContactSettings(type="frictional", friction=pairs).coefficients(names, laws)
    np.testing.assert_array_equal(found, [[0.5, 0.2, 0.7], [0.2, 0.5, 0.6], [0.7, 0.6, 0.5]])


def collided(device: str, deterministic: bool = False) -> dict[str, np.ndarray]:
    """Three balls of two materials that fell on each other and on the floor."""
    spacing = 0.0625
    x, body = bodies(*(ball(0.25, (0.05 * k, 0.03 * k, -0.6 + 0.55 * k), spacing) for k in range(3)))
    law = np.array(["jelly", "sand", "jelly"])[body]
    settings = {"gravity": (0.0, 0.0, -5.0), "boundary_conditions": BOX, "rpic_damping": 0.5, "law": law}
    world = World(
        x, spacing=spacing, E=5e4, body=body, friction=0.4, device=device, deterministic=deterministic, **settings
    )
    for _ in range(4):
        world.run(75, 1e-3)
    return {name: world.get(name) for name in ("x", "v", "F")}


@pytest.mark.gpu
def test_contact_on_cpu_and_cuda_agrees() -> None:
    cpu, cuda = collided("cpu"), collided("cuda")
    # The sums on the grid are rounded in another order, on which contact begins or ends a substep later.
    assert np.quantile(np.abs(cpu["x"] - cuda["x"]), 0.99) < 2e-2 * 0.125
    exact = collided("cuda", deterministic=True)
    assert np.quantile(np.abs(cpu["x"] - exact["x"]), 0.99) < 2e-2 * 0.125


@pytest.mark.gpu
def test_contact_is_deterministic() -> None:
    first, second = collided("cuda", deterministic=True), collided("cuda", deterministic=True)
    for name, values in first.items():
        np.testing.assert_array_equal(second[name], values)
