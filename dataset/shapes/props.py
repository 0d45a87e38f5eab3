"""This module models small things that stand around on backgrounds: lengths in metres, z up."""

import numpy as np

from dataset.shapes.fields import (
    box,
    capsule,
    cylinder,
    ellipsoid,
    intersection,
    moved,
    sphere,
    subtracted,
    torus,
    turned,
    union,
)
from dataset.shapes.patterns import Pattern, Rgb, blend, choose, smooth_noise
from dataset.shapes.solid import Part, Solid
from gaussians.numbers import Vector


def mug(colour: Rgb) -> Solid:
    hollow = subtracted(cylinder(0.12, 0.14, 0.015), cylinder(0.1, 0.14, 0.01, (0, 0, 0.03)))
    handle = moved(turned(torus(0.07, 0.018), 0, 90), (0.13, 0, 0))
    return Solid(
        [Part(hollow, colour), Part(subtracted(handle, cylinder(0.11, 0.2)), colour)],
        [Part(cylinder(0.102, 0.13, 0, (0, 0, 0.03)), (0.36, 0.20, 0.11))],
        gloss=0.4,
        reach=0.25,
    )


def books() -> Solid:
    """Return three books, one on another."""
    covers = [((0.26, 0.19, 0.04), (0.62, 0.16, 0.16), 0.0), ((0.24, 0.17, 0.032), (0.16, 0.34, 0.52), 12.0)]
    covers.append(((0.2, 0.15, 0.03), (0.86, 0.66, 0.22), -9.0))
    parts, z = [], 0.0
    for half, colour, turn in covers:
        parts.append(Part(turned(moved(box(half, 0.008), (0, 0, z + half[2])), 2, turn), _pages(colour, z, half, turn)))
        z += 2 * half[2]
    return Solid(parts, reach=0.36)


def _pages(colour: Rgb, z: float, half: Vector, turn: float) -> Pattern:
    angle = np.radians(turn)

    def pattern(points: np.ndarray) -> np.ndarray:
        across = points[:, 1] * np.cos(angle) - points[:, 0] * np.sin(angle)
        paper = (np.abs(points[:, 2] - z - half[2]) < half[2] - 0.012) & (across > -half[1] + 0.015)
        return choose(paper, (0.95, 0.92, 0.84), colour)

    return pattern


def plant(pot: Rgb = (0.74, 0.40, 0.26)) -> Solid:
    """Return a round green plant in a pot."""

    def leaves(points: np.ndarray) -> np.ndarray:
        return blend(1.3 * smooth_noise(points, 0.07, 2) - 0.15, (0.10, 0.30, 0.10), (0.46, 0.68, 0.26))

    def crown(points: np.ndarray) -> np.ndarray:
        return sphere(0.17, (0, 0, 0.16))(points) + 0.09 * (smooth_noise(points, 0.08, 1) - 0.5)

    jar = capsule((0, 0, -0.16), (0, 0, 0.0), 0.1, 0.135)
    return Solid(
        [
            Part(intersection(jar, lambda p: -0.17 - p[:, 2], lambda p: p[:, 2] - 0.02), pot),
            Part(torus(0.13, 0.022, (0, 0, 0.02)), pot),
            Part(crown, leaves),
        ],
        reach=0.36,
    )


def fruit(colour: Rgb) -> Solid:
    """Return an apple, or an orange or lemon by its colour."""
    body = subtracted(ellipsoid((0.13, 0.13, 0.12)), sphere(0.05, (0, 0, 0.145)))
    stalk = capsule((0, 0, 0.07), (0.02, 0, 0.15), 0.01)
    return Solid([Part(body, colour), Part(stalk, (0.35, 0.24, 0.12))], gloss=0.4, reach=0.2)


def candle() -> Solid:
    flame = ellipsoid((0.022, 0.022, 0.05), (0, 0, 0.21))
    return Solid(
        [
            Part(cylinder(0.1, 0.015, 0.01, (0, 0, -0.16)), (0.80, 0.62, 0.26)),
            Part(cylinder(0.055, 0.16, 0.012), (0.96, 0.93, 0.84)),
            Part(flame, (1.0, 0.72, 0.22)),
        ],
        reach=0.28,
    )


def basket() -> Solid:
    """Return a wicker basket with a handle."""

    def wicker(points: np.ndarray) -> np.ndarray:
        angle = np.arctan2(points[:, 1], points[:, 0])
        over = (np.floor(points[:, 2] / 0.035) + np.floor(angle * 6)) % 2
        return blend(over, (0.74, 0.52, 0.28), (0.52, 0.33, 0.15))

    bowl = subtracted(cylinder(0.24, 0.1, 0.03, (0, 0, -0.06)), cylinder(0.21, 0.1, 0.02, (0, 0, -0.02)))
    handle = intersection(turned(torus(0.22, 0.018), 0, 90), lambda p: -p[:, 2])
    return Solid([Part(union(bowl, handle), wicker)], reach=0.3)


