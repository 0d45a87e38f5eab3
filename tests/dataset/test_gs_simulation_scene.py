"""The command, from a scene's files to a trajectory's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataset.config import Config
from dataset.mpm.solver import MPMSolver
from dataset.scenes.scene_files import read_scene
from dataset.simulation.scene_particles import particles_of_scene
from gaussians.files.splats.ply import write_ply
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError
from tests.dataset.scene_files import gaussians_at, make_scene, simulate, write_config


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
    original = particles_of_scene(read_scene(scene), Config()).gaussians
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


def write_capture(path: Path, up: str | None = None) -> Path:
    """A cube of 600 Gaussians 6 units wide, y down, with a floater and a broken row before it."""
    random = np.random.default_rng(0)
    means = np.concatenate([[[900.0, 0, 0], [np.nan, 0, 0]], random.uniform(-3, 3, (600, 3)) + 50])
    means[2], means[3] = 47, 53
    gaussians = gaussians_at(means)
    write_ply(path, gaussians, up=up)
    return path


def test_a_capture_falls_without_further_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = write_capture(tmp_path / "chair.ply")
    simulate(monkeypatch, capture, write_config(tmp_path, E={"ball": 1e6}), tmp_path / "mpm")
    out = capsys.readouterr().out
    assert "chair.ply: 1 of 602 rows are left out: property 'x': expected finite values, found nan in row 1" in out
    assert "chair.ply: its upward axis is taken to be -y; --up says otherwise" in out
    assert "chair.ply: 1 of 601 Gaussians lie far outside and are left out" in out
    assert "chair.ply: it is 1 m large, scaled by 0.1667 and moved to the origin; --scale says otherwise" in out
    assert "chair.ply: nothing says what it consists of: assumed 100000 Pa, 500 kg/m^3 (--E, --density say it)" in out
    reader = TrajectoryReader(tmp_path / "mpm")
    assert reader.meta is not None
    (entry,) = reader.meta.objects
    assert (entry.name, entry.count, entry.youngs_modulus, entry.density) == ("chair", 600, 1e5, 500)
    # Rows of the file, of which the first two are left out; y of the file points down.
    source = np.load(tmp_path / "mpm" / "source_index.npy")
    assert sorted(source) == list(range(2, 602))
    first = reader.frame(0).means
    low, high = first[list(source).index(2)], first[list(source).index(3)]
    torch.testing.assert_close(low, torch.tensor([-0.5, -0.5, 0.5]), rtol=0, atol=1e-5)
    torch.testing.assert_close(high, torch.tensor([0.5, 0.5, -0.5]), rtol=0, atol=1e-5)


def test_a_capture_is_placed_as_asked_and_made_anew_only_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capture, config, output = write_capture(tmp_path / "a.ply", up="z"), write_config(tmp_path), tmp_path / "mpm"
    flags = ("--up=x", "--scale", "0.05", "--E", "[2e5]", "--density", "[300]")
    simulate(monkeypatch, capture, config, output, *flags)
    assert "upward axis" not in (out := capsys.readouterr().out)
    assert "assumed" not in out
    means = TrajectoryReader(output).frame(0).means
    torch.testing.assert_close(means.amax(0), torch.full((3,), 0.15), rtol=0, atol=1e-5)
    simulate(monkeypatch, capture, config, output, *flags)
    assert "1 were there already" in capsys.readouterr().out
    with pytest.raises(InputError, match="made with other capture; --overwrite"):
        simulate(monkeypatch, capture, config, output, "--scale", "0.05", "--E", "[2e5]", "--density", "[300]")
    for scale in ("0", "-1", "nan", "inf"):
        with pytest.raises(InputError, match="--scale: expected a positive number"):
            simulate(monkeypatch, capture, config, output, "--scale", scale)


def test_flags_of_captures_are_refused_for_scenes_that_are_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, config = make_scene(tmp_path / "0_ball_duck"), write_config(tmp_path)
    for flags in (("--up=y",), ("--scale", "2")):
        with pytest.raises(InputError, match=r"--up, --scale: .*0_ball_duck is no capture"):
            simulate(monkeypatch, scene, config, tmp_path / "mpm", *flags)
    assert not (tmp_path / "mpm").exists()


def test_a_broken_row_is_refused_where_labels_count_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_capture(tmp_path / "scene" / "point_cloud.ply")
    np.save(tmp_path / "scene" / "segmentation.npy", np.zeros(602, np.int32))
    with pytest.raises(InputError, match=r"point_cloud\.ply: property 'x': expected finite values, found nan in row 1"):
        simulate(monkeypatch, tmp_path / "scene", write_config(tmp_path, E=1e5, density=500), tmp_path / "mpm")
