"""The whole way on Gaussians that were trained elsewhere: a doughnut and a toy robot fall onto the ground together."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gaussians.files.splats.ply import read_ply, write_ply
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.files.video import read_video

Command = Callable[..., None]
FRAMES = 24
FLOOR = -0.94


@pytest.fixture
def root(real_data: Path, tmp_path: Path, command: Command) -> Path:
    """A dataset with the two as objects; every third Gaussian of the doughnut is plenty."""
    robot = read_ply(real_data / "gaussians" / "playbot.ply")
    height, reach = -robot.means[:, 1], robot.means[:, [0, 2]].norm(dim=1)
    write_ply(tmp_path / "robot.ply", robot[(height > 0.16) & (reach < 0.7)])  # without the ground it stands on
    write_ply(tmp_path / "doughnut.ply", read_ply(real_data / "gaussians" / "donut.ply")[::3])
    for name, up, E in (("doughnut", "z", 2e5), ("robot", "-y", 3e5)):
        command(
            *("dataset.generate_objects", "--data_root", tmp_path, "--splat", tmp_path / f"{name}.ply"),
            *(f"--up={up}", "--name", name, "--youngs_modulus", E, "--density", 450),
        )
    return tmp_path


def test_from_files_to_a_predicted_video(root: Path, command: Command, pytestconfig: pytest.Config) -> None:
    placed = {"scene_object_idxs": [100, 101], "translation": [[0, 0, -0.75], [0.1, 0, -0.25]], "scale": [1.2, 1.4]}
    (root / "scenes.json").write_text(json.dumps({"0_doughnut_robot": placed}))
    command(
        *("dataset.generate_scene", "--data_root", root, "--input", root / "scenes.json"),
        *("--output", root / "scenes" / "real"),
    )
    scene = root / "scenes" / "real" / "0_doughnut_robot"
    settings = json.loads((pytestconfig.rootpath / "config" / "quickstart_config.json").read_text())
    config = root / "config.json"
    config.write_text(json.dumps(settings | {"frame_num": FRAMES}))
    trajectory = root / "mpm" / "real" / scene.name
    picture = ("--config", config, "--resolution", 96, "--single_view", 0, "--white_bg", "--device", "cpu")

    command("dataset.gs_simulation_scene", "--model_path", scene, "--config", config, "--output_path", trajectory)
    reader = TrajectoryReader(trajectory)
    first, last = reader.frame(0), reader.frame(FRAMES - 1)
    assert reader.num_frames == FRAMES
    assert reader.labels is not None
    for label, start in ((0, -0.75), (1, -0.25)):
        mine = reader.labels == label
        fallen = start - last.means[mine, 2].mean()
        # Free fall would take each sqrt(2 h / g) to the floor; both meet something on the way and neither sinks in.
        assert 0.03 < fallen < 0.5 * 5.0 * ((FRAMES - 1) * settings["frame_dt"]) ** 2
        assert last.means[mine, 2].min() > FLOOR - 0.07  # one cell
    assert (last.means - first.means).norm(dim=1).max() < 2

    command("dataset.render", "--model_path", trajectory, "--output_path", root / "simulated", *picture)
    simulated = list(read_video(root / "simulated" / "view_0" / f"{scene.name}.mp4"))
    assert len(simulated) == FRAMES

    command(
        *("dynamic_models.train", "--data_root", root, "--groups", "real", "--output", root / "checkpoint"),
        *("--num_keypoints", 64, "--hidden_dim", 16, "--num_layers", 1, "--batch_size", 1, "--epochs", 3),
        *("--steps", FRAMES, "--chunk", FRAMES, "--device", "cpu"),
    )
    command(
        *("videogen.eval", "--model_path", scene, "--dynamic_model", "ngff", "--checkpoint", root / "checkpoint"),
        *("--steps", FRAMES, "--output_path", root / "predicted", *picture),
    )
    predicted = list(read_video(root / "predicted" / f"{scene.name}.mp4"))
    assert len(predicted) == FRAMES
    # The first frame is given, so both show the same; encoding adds a few levels.
    assert np.abs(predicted[0].astype(int) - simulated[0]).mean() < 3
    # Something moves.
    assert np.abs(predicted[-1].astype(int) - predicted[0]).mean() > 1
