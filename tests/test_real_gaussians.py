"""The whole way on Gaussians that were trained elsewhere: a doughnut and a toy robot fall onto the ground together."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gaussians.ply import read_ply, write_ply
from gaussians.representation import Gaussians
from gaussians.rotations import axis_rotation
from gaussians.trajectory import TrajectoryReader
from gaussians.video import read_video

Command = Callable[..., None]
FRAMES = 24
FLOOR = -0.94


def fitted(gaussians: Gaussians, size: float, center: tuple[float, float, float]) -> Gaussians:
    """Scaled to ``size`` metres across and moved to ``center``."""
    low, high = gaussians.means.amin(0), gaussians.means.amax(0)
    centred = gaussians.transformed(translation=-(low + high) / 2)
    return centred.transformed(scale=size / float((high - low).max()), translation=torch.tensor(center))


@pytest.fixture(scope="module")
def scene(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene directory of both; every third Gaussian of the doughnut is plenty."""
    doughnut = read_ply(real_data / "gaussians" / "donut.ply")[::3]
    robot = read_ply(real_data / "gaussians" / "playbot.ply").transformed(axis_rotation(0, -90.0))  # up was -y
    robot = robot[(robot.means[:, 2] > 0.16) & (robot.means[:, :2].norm(dim=1) < 0.7)]  # without the ground it is on
    parts = [fitted(doughnut, 0.6, (0.0, 0.0, -0.75)), fitted(robot, 0.7, (0.1, 0.0, -0.25))]
    path = tmp_path_factory.mktemp("real") / "scenes" / "real" / "0_donut_playbot"
    write_ply(path / "point_cloud" / "iteration_30000" / "point_cloud.ply", Gaussians.cat(parts))
    np.save(path / "segmentation.npy", np.repeat(np.arange(2, dtype=np.int32), [len(part) for part in parts]))
    materials = [("donut", 2e5, 400.0), ("playbot", 3e5, 500.0)]
    objects = [
        {"label": i, "name": name, "index": 100 + i, "youngs_modulus": E, "density": density}
        for i, (name, E, density) in enumerate(materials)
    ]
    (path / "objects.json").write_text(json.dumps(objects))
    return path


def test_from_files_to_a_predicted_video(scene: Path, command: Command, pytestconfig: pytest.Config) -> None:
    root = scene.parents[2]
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
