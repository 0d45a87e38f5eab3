"""Store unit quaternions as the three smallest of their four numbers: the largest follows from the length."""

import numpy as np


def smallest_three(quaternions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the three smaller numbers (N, 3) in their order, and which of four the largest is (N,).

    The sign of a quaternion is free: it is chosen so that the largest number is positive.

    Args:
        quaternions: (N, 4), non-zero, in any order of components.
    """
    unit = quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
    largest = np.abs(unit).argmax(1)
    rows = np.arange(len(unit))
    unit = unit * np.where(unit[rows, largest] < 0, -1.0, 1.0)[:, None]
    others = np.ones(unit.shape, bool)
    others[rows, largest] = False
    return unit[others].reshape(-1, 3), largest


def from_smallest_three(smaller: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Return the quaternions (N, 4) of their three smaller numbers (N, 3) and the place of the largest (N,), 0 to 3."""
    rest = np.sqrt(np.maximum(1 - (smaller**2).sum(1), 0))
    quaternions = np.empty((len(smaller), 4))
    others = np.arange(4) != largest[:, None]
    quaternions[others] = smaller.ravel()
    quaternions[~others] = rest
    return quaternions
