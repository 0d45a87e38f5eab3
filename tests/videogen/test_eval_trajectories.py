"""What ``videogen.eval`` writes beside videos: trajectories, of a model and of the simulator."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.layout import Layout
from gaussians.files.splats.ply import read_ply
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.files.video import read_video
from gaussians.stage.errors import InputError
from tests.videogen.small_scene import FRAMES
from tools.viewer.scene.splat_source import open_source

SCENE = "0_ball_duck"
SIMULATED = {"g": [0, 0, -5], "E": 1e5, "density": 500, "n_grid": 32, "substep_dt": 1e-3, "frame_dt": 0.02}
PICTURE = ["--single_view", 0, "--white_bg"]


def without_checkpoint(flags: list[object]) -> list[object]:
    index = flags.index("--checkpoint")
    return flags[:index] + flags[index + 2 :]


def test_a_predicted_trajectory_is_what_the_video_shows(
    command: Callable[..., None],
    arguments: list[object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    command("videogen.eval", *arguments, *PICTURE)
    before = (out / f"{SCENE}.mp4").stat().st_mtime_ns
    flags = [*PICTURE, "--save_trajectory", "--save_ply", "--frames", FRAMES - 1]
    command("videogen.eval", *arguments, *flags)
    assert (out / f"{SCENE}.mp4").stat().st_mtime_ns == before
    reader = TrajectoryReader(out / "trajectory" / SCENE)
    meta = reader.meta
    assert meta is not None
    assert (len(reader), meta.frame_dt, meta.gravity) == (FRAMES, 0.02, (0, 0, -5))
    assert [(entry.name, entry.count, entry.density) for entry in meta.objects] == [
        ("ball", 120, 500),
        ("duck", 120, 500),
    ]
    rows = np.load(reader.path / "source_index.npy")
    scene = read_ply(tmp_path / "scenes" / "2" / SCENE / "point_cloud.ply")
    for k in (0, 1, FRAMES - 1):
        frame, fall = reader.frame(k), torch.tensor([0, 0, -2.5 * (0.02 * k) ** 2])
        assert frame.rotations is not None
        assert frame.velocities is not None
        # The untrained model predicts free flight.
        torch.testing.assert_close(frame.means, scene.means[rows] + fall, rtol=0, atol=1e-5)
        torch.testing.assert_close(frame.rotations, torch.eye(3).expand(240, 3, 3), rtol=0, atol=1e-4)
        speed = torch.tensor([0, 0, -5 * 0.02 * k]).expand(240, 3)
        torch.testing.assert_close(frame.velocities, speed, rtol=0, atol=1e-4)
    drawn, written = reader.gaussians(FRAMES - 1), read_ply(out / "gaussians" / f"{FRAMES - 1:04d}.ply")
    torch.testing.assert_close(drawn.means, written.means, rtol=0, atol=0)
    torch.testing.assert_close(drawn.sh, written.sh, rtol=0, atol=1e-4)
    torch.testing.assert_close(drawn.covariance(), written.covariance(), rtol=1e-3, atol=1e-8)
    capsys.readouterr()
    command("videogen.eval", *arguments, *flags)
    assert "nothing to do" in capsys.readouterr().out
    (reader.path / "0003.h5").unlink()
    command("videogen.eval", *arguments, *flags)
    assert f"its trajectory: {reader.path}" in capsys.readouterr().out
    assert len(TrajectoryReader(reader.path)) == FRAMES


def test_the_simulator_moves_a_scene_as_its_own_command_does(
    command: Callable[..., None],
    arguments: list[object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SIMULATED | {"boundary_conditions": [{"type": "bounding_box"}]}))
    forces = tmp_path / "forces.json"
    push = {"obj_id": 1, "start": 0.0, "end": 0.1, "force": [0.0, 0.0, 20.0]}
    forces.write_text(json.dumps({SCENE: [push]}))
    shared = ["--use_external_forces", "--external_forces_config", forces, "--density", "[500, 300]"]
    simulator = [*without_checkpoint(arguments), *PICTURE, *shared, "--dynamic_model", "mpm"]
    command("videogen.eval", *simulator, "--save_trajectory")
    said = capsys.readouterr().out
    assert f"{SCENE}: 1 external forces" in said
    assert f"simulated {FRAMES} frames in " in said
    ours, trajectory = tmp_path / "out" / "trajectory" / SCENE, tmp_path / "mpm" / SCENE
    scene = ["--model_path", tmp_path / "scenes" / "2" / SCENE, "--config", tmp_path / "config.json", "--device", "cpu"]
    command("dataset.gs_simulation_scene", *scene, *shared, "--frame_num", FRAMES, "--output_path", trajectory)
    for k in range(FRAMES):
        mine, theirs = TrajectoryReader(ours).frame(k), TrajectoryReader(trajectory).frame(k)
        for name in ("means", "covariances", "rotations", "velocities"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name))
    mine, theirs = TrajectoryReader(ours).meta, TrajectoryReader(trajectory).meta
    assert mine is not None
    assert theirs is not None
    left = {"hashes": {"config"}, "wall_time": True}
    assert mine.model_dump(exclude=left) == theirs.model_dump(exclude=left)
    rendered = ["--model_path", trajectory, "--config", tmp_path / "config.json", "--output_path", tmp_path / "drawn"]
    command("dataset.render", *rendered, *PICTURE, "--resolution", 32, "--device", "cpu", "--compile_video")
    videos = [list(read_video(tmp_path / folder / f"{SCENE}.mp4")) for folder in ("out", "drawn/view_0")]
    assert np.array_equal(*videos)
    command("videogen.eval", *simulator)
    assert "nothing to do" in capsys.readouterr().out
    command("videogen.eval", *arguments, *PICTURE)
    assert "dynamic_model: made anew" in capsys.readouterr().out


def test_trajectories_of_predictions_are_taken_by_whatever_takes_simulated_ones(
    command: Callable[..., None],
    arguments: list[object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SIMULATED))
    command("videogen.eval", *arguments, *PICTURE, "--save_trajectory")
    (tmp_path / "mpm_vlm" / "2").mkdir(parents=True)
    (tmp_path / "out" / "trajectory" / SCENE).rename(tmp_path / "mpm_vlm" / "2" / SCENE)
    scene = ["--model_path", tmp_path / "scenes" / "2" / SCENE, "--config", tmp_path / "config.json", "--device", "cpu"]
    truth = tmp_path / "mpm" / "2" / SCENE
    command("dataset.gs_simulation_scene", *scene, "--frame_num", FRAMES, "--output_path", truth)
    predicted = tmp_path / "mpm_vlm" / "2" / SCENE
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        command("tools.check_dataset", tmp_path, "--jobs", 1)
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    root = ["--data_root", tmp_path, "--groups", 2, "--models", "mpm_vlm", "--no-videos"]
    command("dynamic_models.evaluate", *root, "--output", tmp_path / "report", "--device", "cpu")
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert "mpm_vlm" in json.dumps(metrics)
    shown = open_source(predicted, Layout(tmp_path))
    assert shown.frame_count == FRAMES
    assert set(shown.objects) == {"ball", "duck"}


def test_a_material_that_nothing_tells_is_asked_for(
    command: Callable[..., None],
    arguments: list[object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scene = tmp_path / "scenes" / "2" / SCENE
    scene.rename(tmp_path / "two_things")
    (tmp_path / "config.json").write_text(json.dumps({key: SIMULATED[key] for key in ("g", "n_grid", "substep_dt")}))
    flags = [tmp_path / "two_things" if each == scene else each for each in arguments]
    with pytest.raises(InputError, match="--E: expected values, because nothing says what 'object0' is made of"):
        command("videogen.eval", *flags, *PICTURE, "--save_trajectory")
    assert not (tmp_path / "out").exists()
    simulator = [*without_checkpoint(flags), *PICTURE, "--dynamic_model", "mpm"]
    command("videogen.eval", *simulator)
    assert "usual values (100000 Pa, 500 kg/m^3) stand in" in capsys.readouterr().out
    with pytest.raises(InputError, match="--checkpoint: --dynamic_model mpm has none"):
        command("videogen.eval", *simulator, "--checkpoint", tmp_path)
