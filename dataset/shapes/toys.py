"""This module models balls and ducks: lengths in metres, z up, faces towards -y."""

from itertools import product

import numpy as np

from dataset.shapes.fields import Field, capsule, cylinder, ellipsoid, mirrored, moved, sphere, turned, union
from dataset.shapes.patterns import choose
from dataset.shapes.solid import Part, Solid

BLACK = (0.07, 0.07, 0.08)
WHITE = (0.96, 0.96, 0.95)


def ball() -> Solid:
    """Return a Poké Ball: red above, white below, a black band and a button."""
    radius = 0.21
    button = turned(cylinder(0.052, 0.02, 0.008), 0, 90)

    def halves(points: np.ndarray) -> np.ndarray:
        return choose(points[:, 2] > 0, (0.89, 0.09, 0.10), WHITE)

    return Solid(
        extent=0.42,
        parts=[Part(sphere(radius), halves), Part(moved(button, (0, -radius + 0.005, 0)), WHITE)],
        paints=[
            Part(lambda points: np.abs(points[:, 2]) - 0.018, BLACK),
            Part(_around_front(0.062), BLACK),
            Part(_around_front(0.042), WHITE),
            Part(lambda points: np.abs(_front_radius(points) - 0.026) - 0.003, (0.6, 0.6, 0.62)),
        ],
        gloss=0.55,
    )


def _front_radius(points: np.ndarray) -> np.ndarray:
    return np.where(points[:, 1] < 0, np.hypot(points[:, 0], points[:, 2]), np.inf)


def _around_front(radius: float) -> Field:
    return lambda points: _front_radius(points) - radius


def soccer() -> Solid:
    """Return a football: a truncated icosahedron's panels, the twelve pentagons black."""
    golden = (1 + np.sqrt(5)) / 2
    corners = [np.roll((0, a, b * golden), k) for a, b, k in product((-1, 1), (-1, 1), range(3))]
    pentagons = np.array(corners) / np.linalg.norm(corners[0])
    triples = product(range(12), repeat=3)
    side = np.linalg.norm(pentagons[0] - pentagons, axis=1)
    side = np.sort(side)[1]
    hexagons = [
        pentagons[[i, j, k]].sum(0)
        for i, j, k in triples
        if i < j < k
        and all(np.isclose(np.linalg.norm(pentagons[a] - pentagons[b]), side) for a, b in ((i, j), (j, k), (i, k)))
    ]
    hexagons = np.array(hexagons) / np.linalg.norm(hexagons[0])
    # Distances of the faces of the unit-edge truncated icosahedron from its centre.
    planes = np.concatenate([pentagons / 2.32744, hexagons / 2.26728])

    def seam(points: np.ndarray) -> np.ndarray:
        directions = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
        heights = np.sort(directions @ planes.T, axis=1)
        return (heights[:, -1] - heights[:, -2]) * 2.3

    def panels(points: np.ndarray) -> np.ndarray:
        directions = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
        colours = choose((directions @ planes.T).argmax(1) < 12, BLACK, WHITE)
        return choose(seam(points) < 0.035, (0.30, 0.30, 0.32), colours)

    def surface(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points, axis=1) - 0.215 + 0.004 * np.exp(-((seam(points) / 0.05) ** 2))

    return Solid(extent=0.43, parts=[Part(surface, panels)], gloss=0.3)


def duck() -> Solid:
    """Return a rubber duck, its bill towards -y."""
    yellow, orange = (1.0, 0.82, 0.09), (0.97, 0.45, 0.06)
    wing = turned(ellipsoid((0.035, 0.1, 0.065)), 0, -18)
    bill = union(
        ellipsoid((0.052, 0.055, 0.023), (0, -0.205, 0.088)), ellipsoid((0.042, 0.045, 0.021), (0, -0.2, 0.07))
    )
    return Solid(
        extent=0.46,
        parts=[
            Part(ellipsoid((0.148, 0.19, 0.118), (0, 0.02, -0.08)), yellow),
            Part(sphere(0.107, (0, -0.105, 0.105)), yellow),
            Part(capsule((0, 0.15, -0.05), (0, 0.225, 0.045), 0.065, 0.022), yellow),
            Part(mirrored(moved(wing, (0.135, 0.04, -0.06))), (0.98, 0.74, 0.05)),
            Part(bill, orange),
        ],
        paints=[
            Part(mirrored(sphere(0.024, (0.055, -0.192, 0.135))), BLACK),
            Part(mirrored(sphere(0.011, (0.05, -0.205, 0.146))), WHITE),
            Part(
                lambda points: np.maximum(np.abs(points[:, 2] - 0.079) - 0.004, points[:, 1] + 0.21), (0.6, 0.22, 0.03)
            ),
        ],
        blend=0.025,
        gloss=0.5,
    )


def duck2() -> Solid:
    """Return a duckling that stands on orange feet, with a red bow tie."""
    yellow, orange, red = (0.98, 0.87, 0.30), (0.96, 0.52, 0.10), (0.85, 0.10, 0.14)
    foot = union(
        ellipsoid((0.05, 0.075, 0.026), (0.065, -0.05, -0.225)), capsule((0.06, 0, -0.2), (0.06, 0, -0.14), 0.028)
    )
    return Solid(
        extent=0.5,
        parts=[
            Part(ellipsoid((0.125, 0.125, 0.135), (0, 0.01, -0.075)), yellow),
            Part(sphere(0.125, (0, -0.02, 0.115)), yellow),
            Part(capsule((0, 0.1, -0.1), (0, 0.165, -0.05), 0.045, 0.022), yellow),
            Part(
                mirrored(turned(ellipsoid((0.03, 0.06, 0.085), (0.135, 0, -0.065)), 1, -16, (0.13, 0, 0))),
                (0.95, 0.76, 0.16),
            ),
            Part(capsule((0, -0.04, 0.23), (0.01, 0.02, 0.262), 0.022), yellow),
            Part(ellipsoid((0.06, 0.055, 0.024), (0, -0.145, 0.088)), orange),
            Part(mirrored(foot), orange),
            Part(mirrored(turned(ellipsoid((0.045, 0.022, 0.032), (0.045, -0.125, 0.005)), 1, 12)), red),
            Part(sphere(0.022, (0, -0.135, 0.004)), (0.65, 0.05, 0.09)),
        ],
        paints=[
            Part(mirrored(ellipsoid((0.024, 0.03, 0.032), (0.05, -0.13, 0.15))), BLACK),
            Part(mirrored(sphere(0.011, (0.056, -0.145, 0.162))), WHITE),
            Part(mirrored(ellipsoid((0.022, 0.03, 0.016), (0.088, -0.115, 0.105))), (0.98, 0.66, 0.42)),
        ],
        blend=0.018,
        gloss=0.15,
    )
