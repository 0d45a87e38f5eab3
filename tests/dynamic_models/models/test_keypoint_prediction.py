from pathlib import Path

import pytest
import torch

from dataset.layout import Layout
from dynamic_models.data.scene_state import World
from dynamic_models.data.windows import load_scene
from dynamic_models.models.ballistic import Ballistic
from dynamic_models.models.keypoint_prediction import predict_keypoints
from dynamic_models.models.ngff import NGFF, NGFFSettings
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError


def blobs() -> Gaussians:
    """A background row, then an object of 30 and one of 5 Gaussians."""
    generator = torch.Generator().manual_seed(0)
    means = 0.1 * torch.randn(36, 3, generator=generator)
    means[31:, 0] += 1.0
    labels = torch.tensor([-1] + [4] * 30 + [7] * 5, dtype=torch.int32)
    return Gaussians(means, torch.ones(36), torch.zeros(36, 1, 3), covariances=torch.zeros(36, 6), labels=labels)


def test_keypoints_fly_from_where_their_gaussians_are() -> None:
    gaussians = blobs()
    found = predict_keypoints(Ballistic(), gaussians, 8, num_frames=6, frame_dt=0.02, world=World())
    assert found.labels == [4, 7]
    assert [len(rows) for rows in found.rows] == [8, 5]
    assert gaussians.labels is not None
    for label, rows, positions in zip(found.labels, found.rows, found.positions, strict=True):
        assert (gaussians.labels[rows] == label).all()
        fallen = torch.tensor([0.0, 0.0, -5.0]) * 0.1**2 / 2
        torch.testing.assert_close(positions[0], gaussians.means[rows])
        torch.testing.assert_close(positions[5], gaussians.means[rows] + fallen, rtol=0, atol=1e-6)


def test_velocities_are_those_of_the_gaussians() -> None:
    velocities = torch.tensor([1.0, 0.0, 0.0]).repeat(36, 1)
    still, moving = (
        predict_keypoints(Ballistic(), blobs(), 8, 6, 0.02, World(), velocities=v) for v in (None, velocities)
    )
    for a, b in zip(still.positions, moving.positions, strict=True):
        torch.testing.assert_close(b[5] - a[5], torch.tensor([0.1, 0.0, 0.0]).expand_as(a[5]), rtol=0, atol=1e-6)


def test_prediction_is_what_evaluation_measures(toy_root: Path) -> None:
    """The same scene as Gaussians and as a training sample: the same keypoints, the same rollout."""
    torch.manual_seed(0)
    model = NGFF(NGFFSettings(hidden_dim=8, num_layers=1, step_size=0.02))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    layout = Layout(toy_root)
    scene = load_scene(layout, "toy", "1_ball_ball", 16)
    reader = TrajectoryReader(layout.mpm_dir("toy", "1_ball_ball"))
    frame = reader.frame(0)
    count = reader.count
    gaussians = Gaussians(
        frame.means,
        torch.ones(count),
        torch.zeros(count, 1, 3),
        covariances=torch.zeros(count, 6),
        labels=reader.labels,
    )
    found = predict_keypoints(model, gaussians, 16, 25, 0.02, scene.world, scene.materials, velocities=frame.velocities)
    with torch.no_grad():
        expected = model(scene.window(0, 25)[0], 25, 0.02)[0]
    for i, (rows, positions) in enumerate(zip(found.rows, found.positions, strict=True)):
        assert rows.tolist() == scene.clip.rows[i].tolist()
        torch.testing.assert_close(positions, expected[:, i], rtol=0, atol=1e-6)


def test_gaussians_without_objects_are_refused() -> None:
    gaussians = blobs()
    bare = Gaussians(gaussians.means, gaussians.opacities, gaussians.sh, covariances=gaussians.covariances)
    with pytest.raises(InputError, match="labels"):
        predict_keypoints(Ballistic(), bare, 8, 6, 0.02, World())
    with pytest.raises(ValueError, match=r"materials: expected shape \(2, 4\)"):
        predict_keypoints(Ballistic(), gaussians, 8, 6, 0.02, World(), materials=torch.zeros(3, 4))


@pytest.mark.parametrize("factor", [1e30, 1e38])
def test_a_diverging_model_is_named(factor: float) -> None:
    """Weights that are finite, but lead to points far away or to no numbers."""
    model = NGFF(NGFFSettings(hidden_dim=8, num_layers=1, step_size=0.02))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=factor)
    with pytest.raises(InputError, match=r"the prediction diverges: in frame [12] points are beyond 1e\+06 m or not"):
        predict_keypoints(model, blobs(), 8, 3, 0.02, World())
