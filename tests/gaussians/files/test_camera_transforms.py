import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from gaussians.files.camera_transforms import read_camera_transforms
from gaussians.stage.errors import InputError

# A camera at (1, 2, 3) that looks along the world's -z with y upwards, as OpenGL's do.
POSE = [[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]


def write(folder: Path, **contents: Any) -> Path:
    path = folder / "transforms.json"
    path.write_text(json.dumps(contents))
    return path


def test_nerf_scenes_are_read(tmp_path: Path) -> None:
    frames = [{"file_path": "./train/r_0", "rotation": 0.01, "transform_matrix": POSE}]
    found = read_camera_transforms(write(tmp_path, camera_angle_x=math.pi / 2, frames=frames), 80, 60)
    assert found.names == ("./train/r_0",)
    lens = found.lenses[0]
    assert (lens.fx, lens.fy, lens.cx, lens.cy) == (pytest.approx(40), pytest.approx(40), 40, 30)
    # What is 5 m in front of the camera and 1 m above its axis.
    seen = found.viewmats[0] @ torch.tensor([1.0, 3, -2, 1], dtype=torch.float64)
    assert seen.tolist() == [0, -1, 5, 1]


def test_nerfstudio_scenes_are_read(tmp_path: Path) -> None:
    shared = {"camera_model": "OPENCV", "w": 640, "h": 480, "fl_x": 500, "fl_y": 510, "cx": 322, "cy": 238}
    distortion = {"k1": 0.1, "k2": 0.02, "p1": 0.003, "p2": 0.004, "k3": 0, "k4": 0}
    frames = [
        {"file_path": "images/frame_00001.png", "transform_matrix": POSE[:3], "colmap_im_id": 1},
        {"file_path": "images/frame_00002.png", "transform_matrix": POSE, "fl_x": 600, "k1": 0.2},
        {"file_path": "images/frame_00003.png", "transform_matrix": POSE, "camera_model": "OPENCV_FISHEYE"},
    ]
    lenses = read_camera_transforms(write(tmp_path, **shared, **distortion, frames=frames), 1, 1).lenses
    assert (lenses[0].width, lenses[0].height, lenses[0].fx, lenses[0].fy) == (640, 480, 500, 510)
    assert lenses[0].distortion == (0.1, 0.02, 0.003, 0.004, 0)
    assert (lenses[1].fx, lenses[1].distortion[0]) == (600, 0.2)
    assert (lenses[2].model, lenses[2].distortion) == ("fisheye", (0.1, 0.02, 0, 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": []}, "frames: expected cameras, found none"),
        ({"camera_angle_x": None}, r"frames\.0: expected fl_x or camera_angle_x"),
        ({"camera_angle_x": 4}, "camera_angle_x"),
        ({"camera_model": "EQUIRECTANGULAR"}, r"frames\.0: camera_model: expected one of SIMPLE_PINHOLE"),
        ({"k4": 0.1}, r"frames\.0: k4: expected 0"),
        ({"frames": [{"file_path": "a", "transform_matrix": [[2, 0, 0, 0], *POSE[1:]]}]}, r"frames\.0\.transform_mat"),
        ({"frames": [{"file_path": "a"}]}, r"frames\.0\.transform_matrix: missing"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    good = {"camera_angle_x": 1.0, "frames": [{"file_path": "a", "transform_matrix": POSE}]}
    path = write(tmp_path, **(good | changes))
    with pytest.raises(InputError, match=rf"transforms\.json: {message}"):
        read_camera_transforms(path, 80, 60)
