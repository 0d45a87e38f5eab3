"""Boundary conditions against closed-form answers."""

import math
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from dataset.mpm.boundary_conditions import BoundaryCondition
from dataset.mpm.lattice import WORLD_TO_MPM, Lattice
from dataset.mpm.model import MPMModel, ParticleMaterials
from gaussians.rotations import axis_rotation
from tests.dataset.mpm.mpm_world import World, block

G, SPACING, DT = 9.8, 0.0625, 1e-3


def condition(kind: str, **settings: Any) -> BoundaryCondition:
    return TypeAdapter(BoundaryCondition).validate_python({"type": kind, **settings})


def plane(
    point: tuple[float, float, float], normal: tuple[float, float, float], surface: str, friction: float = 0.0
) -> BoundaryCondition:
    """Through a point of the world."""
    shifted = tuple((np.array(point) + WORLD_TO_MPM).tolist())
    return condition("surface_collider", point=shifted, normal=normal, surface=surface, friction=friction)


def box(center: tuple[float, float, float], size: tuple[float, float, float]) -> dict[str, Any]:
    """Around a point of the world."""
    return {"point": tuple((np.array(center) + WORLD_TO_MPM).tolist()), "size": size}


def cube(*conditions: BoundaryCondition, v: tuple[float, float, float] = (0, 0, 0), **settings: Any) -> World:
    """0.5 m wide, at rest or moving, its lower face at z = 0."""
    x = block((0.5, 0.5, 0.5), (0.0, 0.0, 0.25), SPACING)
    return World(x, np.tile(v, (len(x), 1)), E=1e6, spacing=SPACING, boundary_conditions=conditions, **settings)


def on_incline(degrees: float, surface: str, friction: float, boundaries: str = "nodes") -> tuple[World, np.ndarray]:
    """A block on a slope down to +x, and the direction down."""
    tilt = axis_rotation(1, degrees).double().numpy()
    down, normal = tilt @ [1.0, 0.0, 0.0], tilt @ [0.0, 0.0, 1.0]
    assert down[2] <= 0
    x = block((0.5, 0.5, 0.25), (-0.9, 0.0, 0.125), SPACING) @ tilt.T
    slope = plane((0.0, 0.0, 0.0), tuple(normal.tolist()), surface, friction)
    settings: dict[str, Any] = {"rpic_damping": 0.5, "boundary_conditions": (slope,), "boundaries": boundaries}
    world = World(x, E=1e6, spacing=SPACING, gravity=(0.0, 0.0, -G), **settings)
    return world, down


@pytest.mark.parametrize("boundaries", ["nodes", "surfaces"])
@pytest.mark.parametrize("surface", ["slip", "separate"])
@pytest.mark.parametrize(("degrees", "friction"), [(30.0, 0.0), (30.0, 0.3), (20.0, 0.2), (0.0, 0.3)])
def test_block_slides_down_an_incline_as_coulomb_says(
    surface: str, degrees: float, friction: float, boundaries: str
) -> None:
    world, down = on_incline(degrees, surface, friction, boundaries)
    if degrees == 0:
        world.set("v", np.tile([2.0, 0.0, 0.0], (len(world.model), 1)))
    world.run(200, DT)  # lands
    before = float((world.get("v") @ down).mean())
    world.run(400, DT)
    acceleration = (float((world.get("v") @ down).mean()) - before) / 0.4
    expected = G * (math.sin(math.radians(degrees)) - friction * math.cos(math.radians(degrees)))
    assert acceleration == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("boundaries", ["nodes", "surfaces"])
@pytest.mark.parametrize("surface", ["slip", "separate"])
def test_block_sticks_below_the_friction_angle(surface: str, boundaries: str) -> None:
    world, down = on_incline(30.0, surface, 0.7, boundaries)  # the friction angle is 35 degrees
    world.run(300, DT)
    start = world.get("x")
    world.run(400, DT)
    # It would slide 0.78 m without friction.
    assert abs(float(((world.get("x") - start) @ down).mean())) < 1e-3


def test_slip_keeps_what_runs_along_it() -> None:
    found = {}
    for surface in ("slip", "separate", "sticky"):
        world = cube(plane((0, 0, 0), (0, 0, 1), surface), v=(1.0, 0.0, 0.0))
        world.run(300, DT)
        found[surface] = world.get("v")[:, 0].mean()
    assert found["slip"] == pytest.approx(1.0, abs=1e-4)
    assert found["separate"] == pytest.approx(1.0, abs=1e-4)
    assert abs(found["sticky"]) < 0.5


