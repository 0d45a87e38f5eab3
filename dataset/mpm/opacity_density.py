"""This module adds up how much opacity the Gaussians of an object put into each cell of a grid.

A cell's density is the sum of opacity * exp(-d^2 / 2) over the Gaussians within three standard deviations of its
centre, d being the distance in standard deviations. So that no Gaussian slips through between centres, deviations are
taken as half a cell at least.

The work is bounded whatever the covariances are. A Gaussian is summed row by row, and only over cells inside its
ellipsoid. One that would still take more than its share of the work is summed on a grid of cells twice, four times, ...
as wide, whose values are interpolated: large smooth Gaussians lose nothing, large thin ones become as thick as a cell
there.
"""

import math
from dataclasses import dataclass

import numpy as np
import warp as wp

from dataset.mpm import particle_filling_kernels as kernels
from gaussians.numbers import Vector

WORK = 2**31
"""Cells and rows that all Gaussians together may visit, unless each keeps to ``LEAST_WORK``."""
LEAST_WORK = 2**12
"""Cells and rows that every Gaussian may visit, however many there are."""
MOST_WORK = 2**16
"""Cells and rows that one Gaussian may visit at the most."""

_MARGIN = 1
_FLAT = 10.0
_HAZE = 0.25
_CLOSING = 2


@dataclass(frozen=True)
class CellGrid:
    """Places a grid of cubic cells.

    Attributes:
        origin: of the lower corner of cell (0, 0, 0), metres.
        size: side of a cell, metres.
        shape: number of cells along x, y, z.
    """

    origin: Vector
    size: float
    shape: tuple[int, int, int]

    def coarser(self) -> "CellGrid":
        """Return cells of twice the size, one more on each side: every finer centre lies between coarse ones."""
        x, y, z = (o - _MARGIN * 2 * self.size for o in self.origin)
        i, j, k = (math.ceil(n / 2) + 2 * _MARGIN for n in self.shape)
        return CellGrid((x, y, z), 2 * self.size, (i, j, k))


