import math

import numpy as np
import pytest

from dynamic_models.evaluation.statistics import Estimate, estimate, interval


def test_means_of_two_values() -> None:
    """Draws of two give 0, 1/2 and 1 with probabilities 1/4, 1/2 and 1/4: the interval is all of it."""
    assert estimate([0.0, 1.0]) == Estimate(0.5, 0.0, 1.0, 2)


def test_large_samples_are_normal() -> None:
    values = np.random.default_rng(1).exponential(size=400)
    found = estimate(values.tolist())
    error = values.std() / math.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    # 5000 resamples know a quantile to about 0.04 standard errors; skewness shifts both ends up by as much.
    assert (np.array([found.low, found.high]) - values.mean()) / error == pytest.approx([-1.96, 1.96], abs=0.12)


def test_scenes_without_a_value_are_left_out() -> None:
    assert estimate([math.nan, 2.0]) == Estimate(2.0, None, None, 1)
    assert estimate([math.nan]) == Estimate(None, None, None, 0)
    assert estimate([1.0, 1.0, math.nan, 1.0]) == Estimate(1.0, 1.0, 1.0, 3)


def test_no_mean_hides_a_scene_that_diverged() -> None:
    assert estimate([1.0, math.inf, math.nan]) == Estimate(math.inf, None, None, 2)


def test_intervals_of_many_columns_are_those_of_each() -> None:
    values = np.random.default_rng(0).normal(size=(7, 3))
    low, high = interval(values)
    for column in range(3):
        found = estimate(values[:, column].tolist())
        assert (found.low, found.high) == pytest.approx((low[column], high[column]))
