"""Summarize results on sets of scenes: means, and how sure they are (percentile bootstrap, Efron 1979, seeded)."""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from dynamic_models.evaluation.measurements import METRICS, Result
from dynamic_models.evaluation.settings import SceneSet

RESAMPLES = 5000
LEVEL = 0.95


class Estimate(NamedTuple):
    """An ``Estimate`` is a mean over scenes with the ends of its 95 % confidence interval; None stands for unknown.

    Attributes:
        mean: mean over the scenes that have a value; infinite where one of the values is.
        low, high: the ends of the interval; None for fewer than two scenes.
        scenes: how many scenes have a value.
    """

    mean: float | None
    low: float | None
    high: float | None
    scenes: int


def estimate(values: Sequence[float]) -> Estimate:
    """Return mean and interval of one value a scene, NaN for scenes that have none."""
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
    """Return the ends (2, ...) of the interval of the mean of ``values`` (n, ...) over the first axis."""
    means = np.tensordot(_weights(len(values)), values, 1)
    return np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)


@lru_cache(maxsize=8)
def _weights(count: int) -> np.ndarray:
    """Return how often each of ``count`` values is drawn, over their number, (RESAMPLES, count)."""
    generator = np.random.default_rng(0)
    return generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count


def of_set(results: Iterable[Result], scene_set: SceneSet, contender: str) -> list[Result]:
    """Return the results of one contender on the scenes of a set, in order."""
    return [
        r for r in results if r.contender == contender and r.group in scene_set.groups and r.frames == scene_set.frames
    ]


def summarize(results: Sequence[Result], scene_set: SceneSet, contender: str, reference: str) -> dict[str, Any]:
    """Estimate all metrics of one contender on a set.

    Returns:
        By name: an ``Estimate`` of each of ``METRICS``, and of ``rmse_difference``, by how much the RMSE is larger than
        that of ``reference`` on the same scenes; ``wins``, on how many scenes it is smaller; ``diverged``, the scenes
        on which it is not finite; ``over_time``, mean, low and high (T,) of the error over time, metres; and
        ``horizons``, an ``Estimate`` of each of ``ERRORS`` and ``LATER`` over the first so many frames.
    """
    own, others = of_set(results, scene_set, contender), of_set(results, scene_set, reference)
    values = {key: [result.metrics[key] for result in own] for key in METRICS}
    pairs = [(a.metrics["rmse"], b.metrics["rmse"]) for a, b in zip(own, others, strict=True)]
    summary: dict[str, Any] = {key: estimate(value) for key, value in values.items()}
    summary["rmse_difference"] = _paired(pairs)
    summary["wins"] = sum(a < b for a, b in pairs)
    summary["diverged"] = [result.scene for result in own if math.isinf(result.metrics["rmse"])]
    summary["over_time"] = _over_time([result.over_time for result in own if not result.over_time.isnan().any()])
    summary["horizons"] = {
        horizon: {key: estimate([result.horizons[horizon][key] for result in own]) for key in errors}
        for horizon, errors in (own[0].horizons.items() if own else ())
    }
    return summary


def _paired(pairs: Sequence[tuple[float, float]]) -> Estimate:
    return estimate([math.nan if math.isinf(b) else a - b for a, b in pairs])


def _over_time(errors: Sequence[torch.Tensor]) -> list[list[float]] | None:
    """Return mean, low and high, metres; without an interval the mean three times."""
    if not errors:
        return None
    stacked = torch.stack(list(errors)).numpy()
    mean = stacked.mean(0)
    low, high = interval(stacked) if len(stacked) > 1 else (mean, mean)
    return [[round(float(value), 6) for value in values] for values in (mean, low, high)]


def ranked(results: Sequence[Result], scene_set: SceneSet, contender: str) -> dict[str, Result]:
    """Return ``best``, ``median`` and ``worst`` of one contender's results on a set, by RMSE; fewer of few scenes."""
    ordered = sorted(of_set(results, scene_set, contender), key=lambda result: result.metrics["rmse"])
    places = {"best": 0, "median": (len(ordered) - 1) // 2, "worst": len(ordered) - 1}
    if len(ordered) < 3:
        del places["median"]
    return {name: ordered[place] for name, place in places.items() if place or name == "best"}
