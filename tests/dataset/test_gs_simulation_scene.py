"""The command, from a scene's files to a trajectory's."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataset.config import Config, MaterialRegion
from dataset.layout import Layout
from dataset.mpm.boundary_conditions import BoundingBox
from dataset.mpm.solver import MPMSolver
from dataset.scenes.scene_objects import SceneObject, label_rows, object_materials, scene_objects
from dataset.simulation.scene_particles import load_scene
from dataset.simulation.simulation import Simulation
from gaussians.files.ply import write_ply
from gaussians.files.trajectory_format import Frame
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.representation import Gaussians
from gaussians.rotations import axis_rotation
from gaussians.stage.errors import InputError
from tests.dataset.scene_files import FAST, cube, gaussians_at, make_scene, simulate, write_config


def first_frames(simulation: Simulation, count: int) -> list[Frame]:
    """Copies, which outlive the simulation's next frames."""
    found = itertools.islice(simulation.frames(), count)
    return [Frame(**{name: tensor.clone() for name, tensor in vars(frame).items()}) for frame in found]


def test_scene_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    scene, output = make_scene(tmp_path / "0_ball_duck"), tmp_path / "mpm"
    simulate(monkeypatch, scene, write_config(tmp_path), output, "--save_h5")
    assert capsys.readouterr().out.splitlines()[-1] == f"simulated 1 scene, 4 frames each: {output}"
    reader = TrajectoryReader(output)
    assert reader.num_frames == 4
    assert reader.meta is not None
    assert [(o.name, o.label, o.count, o.density, o.material) for o in reader.meta.objects] == [
        ("ball", 0, 300, 500.0, "jelly"),
        ("duck", 1, 300, 501.0, "jelly"),
    ]
    assert reader.labels is not None
    assert reader.labels.tolist() == [0] * 300 + [1] * 300
    # Frame 0 is the PLY, in the order of source_index.
    source = torch.from_numpy(np.load(output / "source_index.npy")).long()
    original = load_scene(scene, scene_objects(scene, Layout(tmp_path)), Config()).gaussians
    assert sorted(source.tolist()) == list(range(600))
    first = reader.frame(0)
    torch.testing.assert_close(first.means, original.means)
    torch.testing.assert_close(first.covariances, original.covariances)
    # Bodies fall g t (t + dt) / 2 while nothing touches them: the duck has not met the ball yet.
    last, t = reader.frame(3), 0.06
    expected = first.means[300:] - torch.tensor([0, 0, 5.0 * t * (t + 1e-3) / 2])
    torch.testing.assert_close(last.means[300:], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(last.velocities[300:, 2], torch.full((300,), -5.0 * t), atol=1e-4, rtol=0)
    assert reader.meta.walls is not None
    assert reader.meta.walls.floor == pytest.approx(-0.94)


def test_mass_is_density_times_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(monkeypatch, make_scene(tmp_path / "scene"), write_config(tmp_path, frame_num=1), tmp_path / "mpm")
    meta = TrajectoryReader(tmp_path / "mpm").meta
    assert meta is not None
    for entry in meta.objects:
        assert entry.mass == pytest.approx(entry.volume * entry.density)
        # The cells that a 0.4 m cube touches hold at least its volume and at most that of a cube a cell larger.
        assert 0.4**3 < entry.volume < 0.65**3


def test_grains_of_sand_weigh_the_same(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene")
    objects = scene_objects(scene, Layout(tmp_path))
    volumes = []
    for material in ("jelly", "sand"):
        config = Config(**FAST, material=material)
        simulation = Simulation(load_scene(scene, objects, config), object_materials(objects, config), config, "cpu")
        volumes.append([entry.volume for entry in simulation.objects()])
        spread = np.ptp(simulation._volumes[:300])
        assert spread == 0 if material == "sand" else spread > 1e-5
    assert volumes[0] == pytest.approx(volumes[1])


def test_regions_are_made_of_something_else(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene")
    objects = scene_objects(scene, Layout(tmp_path))

    def simulation(**values: float) -> Simulation:
        # The duck, 0.4 m around (0.05, 0, 0.1) in the world.
        region = MaterialRegion(point=(2.05, 2.0, 1.1), size=(0.2, 0.2, 0.2), **values)
        config = Config(**FAST, additional_material_params=(region,))
        return Simulation(load_scene(scene, objects, config), object_materials(objects, config), config, "cpu")

    plain, heavy = (simulation(density=density).objects() for density in (501.0, 1002.0))
    assert heavy[0].mass == pytest.approx(plain[0].mass)
    assert heavy[1].mass == pytest.approx(2 * plain[1].mass)
    with pytest.raises(InputError, match=r"substep_dt: expected less than .* in 'duck'"):
        simulation(E=1e8)
    with pytest.raises(InputError, match=r"substep_dt: expected less than .* in 'duck'"):
        simulation(nu=0.4999)


def test_complete_scene_is_kept_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, output = make_scene(tmp_path / "scene"), tmp_path / "mpm"
    simulate(monkeypatch, scene, write_config(tmp_path), output)
    written = (output / "0003.h5").stat().st_mtime_ns
    simulate(monkeypatch, scene, write_config(tmp_path, init_radius=2.0), output)  # the cameras do not matter
    assert (output / "0003.h5").stat().st_mtime_ns == written
    with pytest.raises(InputError, match=r"made with other n_grid; --overwrite"):
        simulate(monkeypatch, scene, write_config(tmp_path, n_grid=40), output)
    with pytest.raises(InputError, match=r"made with other materials; --overwrite"):
        simulate(monkeypatch, scene, write_config(tmp_path), output, "--E", "[2e5, 1e5]")
    with pytest.raises(InputError, match=r"made with other save_fields; --overwrite"):
        simulate(monkeypatch, scene, write_config(tmp_path), output, "--save_fields", "pos")
    simulate(monkeypatch, scene, write_config(tmp_path, n_grid=40), output, "--overwrite")
    assert (output / "0003.h5").stat().st_mtime_ns != written
    make_scene(scene, count=200)
    with pytest.raises(InputError, match=r"made with other point_cloud, segmentation; --overwrite"):
        simulate(monkeypatch, scene, write_config(tmp_path, n_grid=40), output)


def test_trajectory_from_before_a_setting_existed_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, output = make_scene(tmp_path / "scene", count=100), tmp_path / "mpm"
    simulate(monkeypatch, scene, write_config(tmp_path, frame_num=2), output)
    written = (output / "0001.h5").stat().st_mtime_ns
    meta = json.loads((output / "meta.json").read_text())
    del meta["settings"]["yield_stress"]
    meta["hashes"]["config"] = "of fewer settings"
    (output / "meta.json").write_text(json.dumps(meta))
    simulate(monkeypatch, scene, write_config(tmp_path, frame_num=2), output)
    assert (output / "0001.h5").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="made with other yield_stress"):
        simulate(monkeypatch, scene, write_config(tmp_path, frame_num=2, yield_stress=1e3), output)


def test_half_finished_scene_is_redone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, output = make_scene(tmp_path / "scene"), tmp_path / "mpm"
    advance = MPMSolver.advance

    def killed_later(*arguments: Any) -> None:
        if (output / "0001.h5").is_file():
            raise KeyboardInterrupt
        advance(*arguments)

    monkeypatch.setattr(MPMSolver, "advance", killed_later)
    with pytest.raises(KeyboardInterrupt):
        simulate(monkeypatch, scene, write_config(tmp_path), output)
    with pytest.raises(InputError, match="incomplete"):
        TrajectoryReader(output)
    monkeypatch.setattr(MPMSolver, "advance", advance)
    simulate(monkeypatch, scene, write_config(tmp_path), output)
    assert TrajectoryReader(output).num_frames == 4
    (output / "0002.h5").unlink()
    simulate(monkeypatch, scene, write_config(tmp_path), output)
    assert TrajectoryReader(output).num_frames == 4


def test_group_gets_a_directory_a_scene_and_is_shared_by_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("0_ball_duck", "1_duck_ball", "2_ball_ball"):
        make_scene(tmp_path / "group" / name, count=150)
    config, output = write_config(tmp_path, frame_num=2), tmp_path / "mpm"
    simulate(monkeypatch, tmp_path / "group", config, output, "--shard", "1/2", "--save_fields", "pos")
    assert [path.name for path in output.iterdir()] == ["1_duck_ball"]
    simulate(monkeypatch, tmp_path / "group", config, output, "--shard", "0/2", "--save_fields", "pos")
    assert sorted(path.name for path in output.iterdir()) == ["0_ball_duck", "1_duck_ball", "2_ball_ball"]
    assert TrajectoryReader(output / "2_ball_ball").frame(1).covariances is None


def test_published_trajectory_is_not_overwritten_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, output = make_scene(tmp_path / "scene"), tmp_path / "mpm"
    output.mkdir()
    (output / "0000.h5").write_bytes(b"published")
    with pytest.raises(InputError, match="was not made here"):
        simulate(monkeypatch, scene, write_config(tmp_path), output)
    assert (output / "0000.h5").read_bytes() == b"published"


def test_runaway_ends_with_frame_object_and_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, output = make_scene(tmp_path / "scene"), tmp_path / "mpm"
    config = write_config(tmp_path, g=[0.0, 0.0, -100.0], boundary_conditions=[], frame_num=50)
    with pytest.raises(InputError, match=r"frame \d+: object '(ball|duck)' .*: try .*incomplete"):
        simulate(monkeypatch, scene, config, output)
    reader = TrajectoryReader(output, allow_incomplete=True)
    assert 1 <= reader.num_frames < 50


def test_frame_num_replaces_the_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, config = make_scene(tmp_path / "0_ball_duck"), write_config(tmp_path)
    simulate(monkeypatch, scene, config, tmp_path / "mpm", "--frame_num", "2")
    assert TrajectoryReader(tmp_path / "mpm").num_frames == 2
    with pytest.raises(InputError, match=r"^--frame_num: frame_num: .*greater than or equal to 1"):
        simulate(monkeypatch, scene, config, tmp_path / "other", "--frame_num", "0")


def test_substep_past_stability_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, output = make_scene(tmp_path / "scene"), tmp_path / "mpm"
    config = write_config(tmp_path, E={"ball": 1e5, "duck": 1e9})
    # 0.68 dx / c = 0.68 x 0.125 m / sqrt(1.346e9 Pa / 501 kg/m^3); the next divisor of 0.02 s below it works.
    with pytest.raises(InputError, match=r"substep_dt: expected less than 5\.185e-05 s.* in 'duck'.*5\.181347e-05"):
        simulate(monkeypatch, scene, config, output)
    assert not output.exists()
    simulate(monkeypatch, scene, write_config(tmp_path, frame_num=2, substep_dt=5.181347e-05), output)


def test_too_few_particles_are_warned_of(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene", names=("ball",), count=2000)
    objects = scene_objects(scene, Layout(tmp_path))

    def simulation(n_grid: int) -> Simulation:
        config = Config(n_grid=n_grid)
        materials = object_materials(objects, config)
        return Simulation(load_scene(scene, objects, config), materials, config, "cpu")

    assert simulation(32).warning() is None
    warning = simulation(200).warning()
    assert warning is not None
    assert "object 'ball' has 1." in warning
    better = simulation(int(warning.split("n_grid ")[1].split()[0]))
    assert better.warning() is None
    means = load_scene(scene, objects, Config()).gaussians.means.numpy()
    assert 6 <= better.lattice.mean_particles_per_cell(means) < 8


def test_what_is_outside_the_area_does_not_move(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene")
    config = Config(**(FAST | {"g": (0.0, 0.0, -5.0), "sim_area": (-1.0, 1.0, -1.0, 1.0, -0.25, 1.0)}))
    objects = scene_objects(scene, Layout(tmp_path))
    loaded = load_scene(scene, objects, config)
    assert loaded.moving == 300 + int((cube(300, (0, 0, -0.5), 0)[:, 2] > -0.25).sum())
    simulation = Simulation(loaded, object_materials(objects, config), config, "cpu")
    first, frame = first_frames(simulation, 2)
    moved = (frame.means - first.means).norm(dim=1)
    assert (moved[: loaded.moving] > 1e-4).all()
    assert (moved[loaded.moving :] == 0).all()
    assert frame.rotations is not None
    torch.testing.assert_close(frame.rotations[loaded.moving :], torch.eye(3).expand(600 - loaded.moving, 3, 3))


def test_faint_gaussians_are_left_out(tmp_path: Path) -> None:
    visible, faint = gaussians_at(cube(20, (0, 0, 0), 0)), gaussians_at(cube(30, (0, 0, 0), 1), opacity=0.01)
    write_ply(tmp_path / "scene.ply", Gaussians.cat([faint, visible]))
    scene = load_scene(tmp_path / "scene.ply", [SceneObject(label=0, name="scene")], Config())
    assert scene.source_index.tolist() == list(range(30, 50))
    with pytest.raises(InputError, match="no Gaussian to simulate"):
        load_scene(tmp_path / "scene.ply", [SceneObject(label=0, name="scene")], Config(opacity_threshold=0.95))


def test_rotation_is_undone(tmp_path: Path) -> None:
    """Simulating a turned scene under gravity along z is simulating the scene under turned gravity."""
    scene = make_scene(tmp_path / "scene", names=("ball",))
    objects = scene_objects(scene, Layout(tmp_path))
    config = Config(**(FAST | {"g": (0.0, 0.0, -5.0), "rotation_degree": (90.0,), "rotation_axis": (0,)}))
    simulation = Simulation(load_scene(scene, objects, config), object_materials(objects, config), config, "cpu")
    first, frame = first_frames(simulation, 2)
    fall = 5.0 * 0.02 * 0.021 / 2
    down = axis_rotation(0, 90.0).T @ torch.tensor([0.0, 0.0, -1.0])
    torch.testing.assert_close(frame.means - first.means, (fall * down).expand(300, 3), atol=1e-5, rtol=0)
    assert frame.covariances is not None
    assert first.covariances is not None
    torch.testing.assert_close(frame.covariances, first.covariances, atol=1e-6, rtol=1e-3)


OBJECTS = [
    SceneObject(label=0, name="ball", index=0, youngs_modulus=1e5, density=600.0),
    SceneObject(label=1, name="teddy", index=100, youngs_modulus=2e4, density=300.0),
]


def test_materials_come_from_flag_then_config_then_scene() -> None:
    def moduli(config: Config, E: list[float] | None = None) -> list[float]:
        return [material.youngs_modulus for material in object_materials(OBJECTS, config, E)]

    assert moduli(Config()) == [1e5, 2e4]
    assert moduli(Config(E=3e5)) == [3e5, 3e5]
    assert moduli(Config(E={"ball": 7e5, "teddy": 1e4, "duck": 1.0})) == [7e5, 1e4]
    assert moduli(Config(E={"ball": 7e5})) == [7e5, 2e4]  # people's own objects say what they are made of
    assert moduli(Config(E={"ball": 7e5}), [1.0, 2.0]) == [1.0, 2.0]


def test_each_law_gets_its_settings() -> None:
    config = Config(material={"ball": "metal", "teddy": "sand"}, yield_stress={"ball": 2e3}, hardening=1, xi=0.5)
    ball, teddy = object_materials(OBJECTS, config)
    assert ball.settings == {"yield_stress": 2e3, "hardening": 1, "xi": 0.5}
    assert teddy.settings == {"friction_angle": 25.0}
    with pytest.raises(InputError, match=r"c\.json: yield_stress: no value for object 'ball'"):
        object_materials(OBJECTS, Config(material="foam", yield_stress={"duck": 1e3}), config_path="c.json")


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
    objects = scene_objects(scene, Layout(tmp_path))
    simulation = Simulation(load_scene(scene, objects, config), object_materials(objects, config), config, "cpu")
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


def test_missing_materials_are_named() -> None:
    with pytest.raises(InputError, match=r"c\.json: density: no value for object 'ball'"):
        object_materials(OBJECTS, Config(density={"duck": 1.0}), config_path="c.json")
    with pytest.raises(InputError, match=r"c\.json: E: expected a value, .*'thing' is made of \(or give --E\)"):
        object_materials([SceneObject(label=0, name="thing")], Config(density=1.0), config_path="c.json")
    with pytest.raises(InputError, match=r"--E: expected 2 values \(ball, teddy\), found 1"):
        object_materials(OBJECTS, Config(), E=[1.0])
    with pytest.raises(InputError, match="material 'mud' is not supported"):
        object_materials([OBJECTS[0].model_copy(update={"material": "mud"})], Config())


def test_objects_are_known_from_the_name_of_a_scene(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "3_duck_ball", describe=False)
    found = scene_objects(scene, Layout(tmp_path))
    assert [(entry.label, entry.name, entry.index) for entry in found] == [(0, "duck", 7), (1, "ball", 0)]
    inner = make_scene(tmp_path / "4_ball_can" / "table" / "sim", describe=False)
    assert [entry.name for entry in scene_objects(inner, Layout(tmp_path))] == ["ball", "can"]
    unnamed = make_scene(tmp_path / "things", describe=False)
    assert [entry.name for entry in scene_objects(unnamed, Layout(tmp_path))] == ["object0", "object1"]
    write_ply(tmp_path / "chair.ply", gaussians_at(cube(5, (0, 0, 0), 0)))
    assert [entry.name for entry in scene_objects(tmp_path / "chair.ply", Layout(tmp_path))] == ["chair"]


def test_labels_of_any_numbering_are_mapped_by_rank(tmp_path: Path) -> None:
    np.save(tmp_path / "segmentation.npy", np.array([4, 3, -1, 4]))
    assert label_rows(tmp_path, OBJECTS, 4).tolist() == [1, 0, -1, 1]
    np.save(tmp_path / "segmentation.npy", np.array([1, 1, -1, 1]))  # the first object is out of sight
    assert label_rows(tmp_path, OBJECTS, 4).tolist() == [1, 1, -1, 1]
    with pytest.raises(InputError, match="expected 5 labels"):
        label_rows(tmp_path, OBJECTS, 5)
    np.save(tmp_path / "segmentation.npy", np.array([1, 2, 3]))
    with pytest.raises(InputError, match="expected 2 labels"):
        label_rows(tmp_path, OBJECTS, 3)


def test_without_labels_the_counts_tell_objects_apart(tmp_path: Path) -> None:
    counted = [entry.model_copy(update={"count": count}) for entry, count in zip(OBJECTS, (2, 3), strict=True)]
    assert label_rows(tmp_path, counted, 5).tolist() == [0, 0, 1, 1, 1]
    with pytest.raises(InputError, match=r"segmentation\.npy: no such file: expected a label .* ball, teddy apart"):
        label_rows(tmp_path, counted, 6)


@pytest.mark.parametrize("content", ["{}", "[]", '[{"label": 1, "name": "ball"}]', '[{"label": 0}]'])
def test_damaged_objects_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "objects.json").write_text(content)
    with pytest.raises(InputError, match=r"objects\.json: .+"):
        scene_objects(tmp_path, Layout(tmp_path))


@pytest.mark.parametrize(
    "flags",
    [("--E", "1e5"), ("--E", "[0]"), ("--E", "[true]"), ("--density", "[NaN]"), ("--save_fields", "vel"), ("--E", "[")],
)
def test_malformed_flags_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as caught:
        simulate(monkeypatch, tmp_path, tmp_path / "config.json", tmp_path / "out", *flags)
    assert caught.value.code == 2


def test_scene_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="expected a PLY file or a directory"):
        simulate(monkeypatch, tmp_path / "none", write_config(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
