from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dataset.layout import Layout
from dynamic_models.data.windows import SimulatedScene, load_scene
from dynamic_models.evaluation.comparison_video import Tile, write_comparison
from gaussians.files.video import frame_rate, read_video

SIZE = 64


@pytest.fixture
def scene(tmp_path: Path, toy_scene_writer: Callable[..., None]) -> SimulatedScene:
    layout = Layout(tmp_path)
    toy_scene_writer(layout.mpm_dir("g", "0_ball_ball"), 0, frames=4)
    return load_scene(layout, "g", "0_ball_ball", 100)


def blue_of(picture: torch.Tensor) -> torch.Tensor:
    """(H, W), bool: pixels in the colour of the first object."""
    red, _, blue = picture.float().unbind(-1)
    return blue > red + 60


def test_each_tile_shows_its_own_motion(scene: SimulatedScene, tmp_path: Path) -> None:
    """In the second one the first object is lifted by 0.3 m after frame 1; fewer keypoints are shown there."""
    lifted = scene.clip.positions[:, :, :60].clone()
    lifted[2:, 0, :, 2] += 0.3
    tiles = [Tile("simulation", "", scene.clip.positions), Tile("model", "RMSE", lifted)]
    path = tmp_path / "video.mp4"
    write_comparison(path, scene, tiles, 3, SIZE, torch.device("cpu"))
    frames = [torch.from_numpy(frame) for frame in read_video(path)]
    assert (len(frames), tuple(frames[0].shape), frame_rate(path)) == (3, (SIZE, 2 * SIZE, 3), 50)

    heights = []
    for frame in frames:
        for part in (frame[:, :SIZE], frame[:, SIZE:]):
            rows = blue_of(part).nonzero()[:, 0].float()
            assert len(rows) > 50
            heights.append(rows.mean())
    # Up is up: the camera sees some 1.5 m, of which 0.3 m are more than 8 of 64 pixels. Fewer keypoints are larger.
    assert heights[0] == pytest.approx(heights[1], abs=1.5)
    assert heights[4] - heights[5] > 8


def test_scenes_without_walls_have_no_floor(scene: SimulatedScene, tmp_path: Path) -> None:
    open_world = replace(scene, world=scene.world.model_copy(update={"walls": (-1e6, 1e6, -1e6, 1e6, -1e6)}))
    tiles = [Tile("simulation", "", scene.clip.positions)]
    for name, each in (("box", scene), ("open", open_world)):
        write_comparison(tmp_path / f"{name}.mp4", each, tiles, 1, SIZE, torch.device("cpu"))
    box, empty = (torch.from_numpy(next(iter(read_video(tmp_path / f"{n}.mp4")))) for n in ("box", "open"))
    # White but for objects and text, which are the same; the grid's lines are grey.
    corner = (slice(20, 34), slice(50, 64))
    assert empty[corner].min() > 245
    assert box.float().mean() < empty.float().mean() - 2
