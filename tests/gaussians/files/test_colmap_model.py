import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gaussians.files.colmap_model import is_colmap_model, read_colmap_model
from gaussians.lenses import Lens
from gaussians.stage.errors import InputError

CAMERAS = """# Camera list
1 SIMPLE_RADIAL 640 480 500 320 240 -0.01
7 OPENCV_FISHEYE 320 240 200 210 160 120 0.1 0.2 0.3 0.4
"""
IMAGES = """# Image list
2 0.5 0.5 0.5 0.5 1 2 3 7 left/b 1.png
10.5 20.5 4 1 2 -1
1 1 0 0 0 -1 0 0.5 1 a.png

"""
POINTS = """# 3D point list
4 1.5 2.5 3.5 255 0 51 0.3 2 0 1 1
9 -1 -2 -3 0 255 0 0.1
"""


def write_text(folder: Path) -> None:
    for name, contents in (("cameras", CAMERAS), ("images", IMAGES), ("points3D", POINTS)):
        (folder / f"{name}.txt").write_text(contents)


def write_binary(folder: Path) -> None:
    """Writes the same two cameras, two images and two points."""
    cameras = struct.pack("<QiiQQ4d", 2, 1, 2, 640, 480, 500, 320, 240, -0.01)
    cameras += struct.pack("<iiQQ8d", 7, 5, 320, 240, 200, 210, 160, 120, 0.1, 0.2, 0.3, 0.4)
    images = struct.pack("<Qi7di", 2, 2, 0.5, 0.5, 0.5, 0.5, 1, 2, 3, 7) + b"left/b 1.png\0"
    images += struct.pack("<QddQddq", 2, 10.5, 20.5, 4, 1, 2, -1)
    images += struct.pack("<i7di", 1, 1, 0, 0, 0, -1, 0, 0.5, 1) + b"a.png\0" + struct.pack("<Q", 0)
    points = struct.pack("<QQ3d3BdQiiii", 2, 4, 1.5, 2.5, 3.5, 255, 0, 51, 0.3, 2, 2, 0, 1, 1)
    points += struct.pack("<Q3d3BdQ", 9, -1, -2, -3, 0, 255, 0, 0.1, 0)
    for name, data in (("cameras", cameras), ("images", images), ("points3D", points)):
        (folder / f"{name}.bin").write_bytes(data)


@pytest.mark.parametrize("write", [write_text, write_binary])
def test_models_are_read(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    assert is_colmap_model(tmp_path)
    found = read_colmap_model(tmp_path)
    assert found.names == ("left/b 1.png", "a.png")
    assert found.lenses[0] == Lens(320, 240, 200, 210, 160, 120, "fisheye", (0.1, 0.2, 0.3, 0.4))
    assert found.lenses[1].distortion[:2] == (-0.01, 0)
    assert found.lenses[1].fx == found.lenses[1].fy == 500
    # The quaternion turns x to y, y to z and z to x.
    expected = torch.tensor([[0.0, 0, 1, 1], [1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]], dtype=torch.float64)
    assert torch.allclose(found.viewmats[0], expected)
    assert found.viewmats[1, :3, 3].tolist() == [-1, 0, 0.5]
    assert found.points.tolist() == [[1.5, 2.5, 3.5], [-1, -2, -3]]
    assert found.colors[0].tolist() == pytest.approx([1, 0, 0.2])


def test_what_colmap_writes_is_read(tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    options = pycolmap.SyntheticDatasetOptions()
    options.num_points3D = 20
    written = pycolmap.synthesize_dataset(options)
    for kind in ("text", "binary"):
        (tmp_path / kind).mkdir()
        getattr(written, f"write_{kind}")(tmp_path / kind)
        found = read_colmap_model(tmp_path / kind)
        assert len(found.names) == written.num_reg_images()
        matrices = {image.name: image.cam_from_world().matrix() for image in written.images.values()}
        for name, viewmat in zip(found.names, found.viewmats, strict=True):
            assert np.allclose(viewmat[:3], matrices[name], atol=1e-9)
        points = sorted(point.xyz.tolist() for point in written.points3D.values())
        assert np.allclose(sorted(found.points.tolist()), points, atol=1e-5)
        (camera,) = {lens.intrinsics.tobytes(): lens for lens in found.lenses}.values()
        rays = np.array([[0.1, 0.2], [-0.3, 0.1]])
        expected = next(iter(written.cameras.values())).img_from_cam(np.concatenate([rays, np.ones((2, 1))], 1))
        assert np.allclose(camera.projected(rays), expected)


def test_every_truncation_is_an_input_error(tmp_path: Path) -> None:
    write_binary(tmp_path)
    for file in tmp_path.iterdir():
        data = file.read_bytes()
        for size in range(len(data)):
            file.write_bytes(data[:size])
            with pytest.raises(InputError, match=rf"{file.name}: ends too early"):
                read_colmap_model(tmp_path)
        file.write_bytes(data)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("cameras.txt", "SIMPLE_RADIAL", "PERFECT", r"cameras\.txt: line 2: expected a number, a known model"),
        ("cameras.txt", "240 -0.01", "240", r"SIMPLE_RADIAL: expected 4 parameters, found 3"),
        ("cameras.txt", "480 500", "480 nan", "line 2: expected finite numbers"),
        ("cameras.txt", "640 480 500", "640 480 -5", "SIMPLE_RADIAL: expected positive sizes"),
        ("cameras.txt", "7 OPENCV_FISHEYE", "8 OPENCV_FISHEYE", r"left/b 1\.png: no camera 7"),
        ("images.txt", "1 1 0 0 0", "1 0 0 0 0", "quaternions that are not zero"),
        ("points3D.txt", "9 -1", "9 one", "line 3: expected numbers"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    write_text(tmp_path)
    (tmp_path / file).write_text((tmp_path / file).read_text().replace(old, new))
    with pytest.raises(InputError, match=message):
        read_colmap_model(tmp_path)


def test_declared_rows_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for name in ("cameras", "images", "points3D"):
        (tmp_path / f"{name}.bin").write_bytes(struct.pack("<Q", 2**60))
    with pytest.raises(InputError, match=r"cameras\.bin: ends too early"):
        read_colmap_model(tmp_path)
