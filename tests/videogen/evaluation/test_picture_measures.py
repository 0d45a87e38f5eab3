import math

import pytest
import torch

from gaussians.representation import Gaussians
from videogen.evaluation.picture_measures import MassCenters, mask_centers, mask_iou


def disc(u: float, v: float, radius: float, label: int = 0) -> torch.Tensor:
    """A mask (40, 60) of a disc whose centre is at (u, v)."""
    rows, columns = torch.arange(40) + 0.5, torch.arange(60) + 0.5
    inside = (columns - u) ** 2 + (rows[:, None] - v) ** 2 <= radius**2
    return (inside * (label + 1)).to(torch.uint8)


def test_a_shifted_disc_is_as_far_off_as_it_was_shifted() -> None:
    truth, shifted = mask_centers(disc(20, 15, 8), 1), mask_centers(disc(23, 19, 8), 1)
    torch.testing.assert_close(truth, torch.tensor([[20.0, 15.0]], dtype=torch.float64))
    assert (shifted - truth).norm(dim=1).item() == pytest.approx(5)


def test_masks_that_share_half_have_an_iou_of_a_third() -> None:
    ours, truth = torch.zeros(2, 4, 6, dtype=torch.uint8)
    ours[:, :2], truth[:, 1:3] = 1, 1
    ours[:, 5] = truth[:, 5] = 2
    truth[0, 4] = 3  # the fourth object shows nowhere
    expected = torch.tensor([1 / 3, 1, 0, math.nan], dtype=torch.float64)
    torch.testing.assert_close(mask_iou(ours, truth, 4), expected, equal_nan=True)


def test_an_object_that_no_pixel_shows_has_no_center() -> None:
    assert mask_centers(disc(20, 15, 8), 2)[1].isnan().all()


def points(means: torch.Tensor, labels: list[int]) -> Gaussians:
    count = len(means)
    return Gaussians(
        means,
        torch.ones(count),
        torch.zeros(count, 1, 3),
        covariances=torch.zeros(count, 6),
        labels=torch.tensor(labels, dtype=torch.int32),
    )


def test_a_body_weighs_by_its_volume_not_by_its_number_of_gaussians() -> None:
    here, there = (
        torch.tensor([0.03, 0.03, 0.06]),
        torch.tensor([0.53, 0.03, 0.06]),
    )  # far from the edges of their cells
    crowded = points(torch.stack([here] * 9 + [there, there + 1]), [0] * 10 + [-1])
    centers = MassCenters(crowded, 1)
    torch.testing.assert_close(centers.of(crowded.means), ((here + there) / 2)[None].double())


def test_centers_move_with_their_objects() -> None:
    generator = torch.Generator().manual_seed(0)
    start = points(torch.rand(200, 3, generator=generator) - 0.5, [0] * 150 + [1] * 50)
    centers = MassCenters(start, 2)
    moved = start.means + torch.tensor([0.3, 0.0, -0.4]) * (start.labels == 1)[:, None]
    distances = (centers.of(moved) - centers.of(start.means)).norm(dim=1)
    torch.testing.assert_close(distances, torch.tensor([0, 0.5], dtype=torch.float64), atol=1e-6, rtol=0)
