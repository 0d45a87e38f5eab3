"""This module draws even random samples of the surface and the inside of a signed distance field."""

import numpy as np

from dataset.shapes.fields import Field

_GRID = 32
_GRADIENT_STEP = 1e-4
# How far from the surface samples start, and how far from it a cell that has some can be, as shares of a cell's size.
_BAND = 0.35
_NEAR = 1.3


class FieldSampler:
    """Draws samples of one field, whose body lies inside [-reach, reach]^3, metres.

    A coarse grid tells where to look; samples that start within a thin band around the surface, which has the same
    thickness everywhere, are even on it once they are moved there along the gradient.
    """

    def __init__(self, field: Field, reach: float, rng: np.random.Generator) -> None:
        self._field = field
        self._rng = rng
        self._size = 2 * reach / _GRID
        line = (np.arange(_GRID) + 0.5) * self._size - reach
        centers = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
        values = field(centers)
        self._near = centers[np.abs(values) < _NEAR * self._size]
        self._touched = centers[values < _NEAR * self._size]
        if not len(self._near):
            raise ValueError(f"the field has no surface inside [-{reach}, {reach}]^3")

    def area_and_volume(self) -> tuple[float, float]:
        """Estimate the area, metres^2, and the volume, metres^3, of the body."""
        points = self._jittered(self._touched, np.repeat(np.arange(len(self._touched)), 3))
        values = self._field(points)
        total = len(self._touched) * self._size**3
        band = _BAND * self._size
        return float((np.abs(values) < band).mean() * total / (2 * band)), float((values < 0).mean() * total)

    def surface(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw points (count, 3) of the surface, and return them with its unit normals (count, 3) there."""
        band = _BAND * self._size
        points, normals = np.empty((0, 3)), np.empty((0, 3))
        while len(points) < count:
            draw = self._rng.integers(len(self._near), size=4 * (count - len(points)) + 256)
            starts = self._jittered(self._near, draw)
            values = self._field(starts)
            close = np.abs(values) < 1.3 * band
            starts, values = starts[close], values[close]
            gradients = _gradient(self._field, starts)
            slopes = np.maximum(np.linalg.norm(gradients, axis=1), 0.2)
            distances, directions = values / slopes, gradients / slopes[:, None]
            inside = np.abs(distances) < band
            directions = directions[inside]
            landed = starts[inside] - distances[inside, None] * directions
            landed -= self._field(landed)[:, None] * directions
            points, normals = np.concatenate([points, landed]), np.concatenate([normals, directions])
        normals = normals[:count] / np.linalg.norm(normals[:count], axis=1, keepdims=True).clip(1e-9)
        return points[:count], normals

    def interior(self, count: int, depth: float) -> tuple[np.ndarray, float]:
        """Draw points (count, 3) ``depth`` metres or more below the surface, and estimate the volume there, metres^3.

        Where the body is too thin for ``depth``, half of the greatest depth takes its place.
        """
        cells = self._touched
        found: list[np.ndarray] = []
        total = tried = 0
        while total < count:
            draw = self._rng.integers(len(cells), size=3 * (count - total) + 1_000)
            points = self._jittered(cells, draw)
            values = self._field(points)
            depth = min(depth, -0.5 * values.min())
            found.append(points[values < -depth])
            total, tried = total + len(found[-1]), tried + len(draw)
        return np.concatenate(found)[:count], total / tried * len(cells) * self._size**3

    def _jittered(self, cells: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return cells[rows] + (self._rng.random((len(rows), 3)) - 0.5) * self._size


def _gradient(field: Field, points: np.ndarray) -> np.ndarray:
    """Return gradients from differences on the corners of a tetrahedron: four evaluations instead of six."""
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    values = [field(points + corner * _GRADIENT_STEP) for corner in corners]
    return np.stack(values, 1) @ corners / (4 * _GRADIENT_STEP)
