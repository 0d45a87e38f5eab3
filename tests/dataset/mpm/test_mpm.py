"""The solver against closed-form answers."""

import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
import warp as wp
from pydantic import TypeAdapter

from dataset.mpm.boundary_conditions import BoundaryCondition
from dataset.mpm.constitutive_laws import LAWS
from dataset.mpm.grid import Grid
from dataset.mpm.lattice import Lattice
from dataset.mpm.state import MPMState
from gaussians.rotations import rotation_exp
from gaussians.stage.errors import InputError
from tests.dataset.mpm.mpm_world import BOX, World, block, deformed


def test_a_grid_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr("gaussians.stage.memory.free_memory", lambda: 10**9)
    with pytest.raises(InputError, match=r"n_grid 1024: takes at least .* GiB of memory, of which"):
        Grid(Lattice(1024))


def test_free_fall_is_exact() -> None:
    x = block((0.5, 0.5, 0.5), (0.1, 0.2, 2.2), 0.0625)
    world = World(x, gravity=(0.0, 0.0, -5.0))
    dt, substeps = 2.5e-4, 4000
    world.run(substeps, dt)
    t = substeps * dt
    expected = x + np.array([0, 0, -5.0 * t * (t + dt) / 2])
    # Single precision: 4,000 additions to numbers near 2 round by 1e-7 each; they walk to some 1e-5.
    np.testing.assert_allclose(world.get("x"), expected, atol=1e-4)


def test_momentum_is_conserved_in_a_collision() -> None:
    spacing = 0.0625
    left = block((0.5, 0.5, 0.5), (-0.45, 0.0, 0.9), spacing)
    right = block((0.4, 0.4, 0.6), (0.3, 0.15, 1.1), spacing)
    v = np.concatenate([np.tile([2.0, 0.3, 0.0], (len(left), 1)), np.tile([-1.0, 0.0, 0.5], (len(right), 1))])
    world = World(np.concatenate([left, right]), v, E=5e4)
    momentum, angular = world.momentum(), world.angular_momentum()
    before = world.get("v")
    world.run(1000, 5e-4)
    assert np.abs(world.get("v") - before).max() > 1.0  # they did collide
    assert np.linalg.norm(world.momentum() - momentum) < 1e-4 * np.linalg.norm(momentum)
    assert np.linalg.norm(world.angular_momentum() - angular) < 1e-4 * np.linalg.norm(angular)


@pytest.mark.parametrize("rpic_damping", [0.0, 0.9])
def test_block_at_rest_stays_at_rest(rpic_damping: float) -> None:
    spacing = 0.0625
    x = block((0.5, 0.5, 0.5), (0, 0, -0.94 + 0.25), spacing)
    settings: dict[str, Any] = {"gravity": (0.0, 0.0, -5.0), "boundary_conditions": BOX, "rpic_damping": rpic_damping}
    world = World(x, E=1e6, spacing=spacing, **settings)
    world.run(3000, 5e-4)
    settled = world.get("x")
    # It sank until the nodes next to the floor carry it, within a cell (0.125), and squeezed under its weight by about
    # rho g h^2 / 2 E = 6e-4.
    assert np.abs(settled - x).max() < 0.02
    world.run(2000, 5e-4)
    # A second later rounding has moved it by less than a thousandth of a cell.
    np.testing.assert_allclose(world.get("x"), settled, atol=1e-4)
    assert np.abs(world.get("v")).max() < 1e-3