def test_separate_lets_go_and_slip_does_not() -> None:
    found = {}
    for surface in ("slip", "separate", "sticky"):
        world = cube(plane((0, 0, 0), (0, 0, 1), surface), v=(0.0, 0.0, 0.5))
        world.run(100, DT)
        found[surface] = world.get("x")[:, 2].mean() - 0.25
    assert found["separate"] == pytest.approx(0.05, abs=1e-4)
    assert found["slip"] < 0.02
    assert found["sticky"] < 0.02


def lowest_over(world: World, height: float) -> float:
    return float(world.get("x")[:, 2].min() - height) / world.lattice.dx


@pytest.mark.parametrize(("n_grid", "E", "speed"), [(32, 1e4, 1.0), (64, 1e4, 1.0), (64, 1e4, 4.0)])
def test_bodies_rest_on_the_floor(n_grid: int, E: float, speed: float) -> None:
    """A quarter of a cell deep at most, however they land, and with the largest substep; the published floor lets them
    deeper in."""
    found = {}
    for boundaries in ("nodes", "surfaces"):
        x = block((0.4, 0.4, 0.2), (0.01, 0.02, 0.0), 0.04)
        x[:, 2] -= x[:, 2].min() + 0.94 - 0.02
        settings: dict[str, Any] = {"boundary_conditions": (condition("bounding_box"),), "boundaries": boundaries}
        settings |= {"E": E, "density": 500.0, "spacing": 0.04, "gravity": (0.0, 0.0, -G), "rpic_damping": 0.9}
        world = World(x, np.tile([0.0, 0.0, -speed], (len(x), 1)), n_grid=n_grid, **settings)
        dt = min(0.95 * world.model.largest_substep.min(), 0.45 * world.lattice.dx / speed)
        deepest = 0.0
        for _ in range(60):
            world.run(round(0.025 / dt), dt)
            deepest = min(deepest, lowest_over(world, -0.94))
        found[boundaries] = deepest, lowest_over(world, -0.94)
    assert found["surfaces"][0] > -0.25
    assert abs(found["surfaces"][1]) < 0.1
    assert found["nodes"][0] < -0.3


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("surface", ["sticky", "slip", "separate"])
def test_bodies_rest_on_a_plane_wherever_it_lies_between_nodes(surface: str, share: float) -> None:
    dx = Lattice(32).dx
    height = -0.94 + (4 + share) * dx
    x = block((0.4, 0.4, 0.4), (0.0, 0.0, height + 0.25), 0.05)
    floor = plane((0, 0, height), (0, 0, 1), surface)
    settings: dict[str, Any] = {"boundary_conditions": (floor,), "boundaries": "surfaces", "rpic_damping": 0.9}
    settings |= {"E": 1e5, "density": 500.0, "spacing": 0.05, "gravity": (0.0, 0.0, -5.0)}
    world = World(x, np.tile([0.0, 0.0, -0.5], (len(x), 1)), **settings)
    world.run(200, 2e-3)
    assert abs(lowest_over(world, height)) < 0.05


def test_bodies_leave_a_surface_freely() -> None:
    """Half a cell over it nothing is felt; what lifts off from it keeps its velocity."""
    for height in (0.001, 0.03):
        x = block((0.5, 0.5, 0.5), (0.0, 0.0, 0.0), SPACING)
        x[:, 2] -= x[:, 2].min() + 0.94 - height
        settings: dict[str, Any] = {"boundary_conditions": (condition("bounding_box"),), "boundaries": "surfaces"}
        world = World(x, np.tile([0.3, 0.0, 0.5], (len(x), 1)), E=1e5, spacing=SPACING, **settings)
        world.run(100, DT)
        np.testing.assert_allclose(world.get("v").mean(0), [0.3, 0.0, 0.5], atol=1e-4)


