"""This module places objects in a scene at random so that none touch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

SPACE = 0.9
"""Each object's bounding sphere lies inside [-SPACE, SPACE]^3, metres."""
GAP = 0.05
"""Least distance between the point clouds of two objects, metres."""
NEAR = 0.1
"""With up to four objects, each is within this distance in x and in y of one placed before it, metres."""

_CANDIDATES = 1_000
_GAP_TESTS = 20
_RESTARTS = 20
# Rounding to a tenth of a millimetre keeps files readable, and equal wherever they are made.
_DECIMALS = 4


@dataclass(frozen=True)
class Body:
    """Holds an object's point cloud at its size in the scene.

    Attributes:
        points: (N, 3), metres.
        low, high: (3,), corners of the bounding box, metres.
        radius: radius of the bounding sphere about the box's centre, metres.
    """

    points: np.ndarray
    low: np.ndarray
    high: np.ndarray
    radius: float

    @staticmethod
    def of(points: np.ndarray) -> "Body":
        low, high = points.min(0), points.max(0)
        return Body(points, low, high, float(np.linalg.norm(points - (low + high) / 2, axis=1).max()))

    @property
    def size(self) -> np.ndarray:
        return self.high - self.low


def fits_at_origin(body: Body) -> bool:
    """Return whether the bounding sphere of a body that is not moved lies inside [-SPACE, SPACE]^3."""
    return bool(np.all(np.abs(body.low + body.high) / 2 + body.radius <= SPACE))


def place(bodies: Sequence[Body], rng: np.random.Generator, floor: float | None = None) -> np.ndarray | None:
    """Draw translations (K, 3), metres, of K bodies; None where a bounded number of tries finds none.

    The first body stays at the origin, or stands on a ``floor`` at that height, metres, below all others. Each next one
    is near one placed before: in x and y within 0.1 m, or among five and more within half of their summed widths; its
    height is uniform in the space.
    """
    for _ in range(_RESTARTS):
        translations = _try_placing(bodies, rng, floor)
        if translations is not None:
            return translations
    return None


def _try_placing(bodies: Sequence[Body], rng: np.random.Generator, floor: float | None) -> np.ndarray | None:
    first = 0.0 if floor is None else floor - bodies[0].low[2]
    translations = np.array([[0.0, 0.0, first]]).round(_DECIMALS)
    trees = [cKDTree(bodies[0].points)]
    for index, body in enumerate(bodies[1:], 1):
        before = bodies[:index]
        near = rng.integers(index, size=_CANDIDATES)
        reach = np.full((_CANDIDATES, 2), NEAR)
        if len(bodies) > 4:
            reach = np.stack([(other.size + body.size)[:2] / 2 for other in before])[near]
        candidates = np.empty((_CANDIDATES, 3))
        candidates[:, :2] = translations[near, :2] + reach * rng.uniform(-1, 1, (_CANDIDATES, 2))
        candidates[:, 2] = rng.uniform(-SPACE, SPACE, _CANDIDATES)
        candidates = candidates.round(_DECIMALS)
        if floor is not None:
            candidates = candidates[candidates[:, 2] + body.low[2] >= floor]
        candidates = candidates[_free(body, candidates, before, translations)]
        chosen = next((c for c in candidates[:_GAP_TESTS] if _has_gap(body, c, before, translations, trees)), None)
        if chosen is None:
            return None
        translations = np.concatenate([translations, chosen[None]])
        trees.append(cKDTree(body.points))
    return translations


def _free(body: Body, candidates: np.ndarray, before: Sequence[Body], translations: np.ndarray) -> np.ndarray:
    """Return which of M translations keep a body inside the space and its box clear of the other boxes: (M,) bool."""
    centers = (body.low + body.high) / 2 + candidates
    free = (np.abs(centers) + body.radius <= SPACE).all(1)
    for other, translation in zip(before, translations, strict=True):
        overlaps = (candidates + body.low <= translation + other.high) & (
            candidates + body.high >= translation + other.low
        )
        free &= ~overlaps.all(1)
    return free


def _has_gap(
    body: Body, candidate: np.ndarray, before: Sequence[Body], translations: np.ndarray, trees: Sequence[cKDTree]
) -> bool:
    for other, translation, tree in zip(before, translations, trees, strict=True):
        points = body.points + (candidate - translation)
        close = points[((points >= other.low - GAP) & (points <= other.high + GAP)).all(1)]
        if len(close) and np.isfinite(tree.query(close, distance_upper_bound=GAP)[0]).any():
            return False
    return True
