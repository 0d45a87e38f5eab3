import math

import pytest
import torch

from dynamic_models.evaluation.ensembles import ensemble_errors
from dynamic_models.evaluation.metrics import trajectory_errors

MASK = torch.tensor([[True, True, False]])


def motions(*offsets: float) -> torch.Tensor:
    """Motions (n, 4, 1, 3, 3) that are so many metres from 0 along a diagonal; what is masked is far off."""
    moved = torch.tensor(offsets)[:, None, None, None, None] / math.sqrt(3) * torch.ones(1, 4, 1, 3, 3)
    return torch.where(MASK[..., None], moved, 9.0)


def test_rollouts_that_are_the_same_have_the_error_of_one() -> None:
    predicted, target = motions(0.3, 0.3, 0.3), motions(0.0)[0]
    found = ensemble_errors(predicted, target, MASK)
    assert found.best_rmse == pytest.approx(0.3)
    assert found.energy_score == pytest.approx(trajectory_errors(predicted[0], target, MASK).rmse)


def test_errors_of_an_ensemble_by_hand() -> None:
    """Distances from the truth 1, 2 and 4; from each other 1, 5 and 6, of which half of the mean is 2."""
    found = ensemble_errors(motions(1.0, 2.0, -4.0), motions(0.0)[0], MASK)
    assert found.best_rmse == pytest.approx(1.0)
    assert found.energy_score == pytest.approx(7 / 3 - 2)


def test_the_ensemble_of_what_can_happen_scores_best() -> None:
    """Outcomes are standard normal; ensembles of that width, of half and of twice the width, from the same numbers."""
    draws = torch.randn(400, 11, generator=torch.Generator().manual_seed(0))
    scores = []
    for width in (0.5, 1.0, 2.0):
        found = [
            ensemble_errors(motions(*(width * row[1:]).tolist()), motions(float(row[0]))[0], MASK) for row in draws
        ]
        scores.append(sum(each.energy_score for each in found) / len(found))
        expected = math.sqrt(2 / math.pi) * (
            math.sqrt(1 + width**2) - width / math.sqrt(2)
        )  # E|wX - Y| - E|wX - wX'|/2
        assert scores[-1] == pytest.approx(expected, rel=0.1)  # two standard errors
    assert scores[1] < min(scores[0], scores[2])
