import errno
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gaussians.cameras import Cameras, look_at
from gaussians.stage.errors import InputError
from videogen.reconstruction.posing.camera_files import pose_pictures
from videogen.reconstruction.posing.pictures import Pictures
from videogen.reconstruction.posing.structure_from_motion import estimate_cameras

WIDTH, HEIGHT, FOCAL = 200, 150, 216.0


def corner(cameras: Cameras) -> torch.Tensor:
    """Pictures (N, H, W, 3) of the inside of a box's corner, three planes of blurred noise, 2 m wide."""
    rng = np.random.default_rng(0)
    side, texels = 2.0, 512
    # Points of each plane are the first column times u plus the second times v, u and v from 0 to 2 m.
    planes = [np.eye(3)[:, axes] for axes in ((0, 1), (1, 2), (0, 2))]
    textures = [cv2.GaussianBlur(rng.uniform(-500, 750, (texels, texels, 3)), (0, 0), 2).clip(0, 255) for _ in planes]
    images = np.zeros((len(cameras), HEIGHT, WIDTH, 3), np.uint8)
    for image, viewmat, K in zip(images, cameras.viewmats.double().numpy(), cameras.Ks.double().numpy(), strict=True):
        for plane, texture in zip(planes, textures, strict=True):
            to_camera = np.column_stack([viewmat[:3, :3] @ plane, viewmat[:3, 3]])
            texel = np.array([[side / texels, 0, 0], [0, side / texels, 0], [0, 0, 1]])
            shown = cv2.warpPerspective(
                np.dstack([texture, np.ones((texels, texels))]), K @ to_camera @ texel, (WIDTH, HEIGHT)
            )
            image[:] = np.where(shown[..., 3:] > 0.5, shown[..., :3], image)
    return torch.from_numpy(images)


def views(count: int) -> Cameras:
    angles = torch.linspace(0.35, 1.2, count)
    places = torch.stack([2.6 * angles.cos(), 2.6 * angles.sin(), 1.6 + 0.3 * torch.sin(5 * angles)], 1)
    return look_at(places, torch.tensor([0.5, 0.5, 0.4]), WIDTH, HEIGHT, FOCAL)


def relative_angles(viewmats: torch.Tensor) -> torch.Tensor:
    """The rotations (N, N, 3, 3) between all pairs of cameras, which no choice of axes changes."""
    rotations = viewmats[:, :3, :3].double()
    return rotations[:, None] @ rotations[None].mT


def pictures(images: torch.Tensor, folder: Path) -> Pictures:
    names = tuple(f"{chr(97 + number)}.jpg" for number in range(len(images)))
    size = images.shape[2], images.shape[1]
    return Pictures(images, names, tuple(range(len(images))), folder, len(images), size)


def test_cameras_and_focal_length_of_a_textured_corner_are_found(tmp_path: Path) -> None:
    pytest.importorskip("pycolmap", reason="needs the extra photographs")
    truth = views(5)
    given = pictures(corner(truth), tmp_path)
    posed = pose_pictures(given, estimate_cameras(given))
    assert posed.names == given.names
    assert not posed.in_world
    # SIFT places corners to a few tenths of a pixel, 0.1 degrees; a focal length 1 % off turns all by as much again.
    between = relative_angles(posed.cameras.viewmats) @ relative_angles(truth.viewmats).mT
    angles = torch.rad2deg(torch.acos(((between.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1)))
    assert angles.max() < 1
    ratio = torch.pdist(posed.cameras.positions) / torch.pdist(truth.positions)
    assert ratio.std() / ratio.mean() < 0.02
    assert posed.cameras.Ks[0, 0, 0].item() == pytest.approx(FOCAL, rel=0.02)
    assert posed.points is not None
    assert len(posed.points) > 100
    again = pose_pictures(given, estimate_cameras(given))
    assert torch.equal(again.cameras.viewmats, posed.cameras.viewmats)
    assert again.points is not None
    assert torch.equal(again.points, posed.points)


def test_pictures_without_features_do_not_converge(tmp_path: Path) -> None:
    pytest.importorskip("pycolmap", reason="needs the extra photographs")
    blank = torch.full((3, 60, 80, 3), 128, dtype=torch.uint8)
    with pytest.raises(InputError, match="structure from motion did not converge: no two pictures fit each other"):
        estimate_cameras(pictures(blank, tmp_path))


def test_the_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(InputError, match=r"pycolmap, .*, is not installed: pip install '.*\[photographs\]'"):
        estimate_cameras(pictures(torch.zeros(3, 60, 80, 3, dtype=torch.uint8), tmp_path))


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_bytes(file: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    pytest.importorskip("pycolmap", reason="needs the extra photographs")
    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(InputError, match=r"00000\.png: cannot be written: No space left on device"):
        estimate_cameras(pictures(torch.zeros(3, 60, 80, 3, dtype=torch.uint8), tmp_path))
