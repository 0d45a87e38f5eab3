"""Density of Gaussians in cells, against its definition and against bounds of its work."""

import math

import numpy as np
import pytest

from dataset.mpm import opacity_density as od
from tests.dataset.mpm.clouds import Cloud, random_cloud, together


def exact_density(gaussians: Cloud, grid: od.CellGrid) -> np.ndarray:
    """Every Gaussian at every cell, as the definition says."""
    ellipsoids = od.Ellipsoids.of(*gaussians[:3])
    scales = np.maximum(ellipsoids.scales, grid.size / 2)
    axes = [o + (np.arange(n) + 0.5) * grid.size for o, n in zip(grid.origin, grid.shape, strict=True)]
    centers = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    total = np.zeros(grid.shape)
    for mean, scale, own, opacity in zip(ellipsoids.means, scales, ellipsoids.axes, ellipsoids.opacities, strict=True):
        squared = (((centers - mean) @ own / scale) ** 2).sum(-1)
        total += np.where(squared < 9, opacity * np.exp(-0.5 * squared), 0)
    return total


def density(gaussians: Cloud, grid: od.CellGrid, device: str = "cpu") -> np.ndarray:
    return od.opacity_density(od.Ellipsoids.of(*gaussians[:3]), grid, device).numpy()


@pytest.mark.parametrize("scales", [(0.05, 0.05, 0.05), (0.0, 0.01, 0.2), (0.0, 0.1, 0.1)])
def test_density_is_the_sum_of_the_gaussians(scales: tuple[float, float, float]) -> None:
    grid = od.CellGrid((-0.5, -0.4, -0.3), 0.03, (30, 28, 25))
    gaussians = random_cloud(30, scales, np.random.default_rng(0))
    found, expected = density(gaussians, grid), exact_density(gaussians, grid)
    # A cell at just three deviations may count on one side only, with up to e^-4.5 = 0.011 of an opacity.
    difference = np.abs(found - expected)
    assert (difference > 1e-5).mean() < 1e-4
    assert difference.max() < 0.011
    assert expected.max() > 0.8


def test_large_smooth_gaussians_lose_nothing_on_coarse_cells() -> None:
    grid = od.CellGrid((-0.5, -0.5, -0.5), 0.01, (100, 100, 100))
    gaussians = random_cloud(4, (0.2, 0.25, 0.3), np.random.default_rng(1))
    found = od.levels(od.Ellipsoids.of(*gaussians[:3]), grid)
    assert [len(splats) for _level, splats in found[:-1]] == [0] * (len(found) - 1)
    assert found[-1][0].size == 0.04
    difference = np.abs(density(gaussians, grid) - exact_density(gaussians, grid))
    # Linear interpolation between centres h apart is off by at most h^2 / 8 of the second derivative along each axis,
    # together by 3 / 8 (0.04 / 0.2)^2 = 0.015 of an opacity; at the rim, cut off at e^-4.5, by 0.011.
    assert difference.max() < 4 * 0.015
    assert difference.mean() < 5e-3


def work(gaussians: Cloud, grid: od.CellGrid) -> int:
    return sum(int(splats.work.sum()) for _level, splats in od.levels(od.Ellipsoids.of(*gaussians[:3]), grid))


@pytest.mark.parametrize(
    "scales",
    [(1e-6, 1e-6, 1.0), (0.0, 0.5, 0.5), (0.3, 0.3, 0.3), (0.0, 0.0, 0.0), (1e-12, 1e6, 1e15)],
    ids=["needle", "disc", "ball", "point", "huge"],
)
def test_work_and_memory_are_bounded(scales: tuple[float, float, float]) -> None:
    grid = od.CellGrid((-0.5, -0.5, -0.5), 0.0025, (400, 400, 400))
    gaussians = random_cloud(2000, scales, np.random.default_rng(2))
    # Each over all the grid would be 1.3e11.
    assert work(gaussians, grid) <= 2000 * od.MOST_WORK <= od.WORK
    many = together(*[gaussians] * 40)
    assert work(many, grid) <= max(od.WORK, len(many[0]) * od.LEAST_WORK)
    sizes = [math.prod(level.shape) for level, _splats in od.levels(od.Ellipsoids.of(*gaussians[:3]), grid)]
    # 1/8 of the cells each time, and a margin.
    assert sum(sizes) < 1.25 * sizes[0]


def test_work_counts_every_cell_that_is_visited() -> None:
    grid = od.CellGrid((-0.5, -0.5, -0.5), 0.04, (25, 25, 25))
    rng = np.random.default_rng(3)
    i, j, k = np.indices(grid.shape)
    cells = np.stack([i, j, k], -1)
    for scales in ((0.0, 0.0, 0.3), (0.02, 0.1, 0.1), (0.1, 0.1, 0.1)):
        gaussians = random_cloud(20, scales, rng)
        splats = od.GridSplats.of(od.Ellipsoids.of(*gaussians[:3]), grid)
        for n in range(len(splats)):
            inside = (((cells - splats.centers[n]) @ splats.whitening[n].T) ** 2).sum(-1) < 9
            rows = np.prod((splats.high[n] - splats.low[n] + 1)[:2])
            box = tuple(slice(low, high + 1) for low, high in zip(splats.low[n], splats.high[n], strict=True))
            assert inside[box].sum() == inside.sum()
            assert inside.sum() + rows <= splats.work[n]