def test_cut_holds_all_but_a_slot() -> None:
    """Heights 0.4 to 0.53 of the configuration, -0.6 to -0.47 of the world; 0.3 a 1e-4 s there."""
    found = []
    wall = plane((0, 1.5, 0), (0, 1, 0), "cut")  # all is behind it
    for z in (-0.55, 0.25):
        x = block((0.25, 0.25, 0.125), (0.0, 0.5, z), SPACING / 2)
        v = np.tile([1.0, 1.0, 0.0], (len(x), 1))
        world = World(x, v, n_grid=64, spacing=SPACING / 2, boundary_conditions=(wall,))
        world.run(1, 1e-4)
        found.append(world.get("v").mean(0))
    # The nodes at the rim of the slot hold a part of the body.
    assert 0.1 < found[0][0] <= 0.3 + 1e-6
    assert abs(found[0][1]) < 1e-6
    np.testing.assert_allclose(found[1], 0.0, atol=1e-6)


def test_condition_acts_in_its_time_alone() -> None:
    floor = condition("surface_collider", point=(2.0, 2.0, 1.0), normal=(0.0, 0.0, 3.0), start_time=0.05, end_time=0.15)
    world = cube(floor, gravity=(0.0, 0.0, -1.0))
    world.run(50, DT)
    assert world.get("v")[:, 2].mean() == pytest.approx(-0.05, abs=1e-5)
    world.run(100, DT)
    held = world.get("v")[:, 2].mean()
    assert held > -0.05
    world.run(100, DT)
    assert world.get("v")[:, 2].mean() == pytest.approx(held - 0.1, abs=1e-5)


@pytest.mark.parametrize("substeps", [1, 7])
def test_impulse_is_force_times_time(substeps: int) -> None:
    force = np.array([0.3, -0.1, 0.2])
    push = condition(
        "particle_impulse", force=tuple(force), num_dt=substeps, start_time=0.01, **box((0, 0, 0), (1.0, 1.0, 0.25))
    )
    world = cube(push)
    chosen = int((world.get("x")[:, 2] < 0.25).sum())
    assert 0 < chosen < len(world.model)
    world.run(10, DT)
    assert (world.get("v") == 0).all()
    world.run(30, DT)
    np.testing.assert_allclose(world.momentum(), force * chosen * substeps * DT, rtol=1e-4)


def test_cuboid_drives_what_is_in_it() -> None:
    drive = {"velocity": (1.0, 0.0, 0.5), "end_time": 0.2, **box((0, 0, 0.25), (0.6, 0.6, 0.6))}
    for reset, after in ((0, (1.0, 0.0, 0.5)), (1, (0.0, 0.0, 0.0))):
        world = cube(condition("cuboid", reset=reset, **drive), v=(-3.0, 2.0, 0.0))
        start = world.get("x")
        world.run(200, DT)
        np.testing.assert_allclose(world.get("v"), np.tile([1.0, 0.0, 0.5], (len(start), 1)), atol=1e-5)
        np.testing.assert_allclose(world.get("x") - start, np.tile([0.2, 0.0, 0.1], (len(start), 1)), atol=1e-4)
        world.run(50, DT)
        np.testing.assert_allclose(world.get("v").mean(0), after, atol=1e-4)


def test_cuboid_pushes_what_it_meets() -> None:
    piston = condition("cuboid", velocity=(0.5, 0.0, 0.0), **box((-0.75, 0, 0.25), (0.25, 1.0, 1.0)))
    world = cube(piston)
    world.run(1500, DT)
    # It began 0.25 m away and has come 0.75 m: the near face is where the piston's is, within a cell.
    assert world.get("x")[:, 0].min() == pytest.approx(-0.5 + 0.75, abs=world.lattice.dx)
    assert world.get("v")[:, 0].mean() >= 0.45


def test_translation_is_enforced_on_what_starts_in_the_box() -> None:
    pull = condition(
        "enforce_particle_translation", velocity=(0.2, 0.0, 0.0), end_time=0.1, **box((0, 0, 0), (1.0, 1.0, 0.125))
    )
    world = cube(pull, gravity=(0.0, 0.0, -5.0))
    start = world.get("x")
    chosen = start[:, 2] < 0.125
    world.run(100, DT)
    expected = np.tile([0.2, 0.0, 0.0], (int(chosen.sum()), 1))
    np.testing.assert_allclose(world.get("v")[chosen], expected, atol=1e-7)
    np.testing.assert_allclose((world.get("x") - start)[chosen], 0.1 * expected, atol=1e-5)
    assert world.get("v")[~chosen, 0].mean() > 0.05  # the rest is dragged along
    before = world.momentum()
    world.run(50, DT)
    gained = (world.momentum() - before) / world.model.mass.numpy().sum()
    np.testing.assert_allclose(gained, [0.0, 0.0, -5.0 * 0.05], atol=1e-4)


