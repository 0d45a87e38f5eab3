"""This module covers densely sampled surfaces and volumes evenly with Gaussians.

Samples are grouped into as many cells as there are to be Gaussians, by Lloyd's algorithm (Lloyd 1982), and each
Gaussian takes the place, extent and colour of its cell. Distances between samples count colour and surface normal
too, so that no cell reaches across the edge of a pattern or of the body (as superpixels do: Achanta et al. 2012).
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from gaussians.covariance import scales_from_covariance
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh

SAMPLES_PER_CELL = 11
ITERATIONS = 6
# A colour difference of 1, or normals at right angles, count as much as this many spacings.
_COLOUR_WEIGHT = 1.2
_NORMAL_WEIGHT = 0.6
# Standard deviations of neighbours overlap by this factor over those of their cells: closed, and not yet blurred.
_OVERLAP = 1.8
_EDGE_DENSITY = 1.5
# Next to another colour, or over an edge, a Gaussian loses this share of its width.
_NARROWING = 0.35
_THICKNESS = 0.12
_MAX_WIDTH = 0.7
_INTERIOR_SIZE = 0.45
_OPACITY = 0.97


@dataclass(frozen=True)
class SurfaceSamples:
    """Holds even samples of a surface.

    Attributes:
        points: (M, 3), metres.
        normals: (M, 3), unit, outwards.
        colours: (M, 3), 0 to 1.
        area: area of the whole surface, metres^2.
    """

    points: np.ndarray
    normals: np.ndarray
    colours: np.ndarray
    area: float


def cover_surface(samples: SurfaceSamples, count: int, iterations: int, rng: np.random.Generator) -> Gaussians:
    """Return ``count`` opaque flat Gaussians that close the surface."""
    spacing = np.sqrt(samples.area / count)
    edges = _edges(samples, count, rng)
    extra = [samples.colours * (_COLOUR_WEIGHT * spacing), samples.normals * (_NORMAL_WEIGHT * spacing)]
    features = np.concatenate([samples.points, *extra], 1).astype(np.float32)
    cells = _group(features, count, iterations, rng, 1 + _EDGE_DENSITY * edges)
    means = _cell_means(samples.points, cells, count)
    covariances = _cell_covariances(samples.points - means[cells], cells, count) * _OVERLAP**2
    colours = _cell_means(samples.colours, cells, count)
    normals = _cell_means(samples.normals, cells, count)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    narrow = _narrowing(means, np.concatenate([colours, 0.5 * normals], 1))
    covariances = narrow @ covariances @ narrow
    covariances += (_THICKNESS * spacing) ** 2 * np.einsum("ni,nj->nij", normals, normals)
    covariances += (0.05 * spacing) ** 2 * np.eye(3)
    scales, quaternions = scales_from_covariance(torch.from_numpy(covariances[:, *np.triu_indices(3)]))
    # Cells that wrap a sharp rim are long; their Gaussians would stick out as hairs.
    return _opaque(means, colours, scales.clamp_max(_MAX_WIDTH * spacing), quaternions)


def fill_volume(
    points: np.ndarray, volume: float, count: int, surface: SurfaceSamples, rng: np.random.Generator
) -> Gaussians:
    """Return ``count`` round Gaussians evenly inside a body, coloured like the surface next to them.

    Args:
        points: (M, 3), even samples of the inside, metres.
        volume: volume of the inside, metres^3.
    """
    cells = _group(points.astype(np.float32), count, 6, rng)
    means = _cell_means(points, cells, count)
    distances, nearest = cKDTree(surface.points).query(means)
    # Gaussians next to the surface stay small enough not to show through it.
    sizes = np.minimum(_INTERIOR_SIZE * (volume / count) ** (1 / 3), distances / 2)
    scales = torch.from_numpy(np.repeat(np.maximum(sizes, 1e-4)[:, None], 3, 1))
    quaternions = torch.tensor([1.0, 0, 0, 0]).expand(count, 4)
    return _opaque(means, surface.colours[nearest], scales, quaternions)


def _opaque(means: np.ndarray, colours: np.ndarray, scales: torch.Tensor, quaternions: torch.Tensor) -> Gaussians:
    return Gaussians(
        means=torch.from_numpy(means).float(),
        opacities=torch.full((len(means),), _OPACITY),
        sh=rgb_to_sh(torch.from_numpy(colours).float().clamp(0, 1)),
        scales=scales.float(),
        quaternions=quaternions.float(),
    )


def _edges(samples: SurfaceSamples, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return how much colour varies around each sample, (M,), 0 to about 1: its spread in ``count`` random cells."""
    seeds = samples.points[rng.choice(len(samples.points), count, replace=False)]
    cells = cKDTree(seeds).query(samples.points)[1]
    spread = _cell_means(samples.colours**2, cells, count) - _cell_means(samples.colours, cells, count) ** 2
    return np.sqrt(spread.clip(0)).sum(1)[cells]


def _narrowing(means: np.ndarray, looks: np.ndarray) -> np.ndarray:
    """Return linear maps (N, 3, 3) that shrink Gaussians towards neighbours with other ``looks`` (N, D).

    They keep a colour from spilling over into another.
    """
    if len(means) == 1:
        return np.eye(3)[None]
    neighbours = cKDTree(means).query(means, k=range(2, min(8, len(means) + 1)))[1]
    contrast = np.linalg.norm(looks[neighbours] - looks[:, None], axis=2)
    directions = means[neighbours] - means[:, None]
    directions /= np.maximum(np.linalg.norm(directions, axis=2, keepdims=True), 1e-9)
    across = (contrast[..., None] * directions).sum(1)
    strength = np.clip(contrast.max(1) / 0.8, 0, 1)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    return np.eye(3) - (_NARROWING * strength)[:, None, None] * np.einsum("ni,nj->nij", across, across)


def _group(
    features: np.ndarray,
    count: int,
    iterations: int,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Return the cell (M,) of each sample; each of ``count`` cells has at least one.

    There are more cells where ``weights`` (M,) are larger.
    """
    chances = None if weights is None else weights / weights.sum()
    seeds = features[rng.choice(len(features), count, replace=False, p=chances)]
    for _ in range(iterations):
        cells = cKDTree(seeds).query(features)[1]
        sizes = np.bincount(cells, minlength=count)
        seeds = _cell_means(features, cells, count)
        seeds[sizes == 0] = features[rng.choice(len(features), (sizes == 0).sum(), replace=False)]
    cells = cKDTree(seeds).query(features)[1]
    sizes = np.bincount(cells, minlength=count)
    for empty in np.flatnonzero(sizes == 0):
        largest = sizes.argmax()
        moved = np.flatnonzero(cells == largest)[::2]
        cells[moved] = empty
        sizes[[largest, empty]] = sizes[largest] - len(moved), len(moved)
    return cells


def _cell_means(values: np.ndarray, cells: np.ndarray, count: int) -> np.ndarray:
    sizes = np.maximum(np.bincount(cells, minlength=count), 1)
    sums = [np.bincount(cells, column, count) for column in values.T]
    return np.stack(sums, 1) / sizes[:, None]


def _cell_covariances(offsets: np.ndarray, cells: np.ndarray, count: int) -> np.ndarray:
    """Return unbiased covariances (count, 3, 3) of ``offsets`` (M, 3) from the cells' means."""
    products = np.einsum("ni,nj->nij", offsets, offsets).reshape(-1, 9)
    sizes = np.bincount(cells, minlength=count)
    unbiased = sizes / np.maximum(sizes - 1, 1)
    return (_cell_means(products, cells, count) * unbiased[:, None]).reshape(-1, 3, 3)
