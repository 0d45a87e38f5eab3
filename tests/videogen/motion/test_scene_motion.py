import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dataset.config import Config
from dataset.scenes.scene_objects import SceneObject
from dataset.simulation.materials import object_materials
from dataset.simulation.scene_particles import SceneParticles, with_filling
from dataset.simulation.simulation import Simulation
from dynamic_models.data.scene_state import World
from dynamic_models.models.checkpoints import CheckpointInfo, save_checkpoint
from dynamic_models.models.interface import FrameModel
from dynamic_models.models.registry import build_model
from gaussians.files.external_forces import ExternalForce
from gaussians.representation import Gaussians
from gaussians.rotations import rotation_exp
from gaussians.stage.errors import InputError
from tests.videogen.small_scene import FRAMES, SETTINGS, cloud
from videogen.motion.scene_motion import AssumedMaterials, choose_materials, predict, predict_motion

CPU = torch.device("cpu")
DT = 0.02
CONFIG = Config(g=(0.0, 0.0, -5.0), n_grid=40, frame_dt=DT)
DENSITY = 500.0


def two_clouds() -> SceneParticles:
    """Objects 0 and 1 of 120 Gaussians, so far apart that they never touch, and 50 Gaussians that stay."""
    parts = [cloud((-0.5, 0, 0.5), 0), cloud((0.5, 0, 0.5), 1), cloud((1.5, 0, 0), 2, count=50)]
    labels = torch.tensor([0, 1, 0]).repeat_interleave(torch.tensor([120, 120, 50])).int()
    gaussians = replace(Gaussians.cat(parts), labels=labels).with_covariances()
    return SceneParticles(gaussians, moving=240, source_index=torch.arange(290, dtype=torch.int32))


OBJECTS = [SceneObject(label=0, name="ball"), SceneObject(label=1, name="duck")]


def untrained() -> tuple[FrameModel, CheckpointInfo]:
    """A model without forces of its own: it predicts free flight."""
    world = World(walls=(-9.0, 9.0, -9.0, 9.0, -9.0))
    info = CheckpointInfo(settings=SETTINGS, num_keypoints=2000, frame_dt=DT, world=world)
    return build_model(SETTINGS), info


def last_frame(
    scene: SceneParticles, config: Config, *forces: ExternalForce, density: float | None = DENSITY
) -> Gaussians:
    materials = AssumedMaterials([1e5, 1e5], [density, density])
    motion = predict_motion(scene, OBJECTS, materials, forces, *untrained(), config, FRAMES, CPU)
    return list(motion.moments(stored=False))[-1].gaussians


def mass_of(scene: SceneParticles, config: Config, label: int) -> float:
    """As the simulator says."""
    materials = object_materials(OBJECTS, config, [1e5, 1e5], [DENSITY, DENSITY])
    return Simulation(scene, materials, config, "cpu").objects()[label].mass


def centers(gaussians: Gaussians) -> list[torch.Tensor]:
    return [gaussians.means[rows].mean(0) for rows in (slice(0, 120), slice(120, 240))]


def test_everything_falls_together_but_what_stays() -> None:
    scene = two_clouds()
    last = last_frame(scene, CONFIG)
    fall = torch.tensor([0.0, 0.0, -0.5 * 5.0 * ((FRAMES - 1) * DT) ** 2])
    # Float32 rounding over seven steps and the moving least squares.
    torch.testing.assert_close(last.means[:240], scene.gaussians.means[:240] + fall, atol=1e-5, rtol=0)
    torch.testing.assert_close(last.covariance()[:240], scene.gaussians.covariance()[:240], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(last.sh[:240], scene.gaussians.sh[:240], atol=1e-3, rtol=0)
    assert torch.equal(last.means[240:], scene.gaussians.means[240:])


def test_a_push_changes_momentum_by_force_times_time() -> None:
    scene, config = two_clouds(), CONFIG.model_copy(update={"g": (0.0, 0.0, 0.0)})
    mass = mass_of(scene, config, 1)
    force = ExternalForce(obj_id=1, start=0.01, end=0.05, force=(0.0, 3.0, 1.0))
    before, after = centers(scene.gaussians), centers(last_frame(scene, config, force))
    torch.testing.assert_close(after[0], before[0], atol=1e-5, rtol=0)
    # Frame by frame the mean force: half in the first, all of it in the second, half in the third.
    gained = torch.tensor([0.5, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0]).cumsum(0) * DT / mass
    mean_velocity = (gained + torch.cat([torch.zeros(1), gained[:-1]])) / 2
    expected = torch.tensor([0.0, 3.0, 1.0]) * mean_velocity.sum() * DT
    torch.testing.assert_close(after[1] - before[1], expected, atol=1e-5, rtol=1e-3)


def test_a_force_may_have_a_mass_of_its_own_and_without_any_is_refused() -> None:
    scene, config = two_clouds(), CONFIG.model_copy(update={"g": (0.0, 0.0, 0.0)})
    force = ExternalForce(obj_id=0, start=0.0, end=1.0, force=(1.0, 0.0, 0.0), mass=2.0)
    moved = centers(last_frame(scene, config, force, density=None))[0] - centers(scene.gaussians)[0]
    expected = torch.tensor([0.5 * 0.5 * ((FRAMES - 1) * DT) ** 2, 0.0, 0.0])
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="external force on object 0: expected a mass"):
        last_frame(scene, config, force.model_copy(update={"mass": None}), density=None)


