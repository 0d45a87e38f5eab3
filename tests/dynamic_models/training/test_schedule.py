from itertools import pairwise

import pytest

from dynamic_models.training.schedule import learning_rate, window_length


def test_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(1e-3, 1e-4, done / 1000) for done in range(1001)]
    peak = rates.index(max(rates))
    assert peak == 20
    assert rates[peak] == pytest.approx(1e-3)
    assert 0 < rates[0] < rates[1]
    assert all(a >= b for a, b in pairwise(rates[20:]))
    assert rates[510] == pytest.approx((1e-3 + 1e-4) / 2)  # half of the cosine
    assert rates[-1] == pytest.approx(1e-4)
    assert learning_rate(1e-3, 1e-4, 1.2) == pytest.approx(1e-4)


def test_windows_grow_to_full_length_by_half_of_the_training() -> None:
    assert [window_length(8, 40, done) for done in (0, 0.25, 0.5, 1)] == [8, 24, 40, 40]
    assert window_length(40, 40, 0) == 40
