"""Depth by plane sweep, against what was drawn."""

from dataclasses import replace

import pytest
import torch

from gaussians.cameras import look_at
from tests.videogen.reconstruction.scenes import BALLS, FLOOR, RADIUS, orbit, posed, speckled_scene
from videogen.reconstruction.plane_sweep import (
    depth_range,
    looked_at,
    nearest_first,
    pixel_rays,
    sweep,
    unproject,
)


@pytest.mark.parametrize("with_labels", [False, True])
def test_points_lie_on_the_surfaces(with_labels: bool) -> None:
    """Within 3 % of the distance: 95 % of the floor, 85 % of the balls, whose edges are blurred."""
    pictures, labels = posed(speckled_scene(), orbit(12, 72))
    swept = sweep(pictures, labels if with_labels else None)
    points = unproject(swept.cameras, swept.depth)
    axes = swept.cameras.viewmats[:, None, :3, :3]
    slopes = (pixel_rays(swept.cameras) @ axes)[..., 2]
    depth = (FLOOR - swept.cameras.positions[:, 2])[:, None, None] / slopes
    there = swept.cameras.positions[:, None, None] + (pixel_rays(swept.cameras) @ axes) * depth[..., None]
    floor = (labels == 0) & (depth > 0) & (there[..., :2].abs() < 0.9).all(-1)
    assert ((swept.depth - depth).abs() < 0.03 * depth)[floor].double().mean() > 0.95
    for label, center in enumerate(BALLS, 1):
        distance = ((points - center).norm(dim=-1) - RADIUS).abs()[labels == label]
        assert (distance < 0.03 * 2.5).double().mean() > 0.85
    assert swept.consistent[labels > 0].double().mean() > 0.8
    assert swept.refuted[floor].double().mean() < 0.05


def test_three_pictures_in_different_light_are_enough() -> None:
    """Measured: two thirds of the floor within 5 %; a third, where colours alone count and what two others show."""
    cameras = orbit(36, 72)[:3]
    pictures, labels = posed(speckled_scene(), cameras)
    light = torch.tensor([1.0, 0.8, 0.9])[:, None, None, None]
    swept = sweep(replace(pictures, images=(light * pictures.images).byte()))
    slopes = (pixel_rays(cameras) @ cameras.viewmats[:, None, :3, :3])[..., 2]
    depth = (FLOOR - cameras.positions[:, 2])[:, None, None] / slopes
    right = ((swept.depth - depth).abs() < 0.05 * depth)[labels == 0]
    assert right.double().mean() > 0.5


def test_cameras_look_at_the_center_of_their_orbit() -> None:
    found = looked_at(orbit(7, 32))
    assert found is not None
    torch.testing.assert_close(found[0], torch.tensor([0.0, 0.0, -0.2]), atol=1e-5, rtol=0)
    assert found[1] == pytest.approx(2.5, rel=1e-5)


def test_depths_of_cameras_that_look_at_no_common_point() -> None:
    """From points where there are some, else from how far the cameras are from each other."""
    pictures, _ = posed(speckled_scene()[:10], orbit(4, 16))
    positions = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0.2, 0, 0], [0.3, 0, 0]])
    for turn in (0.0, 1.0):  # side by side, or outwards
        target = positions + torch.tensor([0.0, 1, 0]) + turn * (positions - 0.15)
        pictures = replace(pictures, cameras=look_at(positions, target, 16, 16, 20.0), points=None)
        assert looked_at(pictures.cameras) is None
        assert depth_range(pictures) == pytest.approx((0.4, 10.0))
    points = torch.tensor([0.0, 1, 0]) * torch.linspace(2, 4, 50)[:, None]
    nearest, farthest = depth_range(replace(pictures, points=points))
    assert nearest < 2 < 4 < farthest
    # As many as a long capture has; points behind all cameras tell nothing.
    many = replace(pictures, points=points.repeat(90_000, 1))
    assert depth_range(many) == pytest.approx((nearest, farthest), rel=1e-3)
    assert depth_range(replace(pictures, points=-10 * points)) == pytest.approx((0.4, 10.0))


def test_a_camera_is_the_nearest_to_itself_wherever_others_stand() -> None:
    positions = torch.tensor([[50.0, 0, 0], [50.0, 0, 2], [50.0, 0, 0], [50.0, 0, 1]])
    cameras = look_at(positions, positions + torch.tensor([1.0, 0, 0]), 16, 16, 20.0)
    assert [nearest_first(cameras, view) for view in range(4)] == [
        [0, 2, 3, 1],
        [1, 3, 0, 2],
        [2, 0, 3, 1],
        [3, 0, 1, 2],
    ]