def test_rigid_rotation_keeps_shape_and_is_found_by_polar_decomposition() -> None:
    omega, center, spacing = np.array([0.3, 0.6, 2.0]), np.array([0.1, -0.2, 0.8]), 0.0625
    x = block((0.5, 0.5, 0.5), (0.1, -0.2, 0.8), spacing)
    world = World(x, np.cross(omega, x - center), E=1e6, spacing=spacing)
    world.set("C", np.tile(np.cross(np.eye(3), omega), (len(x), 1, 1)))
    dt, substeps = 1e-3, 1000
    world.run(substeps, dt)
    R = rotation_exp(torch.tensor(omega * dt * substeps)).numpy()
    _, rotations = deformed(world.state, torch.zeros(len(x), 6))
    F = world.get("F")
    # The body is elastic: centrifugal force stretches it by about rho omega^2 r^2 / E = 5e-4.
    assert np.abs(F.transpose(0, 2, 1) @ F - np.eye(3)).max() < 1e-3
    np.testing.assert_allclose(rotations.numpy(), np.tile(R, (len(x), 1, 1)), atol=1e-3)
    np.testing.assert_allclose(world.get("x"), center + (x - center) @ R.T, atol=1e-3)


@pytest.mark.parametrize("n_grid", [32, 48, 50, 64, 100, 128, 200, 400])
def test_floor_and_walls_stand_still_when_the_grid_changes(n_grid: int) -> None:
    lattice = Lattice(n_grid)
    low, high = lattice.walls
    assert low == pytest.approx((-1.94, -1.94, -0.94), abs=1e-12)
    assert high[:2] == pytest.approx((1.94, 1.94), abs=lattice.dx)
    free = np.array(lattice.origin) + 3 * lattice.dx  # the first node that is not padding
    np.testing.assert_allclose(free, low, atol=1e-12)


def test_published_lattice() -> None:
    lattice = Lattice(200)
    assert lattice.nodes == 200
    assert lattice.origin == pytest.approx((-2, -2, -1), abs=1e-12)
    assert lattice.walls[1] == pytest.approx((1.94, 1.94, 2.94), abs=1e-12)


@pytest.mark.parametrize("n_grid", [32, 64])
@pytest.mark.parametrize(("axis", "sign"), [(2, -1), (0, 1), (1, -1)])
def test_walls_stop_a_body_within_a_cell(n_grid: int, axis: int, sign: int) -> None:
    spacing = 2 / n_grid
    direction = np.zeros(3)
    direction[axis] = sign
    wall = (-1.94, -1.94, -0.94)[axis] if sign < 0 else 1.94
    center = np.array([0.0, 0.0, 0.5])
    center[axis] = wall - sign * 0.3
    x = block((0.25, 0.25, 0.25), tuple(center), spacing)
    world = World(x, np.tile(direction, (len(x), 1)), n_grid=n_grid, spacing=spacing, E=3e4, boundary_conditions=BOX)
    reached = -np.inf
    for _ in range(40):
        world.run(20, 1e-3 * 32 / n_grid)
        reached = max(reached, float((world.get("x")[:, axis] * sign).max()))
    assert abs(reached - wall * sign) < world.lattice.dx


def test_wall_friction_does_not_depend_on_the_substep() -> None:
    spacing = 0.0625
    x = block((0.5, 0.5, 0.25), (0, 0, -0.94 + 0.12), spacing)
    left = []
    for dt in (4e-4, 1e-4):
        world = World(x, E=1e5, spacing=spacing, gravity=(0.0, 0.0, -5.0), boundary_conditions=BOX)
        world.run(round(0.8 / dt), dt)  # settle
        world.set("v", world.get("v") + np.array([1.0, 0.0, 0.0]))
        world.run(round(0.02 / dt), dt)
        left.append(world.get("v")[:, 0].mean())
    assert 0.05 < left[1] < 0.95
    assert left[0] == pytest.approx(left[1], abs=0.05)