def test_masses_are_the_simulators() -> None:
    """Also where a hollow object is filled and a part of it is heavier."""
    hollow = cloud((0.0, 0.0, 0.0), 0, count=1500)
    directions = torch.nn.functional.normalize(hollow.means, dim=1)
    hollow = replace(hollow, means=0.2 * directions + torch.tensor([-0.5, 0.0, 0.0]))
    labels = torch.tensor([0, 1]).repeat_interleave(torch.tensor([1500, 120])).int()
    gaussians = replace(Gaussians.cat([hollow, cloud((0.5, 0.0, 0.5), 1)]), labels=labels)
    scene = SceneParticles(gaussians, moving=1620, source_index=torch.arange(1620, dtype=torch.int32))
    settings = {
        "g": [0, 0, 0],
        "particle_filling": {"n_grid": 80, "visualize": True},
        "additional_material_params": [{"point": [1.5, 2.0, 1.0], "size": [0.1, 1.0, 1.0], "density": 2000.0}],
    }
    config = Config.model_validate_json(json.dumps(CONFIG.settings() | settings))
    force = ExternalForce(obj_id=0, start=0.0, end=1.0, force=(1000.0, 0.0, 0.0))

    moved = (last_frame(scene, config, force).means - gaussians.means)[:1500, 0]

    mass = mass_of(with_filling(scene, config, CPU), config, 0)
    assert mass > 1.3 * mass_of(scene, CONFIG, 0)  # both matter
    expected = torch.full_like(moved, 0.5 * 1000.0 / mass * ((FRAMES - 1) * DT) ** 2)
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=1e-4)


def test_a_pushed_and_turned_block_moves_as_the_simulator_moves_it() -> None:
    # A block of 0.18 x 0.3 x 0.18 m between its outermost particles.
    axes = [low + 0.02 * (torch.arange(count) + 0.5) for low, count in ((-0.54, 10), (-0.14, 16), (0.06, 10))]
    means = torch.cartesian_prod(*axes)
    block = replace(cloud((0, 0, 0), 0, count=1600), means=means, labels=torch.zeros(1600, dtype=torch.int32))
    scene = SceneParticles(block, moving=1600, source_index=torch.arange(1600, dtype=torch.int32))
    config = Config(n_grid=100, frame_dt=DT, substep_dt=1e-3, frame_num=FRAMES, volume="object")
    force = ExternalForce(obj_id=0, start=0.01, end=0.09, force=(5.0, 0.0, 8.0), torque=(1.0, 0.0, 0.0))
    materials = object_materials(OBJECTS[:1], config, [2e5], [DENSITY])

    *_, frame = Simulation(scene, materials, config, "cpu", [force]).frames()
    predicted = last_frame(scene, config, force)

    moved, simulated = predicted.means - means, frame.means - means
    torch.testing.assert_close(moved.mean(0), simulated.mean(0), atol=2e-5, rtol=0.01)
    # Particles with affine velocities turn slower by dx^2 / 2 = 0.0008 m^2 of (0.18^2 + 0.3^2) / 12 = 0.0102 m^2, and
    # the block is no rigid body.
    turned, simulated = moved - moved.mean(0), simulated - simulated.mean(0)
    assert float(turned.norm(dim=1).max()) > 0.01
    share = float((turned * simulated).sum() / turned.square().sum())
    assert share == pytest.approx(1 / (1 + 0.0008 / 0.0102), abs=0.03)
    assert float((simulated - share * turned).norm()) < 0.05 * float(simulated.norm())


