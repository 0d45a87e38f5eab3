"""Means over scenes and how sure they are: percentile bootstrap (Efron 1979), seeded."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

RESAMPLES = 5000
LEVEL = 0.95


class Estimate(NamedTuple):
    """A mean over scenes with the ends of its 95 % confidence interval; what is not known is None.

    Attributes:
        mean: over the scenes that have a value; infinite where one of them is.
        low, high: None for fewer than two scenes.
        scenes: how many those are.
    """

    mean: float | None
    low: float | None
    high: float | None
    scenes: int


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of one value a scene, NaN for scenes that have none."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not len(known):
        return Estimate(None, None, None, 0)
    if not np.isfinite(known).all():
        return Estimate(math.inf, None, None, len(known))
    if len(known) == 1:
        return Estimate(float(known[0]), None, None, 1)
    low, high = interval(known)
    return Estimate(float(known.mean()), float(low), float(high), len(known))


def interval(values: np.ndarray) -> np.ndarray:
    """Ends (2, ...) of the interval of the mean of ``values`` (n, ...) over the first axis."""
    means = np.tensordot(_weights(len(values)), values, 1)
    return np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)


@lru_cache(maxsize=8)
def _weights(count: int) -> np.ndarray:
    """(RESAMPLES, count): how often each of ``count`` values is drawn, over their number."""
    generator = np.random.default_rng(0)
    return generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count
