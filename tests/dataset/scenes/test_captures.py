"""Captures, with what floats around them, placed in the world."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.scenes.capture_settings import CaptureSettings
from dataset.scenes.captures import dense_bounds, placed_capture, read_capture
from gaussians.files.splats.ply import write_ply
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError

BALL = 1500
RADIUS = 0.25


def ball(count: int = BALL, radius: float = RADIUS, centre: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """Points evenly inside a ball, of which some lie on its poles, so that its extent is exact."""
    random = np.random.default_rng(0)
    directions = random.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points = directions * radius * random.random((count, 1)) ** (1 / 3)
    points[:6] = radius * np.concatenate([np.eye(3), -np.eye(3)])
    return points + centre


def gaussians_of(points: np.ndarray, opacity: float = 0.98) -> Gaussians:
    count = len(points)
    return Gaussians(
        torch.from_numpy(points.astype(np.float32)),
        torch.full((count,), opacity),
        torch.zeros(count, 1, 3),
        torch.full((count, 3), 0.02),
        torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
    )


def scattered(count: int, reach: float) -> np.ndarray:
    return np.random.default_rng(1).uniform(-reach, reach, (count, 3))


@pytest.mark.parametrize(
    "floaters",
    [
        np.array([[40.0, 0, 0]]),
        np.array([[1e6, 0, 0], [0, -1e9, 0]]),
        np.array([[0.9, 0, 0]]),
        scattered(75, 40),  # of 5 % of all
        ball(20, 0.05, (3, 3, 3)),  # a clump of 1.3 %
    ],
    ids=["one", "very far", "near", "many", "a clump"],
)
def test_floaters_decide_neither_size_nor_centre_and_are_left_out(tmp_path: Path, floaters: np.ndarray) -> None:
    centre = (0.1, 0.2, 0.3)
    points = np.concatenate([floaters, ball(centre=centre)])
    write_ply(tmp_path / "capture.ply", gaussians_of(points), up="z")
    capture = read_capture(tmp_path / "capture.ply")
    # Floaters may come to lie in the ball or near it, but nothing else remains.
    near = np.abs(floaters - centre).max(1) < 1.5 * RADIUS
    assert capture.rows.tolist() == [*np.flatnonzero(near), *range(len(floaters), len(points))]
    torch.testing.assert_close((capture.low + capture.high) / 2, torch.tensor(centre), rtol=0, atol=1e-6)
    assert capture.extent == pytest.approx(2 * RADIUS, abs=1e-6)
    assert f"{(~near).sum()} of {len(points)} Gaussians lie far outside and are left out" in capture.notes


def test_parts_of_an_object_are_kept_however_far_apart(tmp_path: Path) -> None:
    points = np.concatenate([ball(700, centre=(-1, 0, 0)), ball(100, 0.1, centre=(2, 0, 0))])
    write_ply(tmp_path / "two.ply", gaussians_of(points), up="z")
    capture = read_capture(tmp_path / "two.ply")
    assert len(capture.gaussians) == 800
    assert capture.notes == ()
    assert capture.low[0] == pytest.approx(-1.25)
    assert capture.high[0] == pytest.approx(2.1)


@pytest.mark.parametrize(
    "points",
    [
        np.linspace([0, 0, 0], [4, 0, 0], 9),
        np.array([[0.0, 0, 0], [1, 0, 0]]),
        np.array([[0.0, 0, 0]] * 50 + [[1, 1, 0]]),
        ball(200) * [8, 1, 0.01],
        np.stack(np.meshgrid(*[np.linspace(0, 1, 30)] * 2, [0.0]), -1).reshape(-1, 3),
        np.repeat(ball(40), 30, 0),
    ],
    ids=["few on a line", "two", "nearly all in one place", "a flat ellipsoid", "a sheet", "places 30 times each"],
)
def test_all_of_an_object_counts(points: np.ndarray) -> None:
    bounds = dense_bounds(points, np.ones(len(points)))
    assert bounds is not None
    assert np.array_equal(bounds[0], points.min(0))
    assert np.array_equal(bounds[1], points.max(0))


def test_points_in_one_place_have_no_extent(tmp_path: Path) -> None:
    assert dense_bounds(np.ones((5, 3)), np.ones(5)) is None
    assert dense_bounds(np.zeros((0, 3)), np.zeros(0)) is None
    write_ply(tmp_path / "dot.ply", gaussians_of(np.ones((5, 3))))
    with pytest.raises(InputError, match=r"dot\.ply: has no extent"):
        read_capture(tmp_path / "dot.ply")


def test_up_is_what_is_asked_for_else_what_the_file_says_else_minus_y(tmp_path: Path) -> None:
    pole = ball() * [1, 1, 3]
    write_ply(tmp_path / "z.ply", gaussians_of(pole), up="z")
    write_ply(tmp_path / "plain.ply", gaussians_of(pole[:, [0, 2, 1]] * [1, -1, 1]))
    upright = torch.tensor([0.5, 0.5, 1.5])
    for name, up in (("z", None), ("z", "-z"), ("plain", None), ("plain", "y")):
        capture = read_capture(tmp_path / f"{name}.ply", up)
        torch.testing.assert_close(capture.high - capture.low, upright)
    lying = read_capture(tmp_path / "z.ply", "-y")
    torch.testing.assert_close(lying.high - lying.low, torch.tensor([0.5, 1.5, 0.5]))
    assert read_capture(tmp_path / "plain.ply").notes == ("its upward axis is taken to be -y; --up says otherwise",)
    assert read_capture(tmp_path / "plain.ply", "y").notes == ()
    # The row on the upper pole of the file is above.
    assert read_capture(tmp_path / "plain.ply").gaussians.means[2, 2] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("radius", "centre", "scale", "extent", "place"),
    [
        (0.25, (0.5, 0, -0.5), None, 0.5, (0.5, 0, -0.5)),  # fits
        (0.25, (0.5, 0, -0.5), 1.0, 0.5, (0.5, 0, -0.5)),
        (0.25, (0.5, 0, -0.5), 0.5, 0.25, (0.25, 0, -0.25)),
        (0.25, (5, 0, 0), None, 1.0, (0, 0, 0)),  # is elsewhere
        (0.25, (5, 0, 0), 2.0, 1.0, (0, 0, 0)),
        (0.05, (0, 0, 0), None, 1.0, (0, 0, 0)),  # is tiny
        (0.05, (0, 0, 0), 1.0, 0.1, (0, 0, 0)),
        (300, (0, 0, 0), None, 1.0, (0, 0, 0)),  # is large
    ],
)
def test_a_capture_that_fits_stays_and_others_are_scaled_and_centred(
    tmp_path: Path,
    radius: float,
    centre: tuple[float, float, float],
    scale: float | None,
    extent: float,
    place: tuple[float, float, float],
) -> None:
    write_ply(tmp_path / "a.ply", gaussians_of(ball(radius=radius, centre=centre)), up="z")
    capture = placed_capture(tmp_path / "a.ply", CaptureSettings(scale=scale))
    assert capture.extent == pytest.approx(extent, rel=1e-5)
    torch.testing.assert_close((capture.low + capture.high) / 2, torch.tensor(place).float(), rtol=0, atol=1e-5)
    means = capture.gaussians.means
    torch.testing.assert_close(means.amin(0), capture.low, rtol=0, atol=1e-5)
    torch.testing.assert_close(means.amax(0), capture.high, rtol=0, atol=1e-5)
    factor = extent / (2 * radius)
    scales, _ = capture.gaussians.scales_and_quaternions()
    torch.testing.assert_close(scales, torch.full_like(scales, 0.02 * factor))
    assert f"it is {extent:.3g} m large" in capture.notes[-1]


def test_of_very_many_points_all_count() -> None:
    points = np.concatenate([ball(450_000), scattered(5_000, 40)])
    bounds = dense_bounds(points, np.ones(len(points)))
    assert bounds is not None
    assert np.array_equal(bounds[0], np.full(3, -RADIUS))
    assert np.array_equal(bounds[1], np.full(3, RADIUS))
