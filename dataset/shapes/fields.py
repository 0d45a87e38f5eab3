"""This module provides signed distance fields: primitives, and ways to combine them.

A field maps points (N, 3) to distances (N,), metres, negative inside. Fields that are only bounds of the distance
(ellipsoids, smooth unions) are close to it near the surface, which is where they are used.
Formulas after Quilez, "Distance functions" (2013).
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial import cKDTree

Field = Callable[[np.ndarray], np.ndarray]
Point = Sequence[float]

ORIGIN = (0.0, 0.0, 0.0)


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))


def sphere(radius: float, center: Point = ORIGIN) -> Field:
    return lambda points: _length(points - np.asarray(center)) - radius


def ellipsoid(radii: Point, center: Point = ORIGIN) -> Field:
    r = np.asarray(radii)

    def distance(points: np.ndarray) -> np.ndarray:
        p = points - np.asarray(center)
        near = _length(p / r)
        return near * (near - 1) / np.maximum(_length(p / r**2), 1e-9)

    return distance


def capsule(start: Point, end: Point, radius: float, end_radius: float | None = None) -> Field:
    """Return a rounded stick from ``start`` to ``end``, tapered to ``end_radius``."""
    a, axis = np.asarray(start), np.asarray(end) - np.asarray(start)
    growth = 0.0 if end_radius is None else end_radius - radius

    def distance(points: np.ndarray) -> np.ndarray:
        p = points - a
        along = np.clip(p @ axis / (axis @ axis), 0, 1)
        return _length(p - along[:, None] * axis) - radius - growth * along

    return distance


def box(half: Point, rounding: float = 0.0, center: Point = ORIGIN) -> Field:
    """Return a box of half extents ``half``; its edges are rounded within them."""
    inner = np.asarray(half) - rounding

    def distance(points: np.ndarray) -> np.ndarray:
        return _from_components(np.abs(points - np.asarray(center)) - inner) - rounding

    return distance


def cylinder(radius: float, half_height: float, rounding: float = 0.0, center: Point = ORIGIN) -> Field:
    """Return an upright cylinder."""

    def distance(points: np.ndarray) -> np.ndarray:
        p = points - np.asarray(center)
        q = np.stack([np.hypot(p[:, 0], p[:, 1]) - radius, np.abs(p[:, 2]) - half_height], 1) + rounding
        return _from_components(q) - rounding

    return distance


def torus(radius: float, thickness: float, center: Point = ORIGIN) -> Field:
    """Return a ring that lies flat; ``thickness`` is the radius of its tube."""

    def distance(points: np.ndarray) -> np.ndarray:
        p = points - np.asarray(center)
        return np.hypot(np.hypot(p[:, 0], p[:, 1]) - radius, p[:, 2]) - thickness

    return distance


def polygon(corners: Sequence[tuple[float, float]]) -> Callable[[np.ndarray], np.ndarray]:
    """Return the signed distance (N,) of points (N, 2) to a closed polygon."""
    a = np.asarray(corners)
    b = np.roll(a, -1, 0)

    def distance(points: np.ndarray) -> np.ndarray:
        nearest = np.full(len(points), np.inf)
        inside = np.zeros(len(points), bool)
        for start, end in zip(a, b, strict=True):
            edge, p = end - start, points - start
            along = np.clip(p @ edge / (edge @ edge), 0, 1)
            nearest = np.minimum(nearest, ((p - along[:, None] * edge) ** 2).sum(1))
            crosses = (start[1] > points[:, 1]) != (end[1] > points[:, 1])
            if edge[1]:
                inside ^= crosses & (p[:, 0] < edge[0] * p[:, 1] / edge[1])
        return np.where(inside, -1, 1) * np.sqrt(nearest)

    return distance


def revolved(corners: Sequence[tuple[float, float]], rounding: float = 0.0) -> Field:
    """Return a polygon of (radius, z) turned about the z axis, grown by ``rounding``."""
    outline = polygon(corners)
    return lambda points: outline(np.stack([np.hypot(points[:, 0], points[:, 1]), points[:, 2]], 1)) - rounding


def extruded(corners: Sequence[tuple[float, float]], half_thickness: float, rounding: float = 0.0) -> Field:
    """Return a polygon in (x, z), thickened along y; edges are rounded within the given extents."""
    outline = polygon(corners)

    def distance(points: np.ndarray) -> np.ndarray:
        q = np.stack([outline(points[:, [0, 2]]), np.abs(points[:, 1]) - half_thickness], 1) + rounding
        return _from_components(q) - rounding

    return distance


def tube(curve: np.ndarray, radius: float) -> Field:
    """Return a tube of ``radius`` around densely sampled curves (M, 3); farther than 3 radii away it is constant."""
    tree = cKDTree(curve)
    return lambda points: np.minimum(tree.query(points, distance_upper_bound=3 * radius)[0], 3 * radius) - radius


def _from_components(q: np.ndarray) -> np.ndarray:
    return _length(np.maximum(q, 0)) + np.minimum(q.max(1), 0)


def moved(field: Field, offset: Point) -> Field:
    return lambda points: field(points - np.asarray(offset))


def turned(field: Field, axis: int, degrees: float, about: Point = ORIGIN) -> Field:
    """Return ``field`` rotated about the axis 0, 1 or 2 through the point ``about``."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return lambda points: field((points - np.asarray(about)) @ rotation + np.asarray(about))


def mirrored(field: Field) -> Field:
    """Return a field that is ``field`` at x >= 0 and its mirror image at x < 0."""
    return lambda points: field(np.abs(points) * [1, 0, 0] + points * [0, 1, 1])


def union(*fields: Field) -> Field:
    return lambda points: np.min([field(points) for field in fields], axis=0)


def intersection(*fields: Field) -> Field:
    return lambda points: np.max([field(points) for field in fields], axis=0)


def complement(field: Field) -> Field:
    return lambda points: -field(points)


def subtracted(field: Field, hole: Field) -> Field:
    return intersection(field, complement(hole))


def smooth_union(blend: float, *fields: Field) -> Field:
    """Return a union with fillets about as wide as ``blend``."""

    def distance(points: np.ndarray) -> np.ndarray:
        result = fields[0](points)
        for field in fields[1:]:
            other = field(points)
            overlap = np.maximum(blend - np.abs(result - other), 0)
            result = np.minimum(result, other) - overlap**2 / (4 * blend)
        return result

    return distance
