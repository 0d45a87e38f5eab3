"""Random points on and in bodies."""

import numpy as np
import pytest

from dataset.shapes.fields import sphere, torus
from dataset.shapes.sampling import FieldSampler


def test_samples_of_a_sphere_and_a_torus_are_even_and_on_the_surface() -> None:
    for field, area, volume in [
        (sphere(0.3), 4 * np.pi * 0.09, 4 / 3 * np.pi * 0.027),
        (torus(0.25, 0.1), 4 * np.pi**2 * 0.025, 2 * np.pi**2 * 0.25 * 0.01),
    ]:
        sampler = FieldSampler(field, 0.4, np.random.default_rng(0))
        points, normals = sampler.surface(40_000)
        assert np.abs(field(points)).max() < 1e-6
        # Ten thousands of samples: the estimates' standard error is under 1 %.
        assert sampler.area_and_volume() == pytest.approx((area, volume), rel=0.04)
        # On a torus evenly covered, the share outside the circle of the tube's centres is 1/2 + r / (pi R).
        if volume < 0.06:
            outside = (np.hypot(points[:, 0], points[:, 1]) > 0.25).mean()
            assert outside == pytest.approx(0.5 + 0.1 / (np.pi * 0.25), abs=0.01)
        steps = field(points + 1e-3 * normals)
        assert steps == pytest.approx(1e-3, rel=1e-2)
