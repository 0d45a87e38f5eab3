import math
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
from dynamic_models.evaluation.contenders import Floor, Predictor, SimulatedOtherwise, Truth
from dynamic_models.evaluation.measurements import SceneMeasurements
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
    contender = SimulatedOtherwise("mpm_vlm", "mpm_vlm", layout)
    contender.check(scene, 4)
    positions, seconds, _ = contender.roll_out(scene, 4)
    shift = positions - scene.clip.positions[:4]
    expected = torch.zeros_like(shift)
    expected[..., 0] = 0.01 * torch.arange(4)[:, None, None]
    torch.testing.assert_close(shift, expected, rtol=0, atol=1e-6)  # float32 metres
    assert seconds == pytest.approx(10.0 * 3 / 5)


def test_the_floor_is_what_a_move_of_half_a_cell_changes(layout: Layout, scene: SimulatedScene) -> None:
    """The same motion but for 1 cm a frame, 2 cm further along x and y: the move is taken back, the change is not."""
    reader = TrajectoryReader(layout.root / "mpm_vlm" / "toy" / NAME)
    assert reader.meta is not None
    moved = layout.root / "shifted" / "toy" / NAME
    with TrajectoryWriter(moved, reader.meta, reader.opacities, reader.sh, reader.labels, fields=("pos",)) as writer:
        for k in range(6):
            writer.write(Frame(reader.positions(k) + torch.tensor([0.02, 0.02, 0.0])))
        writer.finish(wall_time=10.0)
    contender = Floor(layout)
    contender.check(scene, 6)
    prediction = contender.roll_out(scene, 6)
    assert contender.roll_out_jittered(scene, 6, 3, 1e-3) is None
    change = (prediction.positions - scene.clip.positions[:6])[:, scene.clip.mask]
    expected = torch.zeros_like(change)
    expected[..., 0] = 0.01 * torch.arange(6)[:, None]
    torch.testing.assert_close(change, expected, rtol=0, atol=1e-6)  # float32 metres
    found = SceneMeasurements(scene, 6, None, layout, (4, 6, 80)).measure("floor", prediction)
    assert found.metrics["rmse"] == pytest.approx(0.01 * math.sqrt(55 / 6 / 2), rel=1e-4)
    assert {horizon: errors["rmse"] for horizon, errors in found.horizons.items()} == {
        4: pytest.approx(0.01 * math.sqrt(14 / 4 / 2), rel=1e-4),
        6: pytest.approx(found.metrics["rmse"]),
    }
    assert found.horizons[6]["later_rmse"] == pytest.approx(0.01 * math.sqrt(41 / 2 / 2), rel=1e-4)


def test_a_floor_of_other_scenes_is_an_error(
    layout: Layout, scene: SimulatedScene, toy_scene_writer: Callable[..., None]
) -> None:
    toy_scene_writer(layout.root / "shifted" / "toy" / NAME, 1, frames=6)
    with pytest.raises(
        InputError, match=r"shifted/toy/0_ball_ball: expected the objects of mpm/toy/0_ball_ball, moved"
    ):
        Floor(layout).roll_out(scene, 6)


def test_models_are_rolled_out_from_several_starts(scene: SimulatedScene) -> None:
    contender = Predictor("ours", Ballistic(), torch.device("cpu"))
    still = contender.roll_out_jittered(scene, 4, 2, 0.0)
    for rollout in still:
        torch.testing.assert_close(rollout, contender.roll_out(scene, 4).positions, rtol=0, atol=0)
    moved = contender.roll_out_jittered(scene, 4, 400, 3e-3)
    torch.testing.assert_close(moved, contender.roll_out_jittered(scene, 4, 400, 3e-3), rtol=0, atol=0)
    moves = (moved[:, 0] - scene.clip.positions[0])[:, scene.clip.mask]
    assert float(moves.std()) == pytest.approx(3e-3, rel=0.06)  # of 2,400 numbers, two standard errors
    first = (moved[:, 0] - scene.clip.positions[0])[:, 0, scene.clip.mask[0]]
    torch.testing.assert_close(first, first[:, :1].expand_as(first), rtol=0, atol=1e-6)  # objects move as a whole


def test_truth_takes_its_share_of_the_simulations_time(layout: Layout, scene: SimulatedScene) -> None:
    assert Truth().roll_out(scene, 4).seconds is None
    file = layout.mpm_dir("toy", NAME) / "meta.json"
    write_json(file, read_json(file) | {"wall_time": 20.0})
    positions, seconds, _ = Truth().roll_out(load_scene(layout, "toy", NAME, 16), 3)
    assert torch.equal(positions, scene.clip.positions[:3])
    assert seconds == pytest.approx(20.0 * 2 / 5)


def test_guessed_simulations_that_do_not_fit(
    layout: Layout, scene: SimulatedScene, toy_scene_writer: Callable[..., None]
) -> None:
    contender, path = SimulatedOtherwise("mpm_vlm", "mpm_vlm", layout), layout.root / "mpm_vlm" / "toy" / NAME
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
    positions, seconds, _ = predictor(5).roll_out(scene, 4)
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
