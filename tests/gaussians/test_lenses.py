import cv2
import numpy as np
import pytest

from gaussians.lenses import Lens

BARREL = Lens(96, 64, 80.0, 82.0, 47.0, 33.0, "perspective", (-0.2, 0.05, 0.002, -0.003))
PINCUSHION = Lens(96, 64, 80.0, 80.0, 48.0, 32.0, "perspective", (0.15,))
FISHEYE = Lens(96, 64, 50.0, 50.0, 48.0, 32.0, "fisheye", (0.02, -0.01, 0.001))
LENSES = pytest.mark.parametrize("lens", [BARREL, PINCUSHION, FISHEYE], ids=["barrel", "pincushion", "fisheye"])


def colour(rays: np.ndarray) -> np.ndarray:
    """A smooth scene at infinity: the colour (N, 3), 0 to 255, in the directions (x, y, 1)."""
    x, y = rays[:, 0], rays[:, 1]
    return 127.5 + 100 * np.stack([np.sin(5 * x), np.cos(4 * y), np.sin(3 * x + 2 * y)], 1)


def photograph(lens: Lens) -> np.ndarray:
    rows, columns = np.indices((lens.height, lens.width)) + 0.5
    rays = lens.rays(np.stack([columns.ravel(), rows.ravel()], 1))
    return np.rint(colour(rays)).astype(np.uint8).reshape(lens.height, lens.width, 3)


@LENSES
def test_rays_and_pixels_are_each_other_s_inverse(lens: Lens) -> None:
    pixels = np.random.default_rng(0).uniform((0, 0), (lens.width, lens.height), (100, 2))
    assert np.allclose(lens.projected(lens.rays(pixels)), pixels, atol=1e-6)


def test_fisheye_pixels_grow_with_the_angle() -> None:
    lens = Lens(96, 64, 50.0, 50.0, 48.0, 32.0, "fisheye")
    angles = np.array([0.1, 0.5, 0.9])
    pixels = lens.projected(np.stack([np.tan(angles), 0 * angles], 1))
    assert np.allclose(pixels[:, 0], 48 + 50 * angles)


@LENSES
def test_undistorted_pictures_are_a_pinhole_s(lens: Lens) -> None:
    picture = lens.undistorted(photograph(lens))
    expected = photograph(lens.rectified())
    # Two roundings, and cubic interpolation of a smooth scene.
    assert np.abs(picture.astype(int) - expected).max() <= 2


@LENSES
def test_the_pinhole_sees_nothing_outside_of_the_picture(lens: Lens) -> None:
    pinhole = lens.rectified()
    corners = np.array([[0, 0], [48, 0], [96, 0], [0, 32], [96, 32], [0, 64], [48, 64], [96, 64]], float)
    seen = lens.projected(pinhole.rays(corners))
    assert (seen > -0.01).all()
    assert (seen < np.array([96.01, 64.01])).all()
    touched = np.minimum(seen, np.array([96, 64]) - seen).min()
    assert touched < 1.5  # and little is cut off
    assert pinhole.fx / pinhole.fy == pytest.approx(lens.fx / lens.fy)


def test_a_pinhole_stays_as_it_is() -> None:
    lens = Lens(96, 64, 80.0, 80.0, 40.0, 30.0, "perspective", (1e-6, 0.0))
    picture = np.zeros((64, 96, 3), np.uint8)
    assert lens.undistorted(picture) is picture
    assert np.array_equal(lens.rectified().intrinsics, lens.intrinsics)


def test_a_smaller_picture_shows_the_same_directions() -> None:
    pixels = np.array([[10.0, 20.0], [90.0, 60.0]])
    assert np.allclose(BARREL.resized(48, 32).rays(pixels / 2), BARREL.rays(pixels), atol=1e-9)


def test_distortion_agrees_with_opencv() -> None:
    rays = np.array([[0.3, -0.2], [-0.5, 0.1]])
    points = np.concatenate([rays, np.ones((2, 1))], 1)
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), BARREL.intrinsics, np.array(BARREL.distortion))
    assert np.allclose(BARREL.projected(rays), expected[:, 0])


def test_a_distortion_that_folds_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="folds the picture over"):
        Lens(96, 64, 50.0, 50.0, 48.0, 32.0, "perspective", (-1.5,)).rectified()
