import math

import torch

from dynamic_models.evaluation.metrics import correlation, mean_squared_error, trajectory_errors


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
