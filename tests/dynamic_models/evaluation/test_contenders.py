import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataset.layout import Layout
from dynamic_models.data.scene_state import SceneState
from dynamic_models.data.windows import SimulatedScene, load_scene
from dynamic_models.evaluation.contenders import GuessedSimulation, Predictor, Truth
from dynamic_models.models.ballistic import Ballistic
from dynamic_models.models.checkpoints import CheckpointInfo
from gaussians.files.trajectory_format import Frame
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json, write_json

NAME = "0_ball_ball"


@pytest.fixture
def layout(tmp_path: Path, toy_scene_writer: Callable[..., None]) -> Layout:
    """One scene of 6 frames, and the same with guessed materials: all that moves moves 1 cm a frame further along x."""
    layout = Layout(tmp_path)
    toy_scene_writer(layout.mpm_dir("toy", NAME), 0, frames=6)
    reader = TrajectoryReader(layout.mpm_dir("toy", NAME))
    assert reader.meta is not None
    guessed = tmp_path / "mpm_vlm" / "toy" / NAME
    with TrajectoryWriter(guessed, reader.meta, reader.opacities, reader.sh, reader.labels, fields=("pos",)) as writer:
        for k in range(6):
            writer.write(Frame(reader.positions(k) + torch.tensor([0.01 * k, 0.0, 0.0])))
        writer.finish(wall_time=10.0)
    return layout


@pytest.fixture
def scene(layout: Layout) -> SimulatedScene:
    return load_scene(layout, "toy", NAME, 16)


def test_guessed_simulation_is_read_at_the_truths_keypoints(layout: Layout, scene: SimulatedScene) -> None:
    contender = GuessedSimulation(layout)
    contender.check(scene, 4)
    positions, seconds = contender.roll_out(scene, 4)
    shift = positions - scene.clip.positions[:4]
    expected = torch.zeros_like(shift)
    expected[..., 0] = 0.01 * torch.arange(4)[:, None, None]
    torch.testing.assert_close(shift, expected, rtol=0, atol=1e-6)  # float32 metres
    assert seconds == pytest.approx(10.0 * 3 / 5)


def test_truth_takes_its_share_of_the_simulations_time(layout: Layout, scene: SimulatedScene) -> None:
    assert Truth().roll_out(scene, 4).seconds is None
    file = layout.mpm_dir("toy", NAME) / "meta.json"
    write_json(file, read_json(file) | {"wall_time": 20.0})
    positions, seconds = Truth().roll_out(load_scene(layout, "toy", NAME, 16), 3)
    assert torch.equal(positions, scene.clip.positions[:3])
    assert seconds == pytest.approx(20.0 * 2 / 5)


def test_guessed_simulations_that_do_not_fit(
    layout: Layout, scene: SimulatedScene, toy_scene_writer: Callable[..., None]
) -> None:
    contender, path = GuessedSimulation(layout), layout.root / "mpm_vlm" / "toy" / NAME
    with pytest.raises(InputError, match=r"expected at least 7 frames, found 6"):
        contender.check(scene, 7)
    np.save(path / "source_index.npy", np.arange(600, dtype=np.int32)[::-1])
    with pytest.raises(InputError, match=r"source_index.npy: its Gaussians are not those of mpm/toy/0_ball_ball"):
        contender.check(scene, 6)
    shutil.rmtree(path)
    with pytest.raises(InputError, match=r"mpm_vlm/toy/0_ball_ball: no such directory"):
        contender.check(scene, 6)
    toy_scene_writer(path, 0, frames=6, count=200)
    with pytest.raises(InputError, match=r"expected 600 Gaussians as in mpm/toy/0_ball_ball, found 400"):
        contender.check(scene, 6)


def predictor(num_keypoints: int, frame_dt: float = 0.02) -> Predictor:
    info = CheckpointInfo(settings={"dynamic_model": "ngff"}, num_keypoints=num_keypoints, frame_dt=frame_dt)
    return Predictor("ours", Ballistic(), torch.device("cpu"), info, Path("there"))


def test_a_model_gets_as_many_keypoints_as_it_was_trained_on(layout: Layout, scene: SimulatedScene) -> None:
    """The first of more keypoints are those that would have been taken of fewer."""
    positions, seconds = predictor(5).roll_out(scene, 4)
    fewer = load_scene(layout, "toy", NAME, 5)
    state, _, pushes = fewer.window(0, 4)
    assert torch.equal(positions, Ballistic()(state, 4, 0.02, pushes)[0])
    assert seconds is not None


def test_what_is_timed_was_done_before(scene: SimulatedScene) -> None:
    """A rollout as long as the timed one, once for scenes of one shape and length: graphs are captured for both."""
    lengths: list[int] = []

    class Counted(Ballistic):
        def forward(self, scene: SceneState, num_frames: int, *others: Any) -> torch.Tensor:
            lengths.append(num_frames)
            return super().forward(scene, num_frames, *others)

    contender = Predictor("ours", Counted(), torch.device("cpu"))
    for frames in (6, 6, 4):
        contender.roll_out(scene, frames)
    assert lengths == [6, 6, 6, 4, 4]


def test_another_frame_rate_is_an_error(scene: SimulatedScene) -> None:
    predictor(5).check(scene, 6)
    with pytest.raises(
        InputError, match=r"there: trained with 0.04 s from frame to frame, scene toy/0_ball_ball has 0.02"
    ):
        predictor(5, 0.04).check(scene, 6)
