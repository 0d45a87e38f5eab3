import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gaussians.cameras import Cameras, Orbit, write_cameras
from gaussians.lenses import Lens
from gaussians.stage.errors import InputError
from videogen.reconstruction.posing.camera_files import LensCameras, find_cameras, pose_pictures, read_camera_file
from videogen.reconstruction.posing.pictures import Pictures

ORBIT = Orbit((0.0, 0.0, 0.0), azimuth=0.0, elevation=20.0, radius=4.0)


def pictures(source: Path, indices: tuple[int, ...], count: int, side: int = 32) -> Pictures:
    names = tuple(f"{index}.png" if source.is_dir() else f"{index:05d}" for index in indices)
    images = torch.zeros(len(indices), side, side, 3, dtype=torch.uint8)
    return Pictures(images, names, indices, source, count, (2 * side, 2 * side))


def cameras(names: tuple[str, ...] | None, count: int, lens: Lens | None = None) -> LensCameras:
    viewmats = ORBIT.cameras(range(count), 64).viewmats.double()
    return LensCameras("cameras", names, viewmats, (lens or Lens(64, 64, 96.0, 96.0, 32.0, 32.0),) * count)


def views_of(posed: Cameras) -> list[int]:
    """The numbers of the orbit's views that cameras stand at."""
    distance = (posed.positions[:, None] - ORBIT.positions(range(100)).float()).norm(dim=-1)
    assert distance.amin(1).max() < 1e-4
    return distance.argmin(1).tolist()


def test_cameras_are_looked_for_beside_the_pictures_and_one_level_up(tmp_path: Path) -> None:
    folder = tmp_path / "scene" / "train"
    folder.mkdir(parents=True)
    assert find_cameras(folder) is None
    (tmp_path / "transforms_train.json").touch()  # two levels up
    assert find_cameras(folder) is None
    model = tmp_path / "scene" / "sparse" / "0"
    model.mkdir(parents=True)
    for name in ("cameras", "images", "points3D"):
        (model / f"{name}.bin").touch()
    assert find_cameras(folder) == model
    (tmp_path / "scene" / "transforms_train.json").touch()
    assert find_cameras(folder) == tmp_path / "scene" / "transforms_train.json"
    (folder / "cameras.json").touch()
    assert find_cameras(folder / "clip.mp4") == find_cameras(folder) == folder / "cameras.json"


def test_a_list_has_a_camera_for_each_picture_or_for_each_of_the_source(tmp_path: Path) -> None:
    path = tmp_path / "cameras.json"
    for listed in (range(12), (0, 4, 8)):
        write_cameras(path, ORBIT.cameras(listed, 64))
        chosen = pictures(tmp_path / "clip.mp4", (0, 4, 8), 12)
        posed = pose_pictures(chosen, read_camera_file(path, chosen))
        assert views_of(posed.cameras) == [0, 4, 8]
        assert posed.in_world
        assert posed.cameras.Ks[0].tolist() == [[48, 0, 16], [0, 48, 16], [0, 0, 1]]  # of pictures half as large
    write_cameras(path, ORBIT.cameras(range(5), 64))
    with pytest.raises(InputError, match=r"expected 12 cameras, as .*clip\.mp4 has .* or 3, .* found 5"):
        pose_pictures(chosen, read_camera_file(path, chosen))


def test_cameras_with_names_belong_to_the_pictures_of_that_name(tmp_path: Path) -> None:
    frames = []
    for view in (2, 0, 1, 9):
        pose = torch.linalg.inv(ORBIT.cameras([view], 64).viewmats[0]) @ torch.diag(torch.tensor([1.0, -1, -1, 1]))
        suffix = {0: ".png", 1: ".JPG"}.get(view, "")
        frames.append({"file_path": f"./images/{view}{suffix}", "transform_matrix": pose.tolist()})
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps({"camera_angle_x": 2 * math.atan(0.5), "frames": frames}))
    chosen = pictures(tmp_path, (0, 1, 2, 3), 10)
    posed = pose_pictures(chosen, read_camera_file(path, chosen))
    assert posed.names == ("0.png", "1.png", "2.png")
    assert views_of(posed.cameras) == [0, 1, 2]
    assert posed.notes == ("1 of 4 pictures have no camera and are left out: 3.png",)
    assert not posed.in_world
    assert posed.cameras.Ks[0, 0, 0].item() == pytest.approx(32)


def test_cameras_of_the_pictures_own_folder_come_first(tmp_path: Path) -> None:
    folder = tmp_path / "left"
    folder.mkdir()
    names = ("left/0.png", "left/1.png", "left/2.png", "right/0.png", "right/1.png", "right/2.png")
    assert views_of(pose_pictures(pictures(folder, (0, 1, 2), 3), cameras(names, 6)).cameras) == [0, 1, 2]


def test_named_cameras_of_a_video_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = tuple(f"frame_{number}.png" for number in (2, 10, 1))  # of views 0, 1, 2
    posed = pose_pictures(pictures(tmp_path / "clip.mp4", (0, 1, 2), 3), cameras(names, 3))
    assert views_of(posed.cameras) == [2, 0, 1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("x.png", "y.png", "z.png"), r"has no camera of a picture in .*: it names 'x\.png', the pictures '0\.png'"),
        (("0.png", "1.png", "z.png"), "2 of 3 pictures have a camera: too few"),
    ],
)
def test_cameras_of_other_pictures_are_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pose_pictures(pictures(tmp_path, (0, 1, 2), 3), cameras(names, 3))


def test_cameras_of_pictures_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="camera 0: expected pictures shaped as 64 x 48 pixels, found 32 x 32"):
        pose_pictures(pictures(tmp_path, (0, 1, 2), 3), cameras(None, 3, Lens(64, 48, 96.0, 96.0, 32.0, 24.0)))


def test_cameras_in_one_place_are_refused(tmp_path: Path) -> None:
    turning = cameras(None, 3)
    turning.viewmats[:, :3, 3] = 0
    with pytest.raises(InputError, match="all cameras stand in one place"):
        pose_pictures(pictures(tmp_path, (0, 1, 2), 3), turning)


def test_distortion_is_undone(tmp_path: Path) -> None:
    """A picture of its own ray directions shows, once undistorted, the directions of the new camera."""
    lens = Lens(32, 32, 40.0, 40.0, 16.0, 16.0, "perspective", (-0.15,))
    rows, columns = np.indices((32, 32)) + 0.5
    rays = lens.rays(np.stack([columns.ravel(), rows.ravel()], 1)).reshape(32, 32, 2)
    chosen = pictures(tmp_path, (0, 1, 2), 3)
    chosen.images[..., :2] = torch.from_numpy(np.rint(127.5 + 250 * rays).clip(0, 255).astype(np.uint8))
    posed = pose_pictures(chosen, cameras(None, 3, lens))
    pixels = torch.stack([torch.from_numpy(columns), torch.from_numpy(rows), torch.ones(32, 32)], -1).float()
    expected = pixels @ torch.linalg.inv(posed.cameras.Ks[0]).T
    assert (posed.images[0, ..., :2].float() - (127.5 + 250 * expected[..., :2])).abs().max() < 2
    with pytest.raises(InputError, match=r"camera of 0\.png: the distortion folds the picture over"):
        pose_pictures(chosen, cameras(None, 3, Lens(32, 32, 20.0, 20.0, 16.0, 16.0, "perspective", (-1.5,))))