def test_particles_outside_the_grid_touch_nothing() -> None:
    x = block((0.25, 0.25, 0.25), (0, 0, 0.5), 0.0625)
    stray = np.array([[5.0, 0, 0], [0, 0, -1e30], [np.nan, 0, 0], [np.inf, 0, 0], [0, 1.99999, 0], [-2.31, 0, 0]])
    inside = World(x, spacing=0.0625, gravity=(0.0, 0.0, -5.0))
    both = World(np.concatenate([x, stray]), spacing=0.0625, gravity=(0.0, 0.0, -5.0))
    assert not both.lattice.contains(stray)[[0, 1, 2, 3, 5]].any()
    inside.run(50, 1e-3)
    both.run(50, 1e-3)
    np.testing.assert_array_equal(both.get("x")[: len(x)], inside.get("x"))
    np.testing.assert_array_equal(both.get("x")[len(x) :][:4], stray.astype(np.float32)[:4])


def test_denormal_numbers_are_as_before() -> None:
    """The solver does without them, others may not."""
    World(block((0.25, 0.25, 0.25), (0, 0, 0.5), 0.0625)).run(2, 1e-3)
    assert sys.float_info.min / 2 > 0


def moving(state: MPMState) -> tuple[wp.array, ...]:
    """The arrays that a substep changes."""
    return state.x, state.v, state.C, state.F


def test_step_into_another_state_is_the_step_in_place() -> None:
    x = block((0.25, 0.25, 0.25), (0, 0, 0.5), 0.0625)
    world = World(x, np.random.default_rng(0).normal(size=x.shape), gravity=(0.0, 0.0, -5.0))
    other = MPMState.at_rest(x)
    before = [array.numpy().copy() for array in moving(world.state)]
    world.solver.step(world.state, other, 1e-3)
    for array, values in zip(moving(world.state), before, strict=True):
        np.testing.assert_array_equal(array.numpy(), values)
    world.solver.step(world.state, world.state, 1e-3)
    for array, same in zip(moving(world.state), moving(other), strict=True):
        np.testing.assert_array_equal(array.numpy(), same.numpy())


def test_affine_velocity_is_damped_as_asked() -> None:
    x = block((0.25, 0.25, 0.25), (0, 0, 0.5), 0.0625)
    v = np.random.default_rng(0).normal(size=x.shape)
    C = {}
    for r in (0.0, 0.4, 1.0, -1.0):
        world = World(x, v, rpic_damping=r)
        world.run(1, 1e-3)
        C[r] = world.get("C")
    transposed = C[0.0].transpose(0, 2, 1)
    np.testing.assert_allclose(C[0.4], 0.6 * C[0.0] + 0.2 * (C[0.0] - transposed), atol=1e-4)
    np.testing.assert_allclose(C[1.0], (C[0.0] - transposed) / 2, atol=1e-4)
    assert (C[-1.0] == 0).all()


def test_substep_past_the_speed_of_sound_is_refused() -> None:
    world = World(block((0.25, 0.25, 0.25), (0, 0, 0.5), 0.0625), E=1e5, nu=0.3, density=1000.0)
    limit = world.model.largest_substep.min()
    # 0.68 dx / c; c^2 = E (1 - nu) / ((1 + nu) (1 - 2 nu)) / rho
    assert limit == pytest.approx(0.68 * 0.125 / math.sqrt(1e5 * 0.7 / (1.3 * 0.4) / 1000))
    with pytest.raises(ValueError, match="expected less than"):
        world.run(1, limit)


def test_largest_substeps_stay_stable() -> None:
    """Just under the limit a jolted body neither blows up nor gains energy."""
    spacing = 0.0625
    x = block((0.5, 0.5, 0.5), (0, 0, 0.5), spacing)
    v = 0.3 * np.random.default_rng(0).normal(size=x.shape)
    world = World(x, v, spacing=spacing)
    before = np.square(v).sum()
    world.run(500, 0.99 * world.model.largest_substep.min())
    assert np.square(world.get("v")).sum() < before


def test_volumes_share_each_cell() -> None:
    lattice = Lattice(32)
    x = block((0.25, 0.25, 0.25), tuple(np.array(lattice.origin) + 10 * lattice.dx), 0.0625)  # 8 in each of 8 cells
    np.testing.assert_allclose(lattice.particle_volumes(x), 0.0625**3)
    assert lattice.mean_particles_per_cell(x) == 8


