from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
import torch

from dataset.layout import Layout
from dynamic_models.data.windows import SimulatedScene, load_scene
from dynamic_models.evaluation.comparison_video import Tile, write_comparison
from gaussians.files.video import frame_rate, read_video
from gaussians.spherical_harmonics import rgb_to_sh
from gaussians.stage.errors import InputError

SIZE, CPU = 64, torch.device("cpu")


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
    write_comparison(path, scene, tiles, 3, SIZE, CPU)
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
        write_comparison(tmp_path / f"{name}.mp4", each, tiles, 1, SIZE, CPU)
    box, empty = (torch.from_numpy(next(iter(read_video(tmp_path / f"{n}.mp4")))) for n in ("box", "open"))
    # White but for objects and text, which are the same; the grid's lines are grey.
    corner = (slice(20, 34), slice(50, 64))
    assert empty[corner].min() > 245
    assert box.float().mean() < empty.float().mean() - 2


def test_objects_have_their_own_colors_and_the_light_stays_above(scene: SimulatedScene, tmp_path: Path) -> None:
    """Each ball's Gaussians are red above and green below its centre; in the second tile they are upside down."""
    assert scene.trajectory is not None
    mask, start = scene.clip.mask[..., None], scene.clip.positions[0]
    centers = start.sum(1, keepdim=True) / mask.sum(1, keepdim=True)
    upper = torch.zeros(600, dtype=torch.bool)
    upper[scene.clip.rows[start[..., 2] > centers[..., 2]]] = True
    colors = torch.where(upper[:, None], torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    with h5py.File(scene.trajectory / "shs.h5", "w") as file:
        file["shs"] = rgb_to_sh(colors).numpy()

    turned = (start - centers) * torch.tensor([1.0, -1.0, -1.0]) + centers
    tiles = [Tile("", "", start[None]), Tile("", "", turned[None])]
    write_comparison(tmp_path / "video.mp4", scene, tiles, 1, SIZE, CPU)
    frame = torch.from_numpy(next(iter(read_video(tmp_path / "video.mp4")))).float()
    rows, levels = [], []
    for part in (frame[:, :SIZE], frame[:, SIZE:]):
        red, green, _ = part.unbind(-1)
        for channel, other in ((red, green), (green, red)):
            ours = channel > other + 60
            assert ours.sum() > 20
            rows.append(ours.nonzero()[:, 0].float().mean())
            levels.append(channel[ours].mean())
    assert rows[0] < rows[1] - 2
    assert rows[2] > rows[3] + 2
    assert levels[0] > levels[2] + 20  # red, above and below
    assert levels[3] > levels[1] + 20


def test_damaged_colors_are_named(scene: SimulatedScene, tmp_path: Path) -> None:
    assert scene.trajectory is not None
    (scene.trajectory / "shs.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"shs\.h5"):
        write_comparison(tmp_path / "video.mp4", scene, [Tile("", "", scene.clip.positions)], 1, SIZE, CPU)
