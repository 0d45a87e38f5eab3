"""Masks of one view, carried to others where an object has the colours of its background in some of them."""

import numpy as np
import torch

from gaussians.cameras import Cameras, Orbit
from videogen.reconstruction.segmentation.through_views import carry_through_views

VIEWS, SIDE, RADIUS, DISTANCE = 10, 96, 0.35, 3.0
BLUE, RED, WHITE = np.array([20, 20, 120]), np.array([180, 30, 30]), np.array([200, 200, 200])
BEFORE_WHITE = (2, 5, 7)


def pictures(cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, H, W, 3) of a ball, red above and white below, before white in three views, and its masks."""
    random = np.random.default_rng(0)
    center = torch.tensor([SIDE / 2, SIDE / 2])
    pixels = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="xy"), -1) + 0.5
    images, masks = [], []
    for view in range(VIEWS):
        rotation, K = cameras.viewmats[view, :3, :3], cameras.Ks[view]
        rays = torch.nn.functional.normalize(
            torch.cat([(pixels - center) / K[0, 0], torch.ones(SIDE, SIDE, 1)], -1), dim=-1
        )
        along = DISTANCE * rays[..., 2]  # to the point of a ray that is nearest to the ball's centre
        inside = along.square() - (DISTANCE**2 - RADIUS**2)
        from_center = rays * (along - inside.clamp_min(0).sqrt())[..., None] - torch.tensor([0.0, 0.0, DISTANCE])
        above = (from_center @ rotation)[..., 2] >= 0
        ball, above = (inside > 0).numpy(), above.numpy()
        image = np.where(
            ball[..., None], np.where(above[..., None], RED, WHITE), WHITE if view in BEFORE_WHITE else BLUE
        )
        images.append((image + random.integers(0, 30, image.shape)).astype(np.uint8))
        masks.append(ball)
    return np.stack(images), np.stack(masks)


def test_other_views_decide_where_an_object_has_the_colours_of_its_background() -> None:
    orbit = Orbit((0.0, 0.0, 0.0), azimuth=0.0, elevation=20.0, radius=DISTANCE, delta_azimuth=360 / VIEWS)
    cameras = orbit.cameras(range(VIEWS), SIDE)
    images, balls = pictures(cameras)
    labels = carry_through_views(images, cameras, balls[0].astype(np.uint8), (1.5, 6.0))
    overlaps = ((labels == 1) & balls).sum((1, 2)) / ((labels == 1) | balls).sum((1, 2))
    assert overlaps.mean() > 0.95
    assert overlaps[list(BEFORE_WHITE)].min() > 0.88  # its red half alone would come to 0.7