@dataclass(frozen=True)
class Ellipsoids:
    """Describes N Gaussians as ellipsoids along their own axes.

    Attributes:
        means: (N, 3), metres.
        scales: (N, 3), standard deviations, ascending, metres.
        axes: (N, 3, 3), the axes in the columns.
        opacities: (N,), 0 to 1.
    """

    means: np.ndarray
    scales: np.ndarray
    axes: np.ndarray
    opacities: np.ndarray

    @classmethod
    def of(cls, means: np.ndarray, covariances: np.ndarray, opacities: np.ndarray) -> "Ellipsoids":
        """Make ellipsoids of covariances (N, 6), metres^2; eigenvalues that rounding made negative become 0."""
        matrices = covariances.astype(np.float64)[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
        eigenvalues, axes = np.linalg.eigh(matrices)
        return cls(means.astype(np.float64), np.sqrt(np.maximum(eigenvalues, 0)), axes, opacities)

    def __getitem__(self, rows: np.ndarray) -> "Ellipsoids":
        return Ellipsoids(self.means[rows], self.scales[rows], self.axes[rows], self.opacities[rows])

    def __len__(self) -> int:
        return len(self.means)


@dataclass(frozen=True)
class GridSplats:
    """Describes N Gaussians for kernels of a grid; lengths are in cells, and cell i has its centre at i.

    Attributes:
        centers: (N, 3).
        whitening: (N, 3, 3), takes offsets to standard deviations along the own axes.
        low, high: (N, 3), first and last cell of the box around three deviations, within the grid.
        opacities: (N,).
        work: (N,), cells and rows that are visited, at most.
    """

    centers: np.ndarray
    whitening: np.ndarray
    low: np.ndarray
    high: np.ndarray
    opacities: np.ndarray
    work: np.ndarray

    @classmethod
    def of(cls, ellipsoids: Ellipsoids, grid: CellGrid) -> "GridSplats":
        # Beyond ten times the grid a Gaussian is flat within it; without an upper limit float32 could not hold it.
        scales = np.clip(ellipsoids.scales / grid.size, 0.5, _FLAT * max(grid.shape))
        whitening = ellipsoids.axes.transpose(0, 2, 1) / scales[:, :, None]
        extents = 3 * np.sqrt(((ellipsoids.axes * scales[:, None, :]) ** 2).sum(2))
        centers = (ellipsoids.means - grid.origin) / grid.size - 0.5
        shape = np.array(grid.shape)
        low = np.clip(np.ceil(centers - extents), 0, shape).astype(np.int32)
        high = np.clip(np.floor(centers + extents), -1, shape - 1).astype(np.int32)
        sides = np.maximum(high - low + 1, 0).astype(np.int64)
        # No chord along z is longer than the one through the centre.
        chords = 6 / np.linalg.norm(whitening[:, :, 2], axis=1)
        work = sides[:, 0] * sides[:, 1] * (1 + np.minimum(sides[:, 2], chords.astype(np.int64) + 1))
        return cls(centers, whitening, low, high, ellipsoids.opacities, work)

    def __getitem__(self, rows: np.ndarray) -> "GridSplats":
        return GridSplats(
            self.centers[rows],
            self.whitening[rows],
            self.low[rows],
            self.high[rows],
            self.opacities[rows],
            self.work[rows],
        )

    def __len__(self) -> int:
        return len(self.centers)


def without_haze(ellipsoids: Ellipsoids, grid: CellGrid) -> Ellipsoids:
    """Leave out haze: Gaussians without an axis shorter than a quarter of the grid's longest side."""
    return ellipsoids[ellipsoids.scales[:, 0] < _HAZE * grid.size * max(grid.shape)]


def levels(ellipsoids: Ellipsoids, grid: CellGrid) -> list[tuple[CellGrid, GridSplats]]:
    """Return ``grid`` and coarser ones, each with the Gaussians for which it is the finest they can afford."""
    share = min(max(WORK // max(len(ellipsoids), 1), LEAST_WORK), MOST_WORK)
    found = []
    while True:
        splats = GridSplats.of(ellipsoids, grid)
        fits = splats.work <= share
        found.append((grid, splats[fits]))
        if fits.all():
            return found
        ellipsoids, grid = ellipsoids[~fits], grid.coarser()


def opacity_density(ellipsoids: Ellipsoids, grid: CellGrid, device: str | wp.Device) -> wp.array:
    """Return the density of each cell, float32 of the grid's shape.

    Sums are of whole numbers, in steps of 2^-24, so that the order in which a GPU adds does not matter.
    """
    density = wp.empty((1, 1, 1), dtype=float, device=device)
    found = levels(ellipsoids, grid)
    for number, (level, splats) in reversed(list(enumerate(found))):
        sums = wp.zeros(level.shape, dtype=wp.int64, device=device)
        arrays: list[wp.array] = [
            wp.array(splats.centers, dtype=wp.vec3, device=device),
            wp.array(splats.whitening, dtype=wp.mat33, device=device),
            wp.array(splats.low, dtype=wp.vec3i, device=device),
            wp.array(splats.high, dtype=wp.vec3i, device=device),
            wp.array(splats.opacities, dtype=float, device=device),
        ]
        wp.launch(kernels.splat, len(splats), [*arrays, sums], device=device)
        finer = wp.empty(level.shape, dtype=float, device=device)
        is_coarsest = number == len(found) - 1
        wp.launch(kernels.add_coarser, level.shape, [sums, density, is_coarsest, finer], device=device)
        density = finer
    return density


def closed(density: wp.array) -> wp.array:
    """Return the closing by a cube of five cells (Serra 1982): smaller gaps take the density around them.

    Nothing gets thinner, and thresholds keep their meaning, other than with averages.
    """
    for sign in (1.0, -1.0):
        for axis in range(3):
            result = wp.empty(density.shape, dtype=float, device=density.device)
            arguments = [density, axis, _CLOSING, sign, result]
            wp.launch(kernels.extreme, density.shape, arguments, device=density.device)
            density = result
    return density