def bush() -> Solid:
    def leaves(points: np.ndarray) -> np.ndarray:
        return blend(1.4 * smooth_noise(points, 0.16, 2) - 0.2, (0.10, 0.28, 0.08), (0.42, 0.62, 0.22))

    lumps = [(0, 0, 0.1, 0.42), (0.35, 0.1, 0.0, 0.3), (-0.32, -0.12, 0.0, 0.32), (0.05, -0.3, -0.05, 0.28)]
    return Solid([Part(union(*(sphere(r, (x, y, z)) for x, y, z, r in lumps)), leaves)], reach=0.75)


def mushroom() -> Solid:
    """Return a fly agaric."""
    dots = [
        (0, 0, 0.16),
        (0.08, 0.02, 0.12),
        (-0.07, 0.05, 0.125),
        (0.01, -0.09, 0.115),
        (-0.06, -0.06, 0.125),
        (0.05, 0.09, 0.115),
    ]
    cap = intersection(ellipsoid((0.13, 0.13, 0.11), (0, 0, 0.05)), lambda p: 0.03 - p[:, 2])
    return Solid(
        [Part(capsule((0, 0, -0.1), (0, 0, 0.05), 0.05, 0.04), (0.95, 0.92, 0.84)), Part(cap, (0.80, 0.12, 0.10))],
        [Part(union(*(sphere(0.026, dot) for dot in dots)), (0.97, 0.95, 0.90))],
        gloss=0.2,
        reach=0.22,
    )


def stone() -> Solid:
    def surface(points: np.ndarray) -> np.ndarray:
        return ellipsoid((0.2, 0.15, 0.1))(points) + 0.04 * (smooth_noise(points, 0.15, 2) - 0.5)

    def grey(points: np.ndarray) -> np.ndarray:
        return blend(smooth_noise(points, 0.06, 2), (0.42, 0.42, 0.42), (0.68, 0.66, 0.62))

    return Solid([Part(surface, grey)], reach=0.28)


def mat_cushion(colour: Rgb) -> Solid:
    """Return a flat square floor cushion."""
    seam = (0.7 * colour[0], 0.7 * colour[1], 0.7 * colour[2])
    return Solid(
        [Part(box((0.36, 0.36, 0.07), 0.06), colour)],
        [Part(lambda p: np.abs(p[:, 2]) - 0.012, seam), Part(sphere(0.04, (0, 0, 0.08)), seam)],
        reach=0.42,
    )


def pot() -> Solid:
    """Return a cooking pot with a lid."""
    return Solid(
        [
            Part(cylinder(0.22, 0.12, 0.03), (0.72, 0.16, 0.13)),
            Part(ellipsoid((0.22, 0.22, 0.06), (0, 0, 0.12)), (0.80, 0.22, 0.18)),
            Part(sphere(0.035, (0, 0, 0.2)), (0.12, 0.12, 0.13)),
            Part(
                union(*(capsule((s * 0.21, 0, 0.06), (s * 0.29, 0, 0.06), 0.025) for s in (-1, 1))), (0.12, 0.12, 0.13)
            ),
        ],
        gloss=0.45,
        reach=0.36,
    )


def beach_ball() -> Solid:
    colours = np.array(
        [
            (0.92, 0.20, 0.18),
            (0.97, 0.97, 0.95),
            (0.98, 0.80, 0.16),
            (0.97, 0.97, 0.95),
            (0.16, 0.48, 0.86),
            (0.97, 0.97, 0.95),
        ]
    )

    def segments(points: np.ndarray) -> np.ndarray:
        angle = np.arctan2(points[:, 1], points[:, 0])
        return colours[np.floor((angle + np.pi) / (np.pi / 3)).astype(int) % 6]

    return Solid([Part(turned(sphere(0.24), 0, 25), segments)], gloss=0.4, reach=0.28)


def bucket() -> Solid:
    body = intersection(capsule((0, 0, -0.3), (0, 0, 0.14), 0.1, 0.17), lambda p: np.abs(p[:, 2]) - 0.14)
    return Solid(
        [
            Part(subtracted(body, cylinder(0.13, 0.14, 0, (0, 0, 0.05))), (0.16, 0.56, 0.82)),
            Part(torus(0.165, 0.016, (0, 0, 0.14)), (0.98, 0.80, 0.16)),
            Part(intersection(turned(torus(0.17, 0.012), 0, 75), lambda p: 0.1 - p[:, 2]), (0.97, 0.97, 0.95)),
        ],
        gloss=0.3,
        reach=0.34,
    )


def starfish() -> Solid:
    arms = []
    for k in range(5):
        angle = 2 * np.pi * k / 5
        arms.append(capsule((0, 0, 0), (0.17 * np.cos(angle), 0.17 * np.sin(angle), -0.01), 0.045, 0.018))

    def skin(points: np.ndarray) -> np.ndarray:
        return blend(smooth_noise(points, 0.04, 2), (0.94, 0.48, 0.22), (0.80, 0.28, 0.14))

    return Solid([Part(union(*arms), skin)], reach=0.24)
