"""Simulations of whole scenes: what they weigh, are made of, and refuse."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.config import Config, MaterialRegion
from dataset.mpm.boundary_conditions import (
    BoundingBox,
    Cuboid,
    EnforceParticleTranslation,
    EnforceParticleVelocityRotation,
    ParticleImpulse,
)
from dataset.scenes.scene_files import read_scene
from dataset.simulation.materials import object_materials
from dataset.simulation.scene_particles import particles_of_scene
from dataset.simulation.simulation import Simulation
from gaussians.files.external_forces import ExternalForce
from gaussians.files.trajectory_format import Frame
from gaussians.rotations import axis_rotation
from gaussians.stage.errors import InputError
from tests.dataset.scene_files import FAST, cube, make_scene, simulation_of


def first_frames(simulation: Simulation, count: int) -> list[Frame]:
    """Copies, which outlive the simulation's next frames."""
    found = itertools.islice(simulation.frames(), count)
    return [Frame(**{name: tensor.clone() for name, tensor in vars(frame).items()}) for frame in found]


def test_grains_of_sand_weigh_the_same(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene")
    volumes = []
    for material in ("jelly", "sand"):
        config = Config(**FAST, material=material)
        simulation = simulation_of(scene, config)
        volumes.append([entry.volume for entry in simulation.objects()])
        spread = np.ptp(simulation._volumes[:300])
        assert spread == 0 if material == "sand" else spread > 1e-5
    assert volumes[0] == pytest.approx(volumes[1])


def test_objects_weigh_the_same_on_every_grid(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene", count=2000)

    def masses(rule: str, n_grid: int) -> np.ndarray:
        config = Config(n_grid=n_grid, volume=rule)
        objects = simulation_of(scene, config).objects()
        assert [entry.mass / entry.volume for entry in objects] == pytest.approx([500, 501])
        return np.array([entry.mass for entry in objects])

    np.testing.assert_allclose(masses("object", 32), masses("object", 128), rtol=1e-6)
    assert (masses("cells", 32) > 1.5 * masses("cells", 128)).all()


def test_regions_are_made_of_something_else(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene")

    def simulation(**values: float) -> Simulation:
        # The duck, 0.4 m around (0.05, 0, 0.1) in the world.
        region = MaterialRegion(point=(2.05, 2.0, 1.1), size=(0.2, 0.2, 0.2), **values)
        config = Config(**FAST, additional_material_params=(region,))
        return simulation_of(scene, config)

    plain, heavy = (simulation(density=density).objects() for density in (501.0, 1002.0))
    assert heavy[0].mass == pytest.approx(plain[0].mass)
    assert heavy[1].mass == pytest.approx(2 * plain[1].mass)
    with pytest.raises(InputError, match=r"substep_dt: expected less than .* in 'duck'"):
        simulation(E=1e8)
    with pytest.raises(InputError, match=r"substep_dt: expected less than .* in 'duck'"):
        simulation(nu=0.4999)


def test_too_few_particles_are_warned_of(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene", names=("ball",), count=2000)

    def simulation(n_grid: int) -> Simulation:
        return simulation_of(scene, Config(n_grid=n_grid))

    assert simulation(32).warnings() == []
    (warning,) = simulation(200).warnings()
    assert "object 'ball' has 1." in warning
    better = simulation(int(warning.split("n_grid ")[1].split()[0]))
    assert better.warnings() == []
    means = read_scene(scene).gaussians.means.numpy()
    assert 6 <= better.lattice.mean_particles_per_cell(means) < 8


def test_what_is_outside_the_area_does_not_move(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene")
    config = Config(**(FAST | {"g": (0.0, 0.0, -5.0), "sim_area": (-1.0, 1.0, -1.0, 1.0, -0.25, 1.0)}))
    loaded = particles_of_scene(read_scene(scene), config)
    assert loaded.moving == 300 + int((cube(300, (0, 0, -0.5), 0)[:, 2] > -0.25).sum())
    simulation = simulation_of(scene, config)
    first, frame = first_frames(simulation, 2)
    moved = (frame.means - first.means).norm(dim=1)
    assert (moved[: loaded.moving] > 1e-4).all()
    assert (moved[loaded.moving :] == 0).all()
    assert frame.rotations is not None
    torch.testing.assert_close(frame.rotations[loaded.moving :], torch.eye(3).expand(600 - loaded.moving, 3, 3))
    left = 600 - loaded.moving
    assert simulation.warnings()[0].startswith(
        f"{left} of 300 Gaussians of object 'ball' lie outside sim_area [-1.0, 1.0, -1.0, 1.0, -0.25, 1.0] and stay"
    )
    assert [(entry.count, entry.moving) for entry in simulation.objects()] == [(300, 300 - left), (300, 300)]


def test_no_grid_is_advised_that_a_config_refuses(tmp_path: Path) -> None:
    """Ten Gaussians, far apart even for the coarsest grid."""
    scene = make_scene(tmp_path / "scene", names=("ball",), count=10)
    (warning,) = simulation_of(scene, Config(n_grid=64)).warnings()
    assert warning.endswith("no n_grid is coarse enough: give it more Gaussians, or particle_filling")


def test_boxes_that_hit_no_particle_are_told(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene")
    box = {"point": (3.5, 2.0, 1.0), "size": (0.1, 0.1, 0.1)}
    turning = {"normal": (0.0, 0.0, 1.0), "rotation_scale": 1.0, "translation_scale": 0.0}
    config = Config(
        **FAST
        | {
            "boundary_conditions": (
                BoundingBox(type="bounding_box"),
                ParticleImpulse(type="particle_impulse", force=(0.0, 0.0, 1.0), **box),
                EnforceParticleTranslation(type="enforce_particle_translation", velocity=(0.0, 0.0, 0.1), **box),
                EnforceParticleVelocityRotation(
                    type="enforce_particle_velocity_rotation",
                    point=box["point"],
                    half_height_and_radius=(0.1, 0.1),
                    **turning,
                ),
                ParticleImpulse(type="particle_impulse", force=(0.0, 0.0, 1.0), point=(2.0, 2.0, 1.0)),
            ),
            "additional_material_params": (MaterialRegion(**box, E=1e5),),
        }
    )
    said = [warning for warning in simulation_of(scene, config).warnings() if "no particle" in warning]
    assert said == [
        "boundary_conditions.1 (particle_impulse): no particle starts in its region",
        "boundary_conditions.2 (enforce_particle_translation): no particle starts in its region",
        "boundary_conditions.3 (enforce_particle_velocity_rotation): no particle starts in its region",
        "additional_material_params.0: no particle starts in its box",
    ]


@pytest.mark.parametrize(
    ("height", "speed", "refused"), [(0.01, 0.0, True), (0.07, 0.0, False), (0.06, 0.5, True), (0.07, 0.5, False)]
)
def test_cuboid_between_the_nodes_is_refused(tmp_path: Path, height: float, speed: float, refused: bool) -> None:
    """Nodes are 0.125 m apart, at z = -0.94 + 0.125 k m; half extents of more always hold one."""
    scene = make_scene(tmp_path / "scene")
    shelf = Cuboid(type="cuboid", point=(2.0, 2.0, 0.5), size=(0.3, 0.3, height), velocity=(0.0, 0.0, speed))
    config = Config(**FAST | {"n_grid": 32, "boundary_conditions": (shelf,)})
    if refused:
        with pytest.raises(InputError, match=r"boundary_conditions\.0 \(cuboid\): along z it is thinner than a cell"):
            simulation_of(scene, config)
    else:
        simulation_of(scene, config)


@pytest.mark.parametrize("half", [0.02, 0.0322])
def test_thin_cuboid_holds_or_is_refused(tmp_path: Path, half: float) -> None:
    """Of half a cell, 62.5 mm, wherever it lies between the nodes; two cubes fall onto it one after the other."""
    scene = make_scene(tmp_path / "scene")
    shelf = Cuboid(type="cuboid", point=(2.0, 2.0, 0.14), size=(1.0, 1.0, half), velocity=(0.0, 0.0, 0.0))
    box = BoundingBox(type="bounding_box")
    settings = {"boundaries": "surfaces", "boundary_conditions": (box, shelf), "frame_num": 30, "volume": "object"}
    config = Config(**FAST | settings, g=(0.0, 0.0, -5.0))
    if half < 0.03125:
        with pytest.raises(
            InputError, match=r"along z it is thinner than half a cell.* more than 0\.03125 m, or n_grid 51"
        ):
            simulation_of(scene, config)
        return
    last = first_frames(simulation_of(scene, config), config.frame_num)[-1]
    assert float(last.means[:, 2].min()) > 0.14 + half - 1 - 0.25 * 0.125


def test_forces_and_conditions_that_act_on_nothing_are_told(tmp_path: Path) -> None:
    scene = read_scene(make_scene(tmp_path / "scene"))
    late = ParticleImpulse(type="particle_impulse", force=(0.0, 0.0, 1.0), point=(2.0, 2.0, 1.0), start_time=0.5)
    # The duck, above, does not move.
    config = Config(**FAST, boundary_conditions=(late,), sim_area=(-1.0, 1.0, -1.0, 1.0, -1.0, -0.25))
    forces = [ExternalForce(obj_id=0, start=0.0, end=1.0), ExternalForce(obj_id=0, start=2.0, end=3.0)]
    forces.append(ExternalForce(obj_id=1, start=0.0, end=1.0))
    materials = object_materials(scene.objects, config)
    simulation = Simulation(particles_of_scene(scene, config), materials, config, "cpu", forces)
    said = [line for line in simulation.warnings() if "boundary_conditions" in line or "external force" in line]
    assert said == [
        "boundary_conditions.0 (particle_impulse): it begins at 0.5 s, but the simulation ends at 0.06 s",
        "external force on object 'ball' at 2 s: the simulation ends at 0.06 s",
        "external force on object 'duck' at 0 s: none of the object's Gaussians moves",
    ]


def test_rotation_is_undone(tmp_path: Path) -> None:
    """Simulating a turned scene under gravity along z is simulating the scene under turned gravity."""
    scene = make_scene(tmp_path / "scene", names=("ball",))
    config = Config(**(FAST | {"g": (0.0, 0.0, -5.0), "rotation_degree": (90.0,), "rotation_axis": (0,)}))
    simulation = simulation_of(scene, config)
    first, frame = first_frames(simulation, 2)
    fall = 5.0 * 0.02 * 0.021 / 2
    down = axis_rotation(0, 90.0).T @ torch.tensor([0.0, 0.0, -1.0])
    torch.testing.assert_close(frame.means - first.means, (fall * down).expand(300, 3), atol=1e-5, rtol=0)
    assert frame.covariances is not None
    assert first.covariances is not None
    torch.testing.assert_close(frame.covariances, first.covariances, atol=1e-6, rtol=1e-3)


def test_materials_mix_in_one_scene(tmp_path: Path) -> None:
    """A jelly that falls on a metal cube dents it; the metal stays dented, and its Gaussians show it."""
    scene = make_scene(tmp_path / "scene", count=500)
    material = {"ball": "metal", "duck": "jelly"}
    density = {"ball": 500.0, "duck": 3000.0}
    config = Config(
        **(FAST | {"g": (0.0, 0.0, -20.0), "material": material, "density": density, "frame_num": 41}),
        yield_stress=500.0,
        boundary_conditions=(BoundingBox(type="bounding_box"),),
    )
    simulation = simulation_of(scene, config)
    first, *_, last = first_frames(simulation, 41)
    height = [frame.means[:500, 2].max() - frame.means[:500, 2].min() for frame in (first, last)]
    assert height[1] < 0.9 * height[0]
    assert first.covariances is not None
    assert last.covariances is not None
    flattening = (last.covariances[:500, 5] / first.covariances[:500, 5]).sqrt().median()
    assert flattening == pytest.approx(float(height[1] / height[0]), rel=0.3)
    # The jelly keeps its shape but for its own weight, rho g h / E = 0.2 at its foot.
    jelly = [frame.means[500:, 2].max() - frame.means[500:, 2].min() for frame in (first, last)]
    assert jelly[1] > 0.85 * jelly[0]
