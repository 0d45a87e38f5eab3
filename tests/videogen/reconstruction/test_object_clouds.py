"""Gaussians of objects that are no part of them."""

from dataclasses import replace

import torch

from gaussians.representation import Gaussians
from tests.videogen.reconstruction.scenes import BALLS, RADIUS, orbit, speckled_scene
from videogen.reconstruction.object_clouds import strays

STRAYS = 40


def test_what_pictures_see_past_is_no_part_of_an_object() -> None:
    balls = speckled_scene()
    directions = torch.tensor([0.0, 0, 1]) + 0.2 * torch.randn(STRAYS, 3, generator=torch.Generator().manual_seed(1))
    above = BALLS[0] + (RADIUS + 0.06) * torch.nn.functional.normalize(directions, dim=1)
    some = balls[torch.nonzero(balls.labels == 0).squeeze(1)[:STRAYS]]
    hovering = replace(some, means=above, opacities=torch.full((STRAYS,), 0.1), scales=torch.full((STRAYS, 3), 0.005))
    found = strays(Gaussians.cat([balls, hovering]), orbit(20, 96), 2)
    assert not found[: len(balls)].any()
    assert found[len(balls) :].all()


def test_an_object_that_pictures_see_through_everywhere_stays() -> None:
    balls = speckled_scene()
    assert balls.labels is not None
    glass = replace(balls, opacities=torch.where(balls.labels == 0, 0.02, balls.opacities))
    assert not strays(glass, orbit(20, 96), 2).any()
