"""Cameras of views, and what is drawn from them."""

import torch

from dataset.rendering.scene_renderer import cameras_at, view_cameras
from dataset.rendering.views import View
from gaussians.cameras import Orbit

ORBIT = Orbit(center=(0.0, 0.0, -0.3), azimuth=120.0, elevation=20.0, radius=4.0)


def test_fixed_camera_stands_and_moving_one_follows_the_orbit() -> None:
    fixed = view_cameras(View("view_3", 3), ORBIT, 64, 5)
    moving = view_cameras(View("circle360"), ORBIT, 64, 5)
    assert torch.equal(fixed.viewmats, fixed.viewmats[:1].expand(5, 4, 4))
    assert torch.equal(moving.viewmats, ORBIT.cameras(range(5), 64).viewmats)
    assert torch.equal(fixed.viewmats[0], moving.viewmats[3])


def test_jitter_is_small_seeded_and_still_looks_at_the_centre() -> None:
    steady = view_cameras(View("circle360"), ORBIT, 64, 100)
    shaken = view_cameras(View("circle360_jitter"), ORBIT, 64, 100, seed=1)
    again = view_cameras(View("circle360_jitter"), ORBIT, 64, 100, seed=1)
    other = view_cameras(View("circle360_jitter"), ORBIT, 64, 100, seed=2)
    offsets = (shaken.positions - steady.positions).norm(dim=1)
    # Three normal components of 1 % of 4 m each: a length over six standard deviations does not happen.
    assert 0.01 < offsets.mean() < 0.15
    assert offsets.max() < 0.24
    assert torch.equal(shaken.viewmats, again.viewmats)
    assert not torch.equal(shaken.viewmats, other.viewmats)
    center = torch.tensor([*ORBIT.center, 1.0])
    local = shaken.viewmats @ center
    torch.testing.assert_close(local[:, :2], torch.zeros(100, 2), atol=1e-5, rtol=0)


def test_batch_of_one_frame_has_one_camera_a_path() -> None:
    paths = [view_cameras(View("view_3", 3), ORBIT, 64, 5), view_cameras(View("circle360"), ORBIT, 64, 5)]
    batch = cameras_at(paths, 4)
    assert len(batch) == 2
    assert torch.equal(batch.viewmats[0], paths[0].viewmats[4])
    assert torch.equal(batch.viewmats[1], paths[1].viewmats[4])