def test_rotation_is_enforced_in_the_cylinder() -> None:
    turn = condition(
        "enforce_particle_velocity_rotation",
        point=tuple((np.array([0, 0, 0.25]) + WORLD_TO_MPM).tolist()),
        normal=(0.0, 0.0, 2.0),
        half_height_and_radius=(0.3, 1.0),
        rotation_scale=2.0,
        translation_scale=0.5,
    )
    world = cube(turn)
    start = world.get("x")
    world.run(500, DT)
    # Clockwise as seen from above, by 1 rad; explicit steps spiral outwards by (omega dt)^2 / 2 each, 0.1 % in all.
    turned = start @ axis_rotation(2, -math.degrees(1.0)).double().numpy().T + [0.0, 0.0, 0.25]
    np.testing.assert_allclose(world.get("x"), turned, atol=1e-3)


def test_layers_are_released_one_after_the_other() -> None:
    release = condition(
        "release_particles_sequentially",
        normal=(0.0, 0.0, 1.0),
        start_position=1.0,
        end_position=1.5,
        num_layers=4,
        end_time=0.4,
    )
    # Of a body without stiffness, so that layers fall freely; the cube spans 1.0 to 1.5 in the configuration's heights.
    x = block((0.125, 0.125, 0.5), (0.0, 0.0, 0.25), SPACING)
    world = World(x, E=1e-3, spacing=SPACING, gravity=(0.0, 0.0, -5.0), boundary_conditions=(release,))
    world.run(150, DT)
    moved = np.abs(world.get("x") - x)[:, 2]
    # The lowest layer went at 0.1 s, the next goes at 0.2 s.
    assert (moved[x[:, 2] > 0.125] == 0).all()
    assert (moved[x[:, 2] < 0.125] > 0).all()
    world.run(200, DT)
    moved = np.abs(world.get("x") - x)[:, 2]
    assert (moved[x[:, 2] > 0.375] == 0).all()
    assert (moved[x[:, 2] < 0.375] > 0).all()
    world.run(100, DT)
    assert (np.abs(world.get("x") - x)[:, 2] > 0).all()


def test_particles_chosen_by_place_need_their_places() -> None:
    constants = (np.full(3, value) for value in (1e5, 0.3, 1e3))
    push = condition("particle_impulse", force=(1.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="positions: expected"):
        MPMModel.create(Lattice(32), np.ones(3), ParticleMaterials(*constants), boundary_conditions=(push,))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"type": "surface_collider", "point": (0, 0, 0), "normal": (0, 0, 0)}, "expected a direction"),
        (
            {"type": "surface_collider", "point": (0, 0, 0), "normal": (0, 0, 1), "friction": 0.5},
            "expected 0 for a sticky",
        ),
        ({"type": "surface_collider", "point": (0, 0, 0), "normal": (0, 0, 1), "surface": "icy"}, "surface"),
        ({"type": "surface_collider", "normal": (0, 0, 1)}, "point"),
        ({"type": "cuboid", "point": (0, 0, 0), "size": (1, 0, 1), "velocity": (0, 0, 0)}, "size"),
        ({"type": "cuboid", "point": (0, 0, 0), "size": (1, 1, 1)}, "velocity"),
        ({"type": "particle_impulse", "force": (0, 0, 1), "num_dt": 0}, "num_dt"),
        ({"type": "particle_impulse", "force": (0, 0, 1), "end_time": 1.0}, "end_time"),
        (
            {"type": "enforce_particle_translation", "point": (0, 0, 0), "size": (1, 1, 1), "velocity": (0, 0, 1)}
            | {"start_time": 2.0, "end_time": 1.0},
            "expected more than start_time = 2, found 1",
        ),
        (
            {"type": "release_particles_sequentially", "normal": (0, 1, 1), "start_position": 0.0}
            | {"end_position": 1.0, "end_time": 1.0},
            "expected one number that is not zero",
        ),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        TypeAdapter(BoundaryCondition).validate_python(settings)
