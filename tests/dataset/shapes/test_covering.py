"""Gaussians that cover surfaces and fill bodies."""

import numpy as np
from scipy.spatial import cKDTree

from dataset.shapes.covering import SurfaceSamples, cover_surface
from dataset.shapes.fields import box
from dataset.shapes.solid import Part, Solid, solid_gaussians


def random_sphere(count: int, rng: np.random.Generator) -> SurfaceSamples:
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return SurfaceSamples(directions, directions, np.full((count, 3), 0.5), 4 * np.pi)


def test_a_covered_sphere_is_closed_even_and_flat() -> None:
    rng = np.random.default_rng(0)
    gaussians = cover_surface(random_sphere(11_000, rng), 1_000, 6, rng)
    assert len(gaussians) == 1_000
    means = gaussians.means.numpy()
    spacing = cKDTree(means).query(means, k=2)[0][:, 1]
    # Nearest neighbours are 0.120 m away in a hexagonal lattice of this density, and 0.056 +- 0.029 m at random.
    assert 0.085 < spacing.mean() < 0.12
    assert spacing.std() / spacing.mean() < 0.25
    thickness, width = gaussians.scales.sort(1).values[:, [0, 2]].T
    assert (thickness < 0.4 * width).float().mean() > 0.95


def test_a_body_far_inside_is_filled_evenly() -> None:
    solid = Solid([Part(box((0.2, 0.2, 0.2)), (0.5, 0.5, 0.5))])
    gaussians = solid_gaussians(solid, 4_000, np.random.default_rng(0))
    means = gaussians.means.numpy()
    inside = means[np.abs(means).max(1) < 0.17]
    assert len(inside) > 800
    probes = np.random.default_rng(1).uniform(-0.15, 0.15, (2_000, 3))
    # Spacing h and no hole larger than about one spacing: the farthest point of a cubic lattice is 0.87 h away.
    spacing = (0.34**3 / len(inside)) ** (1 / 3)
    assert cKDTree(inside).query(probes)[0].max() < 1.2 * spacing
