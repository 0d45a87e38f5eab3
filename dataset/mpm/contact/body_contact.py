"""This module holds what a model knows of contact: which particles are a body, and how bodies rub."""

from dataclasses import dataclass

import numpy as np

from gaussians.stage.shape_checks import check_shape

MOST_BODIES = 31
"""Most bodies of a model: kernels list those of a block in the bits of an int."""
# Enough particles of a body for the median of their distances.
_SAMPLE = 5000


@dataclass(frozen=True)
class BodyContact:
    """Describes K bodies that each have a velocity field of their own, and their friction; ``create`` makes it.

    Attributes:
        body: (N,) int, the body of each particle, 0 to K - 1.
        friction: (K, K), Coulomb's coefficient of each pair.
        spacing: (K,), metres, the distance of neighbouring particles in each body.
    """

    body: np.ndarray
    friction: np.ndarray
    spacing: np.ndarray

    @classmethod
    def create(cls, positions: np.ndarray, body: np.ndarray, friction: float | np.ndarray) -> "BodyContact":
        """Measure bodies at their start.

        Args:
            positions: (N, 3), metres.
            body: (N,) int, the body of each particle, 0 to K - 1.
            friction: Coulomb's coefficient of all pairs, or (K, K) of each.

        Raises:
            ValueError: arrays of other lengths, a body of another number, or more than ``MOST_BODIES`` of them.
        """
        check_shape("positions", positions, len(body), 3)
        count = int(body.max()) + 1
        if body.min() < 0 or count > MOST_BODIES:
            raise ValueError(f"body: expected numbers from 0 to {MOST_BODIES - 1}, found {body.min()} to {body.max()}")
        friction = np.broadcast_to(np.asarray(friction, np.float64), (count, count))
        spacing = np.array([_spacing(positions[body == k]) for k in range(count)])
        return cls(body, friction, spacing)

    @property
    def bodies(self) -> int:
        """Return K, the number of bodies."""
        return len(self.spacing)


def _spacing(positions: np.ndarray) -> float:
    """Return the median distance to the nearest other particle, metres; 0 for less than two."""
    from scipy.spatial import KDTree  # slow to import

    if len(positions) < 2:
        return 0.0
    chosen = positions[:: max(1, len(positions) // _SAMPLE)]
    distances, _ = KDTree(positions).query(chosen, k=2)
    return float(np.median(distances[:, 1]))