def test_pic_damping_drops_its_share() -> None:
    x = block((0.25, 0.25, 0.25), (0, 0, 0.5), 0.0625)
    v = np.random.default_rng(0).normal(size=x.shape)
    worlds = [World(x, v, rpic_damping=0.4, pic_damping=share) for share in (0.0, 0.3)]
    for world in worlds:
        world.run(1, 1e-3)
    np.testing.assert_allclose(worlds[1].get("C"), 0.7 * worlds[0].get("C"), atol=1e-4)


def test_plastic_materials_need_a_state_for_them() -> None:
    world = World(block((0.25, 0.25, 0.25), (0, 0, 0.5), 0.0625), law="metal")
    with pytest.raises(ValueError, match="plastic=True"):
        world.solver.step(MPMState.at_rest(world.get("x")), world.state, 1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("boundaries", ["nodes", "surfaces"])
def test_cpu_and_cuda_agree_on_materials_and_conditions(boundaries: str) -> None:
    """A stack of all materials in a scene with conditions of every sort, each with a time window."""
    spacing, names = 0.0625, list(LAWS)
    parts = [block((0.5, 0.5, 0.25), (0.02 * i, 0, -0.8 + 0.3 * i), spacing) for i in range(len(names))]
    x, law = np.concatenate(parts), np.repeat(names, [len(part) for part in parts])
    plane = {"point": (2.0, 2.0, 0.1), "normal": (0.1, 0.0, 1.0), "surface": "separate", "friction": 0.3}
    region = {"point": (2.0, 2.0, 1.5), "size": (1.0, 1.0, 0.3)}
    conditions = TypeAdapter(tuple[BoundaryCondition, ...]).validate_python(
        [
            {"type": "bounding_box"},
            {"type": "surface_collider", **plane},
            {"type": "cuboid", **region, "velocity": (0.3, 0.0, 0.0), "start_time": 0.05, "end_time": 0.1},
            {"type": "particle_impulse", **region, "force": (0.0, 0.5, 0.0), "num_dt": 30},
        ]
    )
    found = []
    for device in ("cpu", "cuda"):
        world = World(
            x,
            law=law,
            E=5e4,
            spacing=spacing,
            gravity=(0.0, 0.0, -5.0),
            boundary_conditions=conditions,
            boundaries=boundaries,
            rpic_damping=0.5,
            device=device,
        )
        for _ in range(4):
            world.run(50, 1e-3)
        found.append((world.get("x"), world.get("total"), world.get("history")))
    # The sums on the grid are rounded in another order; flow remembers it.
    for cpu, cuda, tolerance in zip(*found, (1e-3, 2e-2, 2e-2), strict=True):
        np.testing.assert_allclose(np.median(np.abs(cpu - cuda)), 0.0, atol=0.1 * tolerance)
        assert np.quantile(np.abs(cpu - cuda), 0.99) < tolerance


@pytest.mark.gpu
def test_cpu_and_cuda_agree() -> None:
    spacing = 0.0625
    x = np.concatenate(
        [block((0.5, 0.5, 0.5), (0, 0, -0.6), spacing), block((0.4, 0.4, 0.4), (0.1, 0.05, 0.0), spacing)]
    )
    worlds = [
        World(
            x, E=5e4, spacing=spacing, gravity=(0.0, 0.0, -5.0), boundary_conditions=BOX, rpic_damping=0.5, device=name
        )
        for name in ("cpu", "cuda")
    ]
    for world in worlds:
        for _ in range(5):
            world.run(100, 1e-3)
    # The sums on the grid are rounded in another order.
    np.testing.assert_allclose(worlds[0].get("x"), worlds[1].get("x"), atol=1e-3 * worlds[0].lattice.dx)
