from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dataset.rendering.scene_renderer import SceneRenderer
from dataset.rendering.views import View
from gaussians.cameras import Orbit
from gaussians.files.video import read_video
from gaussians.representation import Gaussians
from tests.videogen.reconstruction.scenes import BALLS, speckled_scene
from videogen.evaluation.frame_comparison import FrameComparison, MovingScene
from videogen.evaluation.scene_result import RECONSTRUCTED, SEEN, STILL, TRUE, SceneResult

ORBIT = Orbit((0.0, 0.0, -0.2), 0.0, 30.0, 2.5)
FRAMES, FALL = 4, 0.05  # metres a frame
VIEWS = {SEEN: View("view_25", 25)}  # from where the balls are beside each other


def moving(scene: Gaussians, offset: torch.Tensor) -> MovingScene:
    """The scene, whose second ball falls, moved by ``offset`` from the second frame on."""
    renderer = SceneRenderer(ORBIT, 64)
    assert scene.labels is not None
    falls = (scene.labels == 1)[:, None] * torch.tensor([0.0, 0.0, -FALL])

    def frames() -> Iterator[Gaussians]:
        for k in range(FRAMES):
            yield replace(scene, means=scene.means + k * falls + (offset if k else 0.0))

    return MovingScene(scene, frames(), {SEEN: renderer})


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[SceneResult, Path]:
    scene, video = speckled_scene(), tmp_path_factory.mktemp("videos") / "seen.mp4"
    comparison = FrameComparison(VIEWS, FRAMES, 2, {SEEN: video}, 50.0, (0.0, 0.0, -5.0))
    nowhere, aside = torch.zeros(3), torch.tensor([0.0, 0.03, 0.04])
    predictions = {TRUE: moving(scene, nowhere), RECONSTRUCTED: moving(scene, aside)}
    tensors = comparison.measure(moving(scene, nowhere), predictions, "compare")
    return SceneResult("2", "0_duck_ball", tensors, {"kinds": [SEEN]}), video


def test_a_motion_like_the_simulation_has_no_error(result: tuple[SceneResult, Path]) -> None:
    means = {name: result[0].mean(TRUE, SEEN, name) for name in ("psnr", "ssim", "iou", "pixels", "metres")}
    assert means == pytest.approx({"psnr": 100, "ssim": 1, "iou": 1, "pixels": 0, "metres": 0}, abs=1e-5)


def test_a_motion_aside_is_as_far_off_as_it_is_aside(result: tuple[SceneResult, Path]) -> None:
    found = result[0]
    assert found.at_start(RECONSTRUCTED, SEEN, "metres") == 0
    assert found.mean(RECONSTRUCTED, SEEN, "metres") == pytest.approx(0.05, abs=1e-6)
    assert 0 < found.mean(RECONSTRUCTED, SEEN, "iou") < 0.95
    assert found.mean(RECONSTRUCTED, SEEN, "psnr") < 40


def test_what_stands_still_misses_the_motion_of_what_moves(result: tuple[SceneResult, Path]) -> None:
    metres = result[0].tensors[f"{STILL}/metres"]
    expected = torch.tensor([[0, k * FALL] for k in range(FRAMES)], dtype=torch.float64)
    torch.testing.assert_close(metres, expected, atol=1e-6, rtol=0)
    cameras = ORBIT.cameras([25], 64)
    centers = BALLS[1] + torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, -0.15]])
    seen = (centers @ cameras.viewmats[0, :3, :3].T + cameras.viewmats[0, :3, 3]) @ cameras.Ks[0].T
    projected = seen[:, :2] / seen[:, 2:]
    pixels = result[0].tensors[f"{STILL}/{SEEN}/pixels"][-1]
    assert pixels[0] < 1  # it is uncovered a little
    assert pixels[1].item() == pytest.approx((projected[1] - projected[0]).norm().item(), rel=0.05)


def test_the_video_shows_simulation_and_predictions_side_by_side(result: tuple[SceneResult, Path]) -> None:
    frames = list(read_video(result[1]))
    assert [frame.shape for frame in frames] == [(64, 3 * 64, 3)] * FRAMES
