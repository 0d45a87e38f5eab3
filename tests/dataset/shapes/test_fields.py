"""Signed distance fields."""

import numpy as np
import pytest

from dataset.shapes.fields import box, capsule, sphere, union


def test_fields_are_distances() -> None:
    """Known distances: outside, on and inside of a box, a tapered stick and a union."""
    points = np.array([[0.5, 0, 0], [0.3, 0, 0], [0, 0, 0], [0.4, 0.5, 0]])
    assert box((0.3, 0.4, 0.5))(points) == pytest.approx([0.2, 0.0, -0.3, np.hypot(0.1, 0.1)])
    stick = capsule((0, 0, 0), (0, 0, 1), 0.1, 0.3)
    assert stick(np.array([[0.5, 0, 0], [0.5, 0, 1], [0.5, 0, 0.5]])) == pytest.approx([0.4, 0.2, 0.3])
    both = union(sphere(0.1), sphere(0.1, (1, 0, 0)))
    assert both(np.array([[0.5, 0, 0], [1, 0, 0]])) == pytest.approx([0.4, -0.1])