def test_objects_start_as_the_config_says() -> None:
    spin = (0.0, 0.0, 4.0)
    config = CONFIG.model_copy(
        update={"g": (0.0, 0.0, 0.0), "initial_velocity": {"duck": (1.0, 0.0, 2.0)}, "initial_angular_velocity": spin}
    )
    scene = two_clouds()
    last, time = last_frame(scene, config), (FRAMES - 1) * DT
    before, after = centers(scene.gaussians), centers(last)
    R = rotation_exp(torch.tensor(spin) * time)
    for i, (rows, flight) in enumerate(((slice(0, 120), (0.0, 0, 0)), (slice(120, 240), (1.0, 0.0, 2.0)))):
        arms = scene.gaussians.means[rows] - before[i]
        # A spin about the centre of mass, which is not exactly that of the keypoints: it moves a little.
        torch.testing.assert_close(after[i] - before[i], torch.tensor(flight) * time, atol=0.02, rtol=0)
        # Bodies that are no balls do not keep spinning about a fixed axis.
        assert float((last.means[rows] - after[i] - arms @ R.T).norm(dim=1).max()) < 0.1 * float(arms.norm(dim=1).max())


def materials(
    config: Config, E: Sequence[float] | None, medians: dict[str, float], objects: list[SceneObject] = OBJECTS
) -> AssumedMaterials:
    return choose_materials(objects, config, E, None, medians)


def test_materials_are_the_flags_else_the_configs_else_the_scenes_else_the_medians() -> None:
    medians = {"youngs_modulus": 7e5, "density": 600.0}
    known = [OBJECTS[0].model_copy(update={"youngs_modulus": 2e5, "density": 300.0}), OBJECTS[1]]
    found = materials(Config(), None, medians, known)
    assert found.youngs_moduli == [2e5, 7e5]
    assert found.densities == [300.0, 600.0]
    assert found.note is not None
    assert found.note.startswith("nothing says what duck consists of: the training data's medians (700000 Pa, 600 kg/")
    found = materials(Config(E={"ball": 3e5}, density=100.0), None, medians, known)
    assert found.youngs_moduli == [3e5, 7e5]
    assert found.densities == [100.0, 100.0]
    found = materials(Config(E=1.0, density=100.0), [1e4, 1e6], medians, known)
    assert found == AssumedMaterials([1e4, 1e6], [100.0, 100.0])
    assert materials(Config(), None, {}) == AssumedMaterials([None, None], [None, None])
    with pytest.raises(InputError, match=r"--E: expected 2 values \(ball, duck\), found 1"):
        materials(Config(), [1.0], medians)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    model, info = untrained()
    save_checkpoint(tmp_path / "best.json", model, info.model_copy(update={"materials": {"density": 400.0}}))
    return tmp_path


def test_gaussians_in_memory_fall_as_their_checkpoint_says(checkpoint: Path) -> None:
    gaussians = two_clouds().gaussians[:240]
    frames = list(predict(gaussians, checkpoint, FRAMES))
    assert len(frames) == FRAMES
    torch.testing.assert_close(frames[0].means, gaussians.means, rtol=0, atol=1e-6)
    fall = torch.tensor([0.0, 0.0, -0.5 * 5.0 * ((FRAMES - 1) * DT) ** 2])
    # Float32 rounding over seven steps and the moving least squares.
    torch.testing.assert_close(frames[-1].means, gaussians.means + fall, atol=1e-5, rtol=0)


def test_gaussians_in_memory_are_predicted_as_files_are(checkpoint: Path) -> None:
    """With pushes, materials and a config; without labels they are one object."""
    gaussians = two_clouds().gaussians[:240]
    force = ExternalForce(obj_id=1, start=0.0, end=0.1, force=(0.0, 3.0, 1.0))
    config = CONFIG.model_copy(update={"initial_velocity": {"object0": (1.0, 0.0, 0.0)}})
    found = list(predict(gaussians, checkpoint, FRAMES, config=config, density=[500.0, 500.0], forces=[force]))
    expected = last_frame(two_clouds(), CONFIG, force)
    moved = found[-1].means[:120] - expected.means[:120]
    torch.testing.assert_close(moved.mean(0), torch.tensor([(FRAMES - 1) * DT, 0.0, 0.0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(found[-1].means[120:], expected.means[120:240], rtol=0, atol=1e-5)
    single = list(
        predict(replace(gaussians, labels=None), checkpoint, 2, forces=[force.model_copy(update={"obj_id": 0})])
    )
    labels = single[-1].labels
    assert labels is not None
    assert (labels == 0).all()
    with pytest.raises(InputError, match="nowhere: no such file"):
        predict(gaussians, "nowhere", 2)
    with pytest.raises(InputError, match=r"density: expected 2 values"):
        predict(gaussians, checkpoint, 2, density=[1.0])
