"""Filled scenes, and frames on the way from the device."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.config import Config
from dataset.mpm.particle_filling import ParticleFilling
from dataset.scenes.scene_files import read_scene
from dataset.scenes.scene_objects import SceneObject
from dataset.simulation.materials import object_materials
from dataset.simulation.scene_particles import SceneParticles, particles_of_scene, with_filling
from dataset.simulation.simulation import Simulation
from gaussians.files.splats.ply import write_ply
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError
from tests.dataset.scene_files import FAST, cube, gaussians_at, make_scene, simulate, write_config

OBJECTS = [SceneObject(label=0, name="shell", youngs_modulus=1e5, density=500.0)]


def hollow_ball(path: Path, still: int = 0) -> Path:
    """A sphere of flat-ish Gaussians of radius 0.3 m, and some far away that sim_area leaves out."""
    n = np.arange(4000)
    z, turn = 1 - (2 * n + 1) / len(n), n * np.pi * (3 - 5**0.5)
    shell = 0.3 * np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], 1)
    write_ply(path, gaussians_at(np.concatenate([shell, cube(still, (1.3, 0, 0), 0)])))
    return path


def filled(path: Path, visualize: bool) -> tuple[SceneParticles, SceneParticles]:
    settings = ParticleFilling(n_grid=128, visualize=visualize)
    config = Config(**FAST, sim_area=(-1, 1, -1, 1, -1, 1), particle_filling=settings)
    scene = particles_of_scene(read_scene(path, objects=OBJECTS), config)
    return scene, with_filling(scene, config, "cpu")


def test_filling_moves_along_unseen(tmp_path: Path) -> None:
    plain, scene = filled(hollow_ball(tmp_path / "ball.ply", still=50), visualize=False)
    assert scene.gaussians is plain.gaussians
    assert np.linalg.norm(scene.filling, axis=1).max() < 0.3
    # A particle in each cell of 1/32 m inside the shell.
    assert len(scene.filling) == pytest.approx(4 / 3 * np.pi * 0.3**3 * 32**3, rel=0.3)
    config = Config(**FAST | {"n_grid": 64, "frame_num": 2, "g": (0.0, 0.0, -5.0)}, sim_area=(-1, 1, -1, 1, -1, 1))
    materials = object_materials(OBJECTS, config)
    simulations = [Simulation(entry, materials, config, "cpu") for entry in (plain, scene)]
    for simulation in simulations:
        *_, last = simulation.frames()
        assert last.means.shape == (4050, 3)
    # The shell's cells alone, against those of the whole ball.
    hollow, solid = (simulation.objects()[0] for simulation in simulations)
    assert hollow.count == solid.count == 4050
    assert solid.volume > 1.3 * hollow.volume


def test_filling_can_be_seen(tmp_path: Path) -> None:
    plain, scene = filled(hollow_ball(tmp_path / "ball.ply", still=50), visualize=True)
    new = scene.source_index < 0
    assert len(scene.filling) == 0
    assert int(new.sum()) > 1000
    assert scene.moving == plain.moving + int(new.sum())
    assert len(scene.gaussians) == scene.moving + 50
    torch.testing.assert_close(scene.gaussians[~new].means, plain.gaussians.means)
    assert torch.isin(scene.gaussians[new].sh.flatten(1)[:, 0], plain.gaussians.sh.flatten(1)[:, 0]).all()


def test_command_fills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = hollow_ball(tmp_path / "ball.ply")
    settings = {"E": 1e5, "density": 500.0, "frame_num": 2}
    published = {"n_grid": 128, "max_partciels_per_cell": 1, "visualize": True}
    found = []
    for filling in (None, published):
        output = tmp_path / ("filled" if filling else "plain")
        simulate(monkeypatch, scene, write_config(tmp_path, particle_filling=filling, **settings), output)
        found.append(TrajectoryReader(output))
    assert found[0].count == 4000
    assert found[1].count > 5000
    assert (np.load(tmp_path / "filled" / "source_index.npy") == -1).sum() == found[1].count - 4000


def test_frames_are_those_of_their_time_though_the_device_runs_ahead(tmp_path: Path) -> None:
    write_ply(tmp_path / "cube.ply", gaussians_at(cube(300, (0, 0, 0.5), 0)))
    config = Config(**FAST | {"frame_num": 6, "g": (0.0, 0.0, -5.0)}, E=1e5, density=500.0)
    objects = [SceneObject(label=0, name="cube")]
    scene = particles_of_scene(read_scene(tmp_path / "cube.ply", objects=objects), config)
    simulation = Simulation(scene, object_materials(objects, config), config, "cpu")
    heights = [float(frame.means[:, 2].mean()) for frame in simulation.frames()]
    times = 0.02 * np.arange(6)
    # Free fall, g t (t + dt) / 2.
    np.testing.assert_allclose(heights[0] - np.array(heights), 5.0 * times * (times + 1e-3) / 2, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("deterministic", [False, True])
def test_cuda_frames_are_the_cpu_frames(tmp_path: Path, deterministic: bool) -> None:
    scene = make_scene(tmp_path / "scene")
    config = Config.model_validate_json(write_config(tmp_path, frame_num=8).read_text())
    objects = [SceneObject(label=k, name=name, youngs_modulus=1e5, density=500.0) for k, name in enumerate("ab")]
    materials = object_materials(objects, config)
    loaded = particles_of_scene(read_scene(scene, objects=objects), config)
    simulations = [
        Simulation(loaded, materials, config, name, deterministic=deterministic) for name in ("cpu", "cuda", "cuda")
    ]
    for cpu, cuda, again in zip(*(simulation.frames() for simulation in simulations), strict=True):
        for name in ("means", "covariances", "rotations", "velocities"):
            expected, found = getattr(cpu, name), getattr(cuda, name)
            # Sums on the grid in another order; strains of a collision multiply the rounding.
            torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-2)
            if deterministic:
                assert torch.equal(found, getattr(again, name))


def test_faint_gaussians_are_left_out(tmp_path: Path) -> None:
    visible, faint = gaussians_at(cube(20, (0, 0, 0), 0)), gaussians_at(cube(30, (0, 0, 0), 1), opacity=0.01)
    write_ply(tmp_path / "scene.ply", Gaussians.cat([faint, visible]))
    scene = read_scene(tmp_path / "scene.ply")
    assert particles_of_scene(scene, Config()).source_index.tolist() == list(range(30, 50))
    with pytest.raises(InputError, match="no Gaussian to simulate"):
        particles_of_scene(scene, Config(opacity_threshold=0.95))
