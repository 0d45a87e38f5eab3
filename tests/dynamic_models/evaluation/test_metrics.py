import math

import pytest
import torch

from dynamic_models.evaluation.metrics import (
    correlation,
    first_contact_error,
    mean_squared_error,
    trajectory_errors,
)


def test_errors_by_hand() -> None:
    # Two frames, one object, two keypoints and a masked one. Errors: frame 0 none; frame 1 3 m and 4 m along axes.
    target = torch.zeros(2, 1, 3, 3)
    target[1, 0, :, 0] = torch.tensor([1.0, 1.0, 50.0])
    predicted = target.clone()
    predicted[1, 0, 0, 2] += 3.0
    predicted[1, 0, 1, 1] += 4.0
    mask = torch.tensor([[True, True, False]])
    errors = trajectory_errors(predicted, target, mask)
    assert math.isclose(errors.rmse, math.sqrt(25 / 4))
    assert math.isclose(errors.rmse_per_coordinate, math.sqrt(25 / 12))
    assert math.isclose(errors.final_position_error, 3.5)
    assert errors.over_time.tolist() == [0.0, math.sqrt(12.5)]


def test_correlation_by_hand() -> None:
    a = torch.tensor([1.0, 2.0, 3.0])
    assert math.isclose(correlation(a, 2 * a + 7), 1.0, rel_tol=1e-6)
    assert math.isclose(correlation(a, -a), -1.0, rel_tol=1e-6)
    # (-1, 0, 1) . (-1, 1, 0) / (sqrt 2 sqrt 2)
    assert math.isclose(correlation(a, torch.tensor([0.0, 2.0, 1.0])), 0.5, rel_tol=1e-6)
    assert math.isnan(correlation(a, torch.ones(3)))


def test_correlation_is_of_displacements() -> None:
    """An object that stays where it started, while it should have moved, earns nothing for its start."""
    target = torch.randn(5, 1, 4, 3, generator=torch.Generator().manual_seed(0))
    target[:, :, :2] += 100.0
    still = target[:1].expand_as(target)
    errors = trajectory_errors(still, target, torch.ones(1, 4, dtype=torch.bool))
    assert math.isnan(errors.correlation)
    assert errors.correlation_of_positions > 0.9


def test_loss_by_hand_and_its_relation_to_the_rmse() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, target = torch.randn(2, 2, 4, 2, 5, 3, generator=generator)
    mask = torch.ones(2, 2, 5, dtype=torch.bool)
    mask[0, 1, 2:] = False
    losses = mean_squared_error(predicted, target, mask)
    for b in range(2):
        expected = (predicted[b][:, mask[b]] - target[b][:, mask[b]]).square().mean()
        torch.testing.assert_close(losses[b], expected)
        rmse = trajectory_errors(predicted[b], target[b], mask[b]).rmse
        assert math.isclose(rmse, math.sqrt(3 * float(losses[b])), rel_tol=1e-5)


def bounce(restitution: float, frames: int, objects: int = 1) -> torch.Tensor:
    """Heights (T, O, 2, 3) of objects that meet a floor at 1 m/s in frame 10 and are sent back within that frame."""
    time = torch.arange(frames, dtype=torch.float64) * 0.02 - 0.2
    up = torch.where(time <= 0, -time, restitution * time)
    heights = (up - 2.5 * time.square())[:, None, None, None].expand(-1, objects, 2, -1)
    return torch.cat([torch.zeros_like(heights), torch.zeros_like(heights), heights], -1)


def contact_error(predicted: torch.Tensor, target: torch.Tensor, pushed: bool = False) -> float:
    mask = torch.ones(target.shape[1:3], dtype=torch.bool)
    forces = torch.full((len(target) - 1, target.shape[1]), pushed)
    return first_contact_error(predicted, target, mask, mask / mask.shape[1], torch.tensor([0.0, 0, -5]), forces, 0.02)


def test_error_after_the_first_contact_is_that_of_the_bounce() -> None:
    """Two motions part at the contact in frame 10, and are 0.2 s times their difference of speed apart after it."""
    target = bounce(0.6, 40)
    assert contact_error(bounce(0.2, 40), target) == pytest.approx(0.4 * 0.2, rel=1e-6)
    assert contact_error(target, target) == 0
    # What touches nothing, or later, does not count.
    falling = bounce(0.6, 40, objects=2)
    falling[:, 1] = bounce(-1.0, 40)[:, 0] + 1.0
    wrong = falling.clone()
    wrong[:, 1] += 1.0
    assert contact_error(wrong, falling) == 0


def test_no_error_after_contact_without_a_contact_that_begins_in_time() -> None:
    free, resting = bounce(-1.0, 40), torch.zeros(40, 1, 2, 3)
    assert math.isnan(contact_error(free, free))
    assert math.isnan(contact_error(resting, resting))
    assert math.isnan(contact_error(bounce(0.6, 20), bounce(0.6, 20)))
    assert math.isnan(contact_error(bounce(0.6, 40), bounce(0.6, 40), pushed=True))
    assert math.isnan(contact_error(bounce(0.6, 3), bounce(0.6, 3)))
