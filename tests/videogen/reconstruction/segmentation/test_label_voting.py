from dataclasses import replace

import pytest
import torch

from gaussians.cameras import Orbit
from gaussians.rasterization import instance_masks, rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from videogen.reconstruction.segmentation.label_voting import refine_masks, vote_labels

SIZE, VIEWS = 64, 8
CAMERAS = Orbit((0.0, 0.0, 0.0), 0.0, 20.0, 3.0, delta_azimuth=360 / VIEWS).cameras(range(VIEWS), SIZE)


def cloud(means: torch.Tensor, labels: torch.Tensor | None, size: float = 0.05) -> Gaussians:
    return Gaussians(
        means=means,
        opacities=torch.full((len(means),), 0.9),
        sh=rgb_to_sh(torch.full((len(means), 3), 0.5)),
        covariances=size**2 * torch.tensor([1.0, 0, 0, 1, 0, 1]).repeat(len(means), 1),
        labels=labels,
    )


def test_a_gaussian_is_of_the_object_that_more_of_its_picture_shows() -> None:
    """Alone its weight in a pixel is the pixel's alpha."""
    alone = cloud(torch.zeros(1, 3), None)
    alpha = rasterize(alone, CAMERAS[:1]).alpha[0]
    left = float(alpha[:, : SIZE // 2 + 1].sum() / alpha.sum())
    assert left > 0.55
    labels = torch.ones(1, SIZE, SIZE, dtype=torch.uint8)
    labels[0, :, : SIZE // 2 + 1] = 5
    assert vote_labels(alone, CAMERAS[:1], labels).tolist() == [4]
    # One that is of an object already stays with it if 0.34 of it is seen there, but not if 0.27 is.
    known = replace(alone, labels=torch.tensor([0], dtype=torch.int32))
    assert vote_labels(known, CAMERAS[:1], labels).tolist() == [4]
    rows = labels.clone()
    rows[0, SIZE // 2 :: 2, SIZE // 2] = 1
    assert vote_labels(known, CAMERAS[:1], rows).tolist() == [0]
    labels[0, :, SIZE // 2 - 1 :] = 1
    assert vote_labels(alone, CAMERAS[:1], labels).tolist() == [0]


def test_what_is_hidden_does_not_vote() -> None:
    """Behind a wall of the first object a Gaussian keeps what it was, until other views show it."""
    front = CAMERAS.positions[0] / CAMERAS.positions[0].norm()
    across = torch.linalg.cross(front, torch.tensor([0.0, 0.0, 1.0]))
    across = across / across.norm()
    up = torch.linalg.cross(across, front)
    steps = torch.linspace(-0.5, 0.5, 15)
    wall = [0.6 * front + x * across + y * up + z * front for x in steps for y in steps for z in (0.0, 0.05, 0.1)]
    means = torch.stack([*wall, torch.zeros(3)])
    gaussians = cloud(means, torch.tensor([-1] * len(wall) + [1], dtype=torch.int32))
    labels = torch.ones(VIEWS, SIZE, SIZE, dtype=torch.uint8)
    voted = vote_labels(gaussians, CAMERAS[:1], labels[:1])
    assert (voted[2:-1:3] == 0).all()
    assert voted[-1] == 1
    labels[1:] = 3
    assert vote_labels(gaussians, CAMERAS, labels)[-1] == 2


def test_pictures_that_are_wrong_in_places_are_put_right() -> None:
    """Each view lacks a stripe of its own, and swaps the objects in a corner."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(600, 3, generator=generator), dim=1)
    means = torch.cat([0.3 * directions + torch.tensor([0, 0, 0.35]), 0.3 * directions - torch.tensor([0, 0, 0.35])])
    true = torch.arange(2, dtype=torch.int32).repeat_interleave(600)
    gaussians = cloud(means, true)
    masks = instance_masks(gaussians, CAMERAS, 2)
    damaged = masks.clone()
    for view in range(VIEWS):
        damaged[view, :, 20 + 3 * view : 23 + 3 * view] = 0
        corner = damaged[view, 20:28, 28:36]
        damaged[view, 20:28, 28:36] = torch.where(corner > 0, 3 - corner, 0) if view % 4 == 0 else corner
    refined, voted = refine_masks(replace(gaussians, labels=None), CAMERAS, damaged)
    # A Gaussian at the rim is seen in pixels, too, that show more of what is behind the object.
    assert (voted == true).float().mean() > 0.95
    assert (refined != masks).sum() < 0.1 * (damaged != masks).sum()


def test_label_pictures_must_be_those_of_the_cameras() -> None:
    with pytest.raises(ValueError, match=r"labels: expected shape \(8, 64, 64\), found \(7, 64, 64\)"):
        vote_labels(cloud(torch.zeros(1, 3), None), CAMERAS, torch.zeros(7, SIZE, SIZE, dtype=torch.uint8))
