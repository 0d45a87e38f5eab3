"""This module models a bowl, a can, a phone and a bun: lengths in metres, z up, fronts towards -y."""

import numpy as np

from dataset.shapes.fields import (
    box,
    cylinder,
    ellipsoid,
    intersection,
    moved,
    revolved,
    smooth_union,
    sphere,
    subtracted,
    torus,
    turned,
)
from dataset.shapes.patterns import choose, smooth_noise, text_mask
from dataset.shapes.solid import Part, Solid

WHITE = (0.97, 0.97, 0.96)


def bowl() -> Solid:
    """Return a blue bowl with white clouds, 45 mm thick and hollow."""
    puffs = [
        (0.0, 0.0, 0.042),
        (0.055, -0.012, 0.032),
        (-0.055, -0.012, 0.034),
        (0.024, 0.026, 0.032),
        (-0.024, 0.02, 0.03),
    ]

    def clouds(points: np.ndarray) -> np.ndarray:
        """Return five clouds around the outside, in turns higher and lower."""
        angle = np.arctan2(points[:, 1], points[:, 0]) + np.pi / 2
        sector = np.round(angle / (2 * np.pi / 5))
        along = (angle - sector * (2 * np.pi / 5)) * 0.21
        height = points[:, 2] + 0.075 + 0.018 * (-1) ** np.abs(sector)
        return np.min([np.hypot(along - x, height - z) - r for x, z, r in puffs], axis=0)

    outside = ellipsoid((0.232, 0.232, 0.2))
    inside = ellipsoid((0.187, 0.187, 0.155))
    wall = intersection(subtracted(outside, inside), lambda points: points[:, 2])
    middle = ellipsoid((0.21, 0.21, 0.178))
    return Solid(
        extent=0.46,
        parts=[
            Part(smooth_union(0.02, wall, torus(0.21, 0.022)), (0.16, 0.42, 0.80)),
            Part(cylinder(0.1, 0.026, 0.012, (0, 0, -0.184)), (0.16, 0.42, 0.80)),
        ],
        paints=[
            Part(middle, (0.66, 0.82, 0.95)),
            Part(lambda points: np.maximum(clouds(points), -middle(points)), WHITE),
            Part(lambda points: np.abs(points[:, 2] - 0.01) - 0.014, (0.08, 0.24, 0.58)),
        ],
        gloss=0.4,
    )


def can() -> Solid:
    """Return a can of cola: red with white script and a white wave, metal at both ends."""
    red, silver = (0.84, 0.05, 0.08), (0.78, 0.79, 0.80)
    profile = [
        (0, -0.19),
        (0.075, -0.19),
        (0.085, -0.21),
        (0.118, -0.175),
        (0.118, 0.165),
        (0.092, 0.205),
        (0.084, 0.205),
        (0.08, 0.19),
        (0, 0.19),
    ]
    letters = text_mask("Cola", 0.1)

    def print_(points: np.ndarray) -> np.ndarray:
        angle = np.arctan2(points[:, 1], points[:, 0]) + np.pi / 2
        turn = (angle + np.pi / 2) % np.pi - np.pi / 2  # the same print on both sides
        flat = np.stack([0.118 * turn, points[:, 2] - 0.045], 1)
        slanted = flat - flat[:, :1] * [[0.0, 0.28]]
        wave = np.abs(points[:, 2] + 0.095 - 0.022 * np.sin(2 * angle)) < 0.016
        return choose(letters(slanted) | wave, WHITE, red)

    tab = moved(box((0.022, 0.036, 0.012), 0.008), (0, -0.01, 0.195))
    return Solid(
        extent=0.41,
        parts=[Part(revolved(profile, 0.003), print_), Part(tab, (0.62, 0.63, 0.66))],
        paints=[Part(lambda points: 0.172 - np.abs(points[:, 2]), silver)],
        gloss=0.45,
    )


def phone() -> Solid:
    """Return a mobile phone that stands upright, its lit screen in front."""
    body, bezel = (0.20, 0.22, 0.27), (0.05, 0.05, 0.06)
    tiles = [
        (0.95, 0.30, 0.28),
        (0.98, 0.75, 0.18),
        (0.30, 0.78, 0.38),
        (0.20, 0.60, 0.95),
        (0.62, 0.38, 0.90),
        (0.97, 0.97, 0.97),
    ]

    def front(points: np.ndarray) -> np.ndarray:
        x, z = points[:, 0], points[:, 2]
        height = np.clip((z + 0.19) / 0.38, 0, 1)[:, None]
        sky = (1 - height) * [0.52, 0.22, 0.62] + height * [0.10, 0.28, 0.66]
        cell = np.stack([np.floor((x + 0.078) / 0.052), np.floor((z + 0.17) / 0.058)], 1)
        inside = np.maximum(np.abs((x + 0.078) % 0.052 - 0.026), np.abs((z + 0.17) % 0.058 - 0.029)) < 0.0185
        icon = inside & (np.abs(x) < 0.078) & ((cell[:, 1] == 0) | ((cell[:, 1] >= 2) & (cell[:, 1] <= 4)))
        colours = np.asarray(tiles)[(cell[:, 0] * 2 + cell[:, 1] * 5).astype(int) % len(tiles)]
        screen = choose(icon, colours, sky)
        notch = (np.abs(x) < 0.03) & (z > 0.168)
        off = (np.abs(x) > 0.093) | (np.abs(z) > 0.193) | notch
        return choose(off, bezel, screen)

    lens = [(-0.06, 0.15), (-0.06, 0.095), (-0.025, 0.122)]
    return Solid(
        extent=0.41,
        parts=[
            Part(box((0.106, 0.026, 0.21), 0.02), body),
            Part(box((0.052, 0.012, 0.06), 0.01, (-0.045, 0.028, 0.122)), (0.30, 0.33, 0.39)),
        ],
        paints=[
            Part(lambda points: points[:, 1] + 0.019, front),
            *(Part(sphere(0.02, (x, 0.04, z)), (0.03, 0.03, 0.05)) for x, z in lens),
        ],
        gloss=0.3,
    )


def toy() -> Solid:
    """Return a roujiamo: a flat toasted bun, cut open in front, filled with chopped meat and green pepper."""
    crust, toasted = (0.95, 0.85, 0.66), (0.72, 0.45, 0.20)

    def toast(points: np.ndarray) -> np.ndarray:
        radius, angle = np.hypot(points[:, 0], points[:, 1]), np.arctan2(points[:, 1], points[:, 0])
        spiral = np.abs((radius / 0.062 - angle / (2 * np.pi)) % 1 - 0.5) < 0.17
        spots = smooth_noise(points, 0.05) > 0.52
        flat = np.abs(points[:, 2]) > 0.062
        return choose(flat & spiral & spots, toasted, choose(flat & (radius < 0.19), (0.91, 0.74, 0.47), crust))

    def chopped(points: np.ndarray) -> np.ndarray:
        meat = smooth_noise(points, 0.035, 2, salt=5)[:, None]
        colours = (1 - meat) * [0.30, 0.12, 0.05] + meat * [0.72, 0.38, 0.20]
        return choose(smooth_noise(points, 0.045, 1, salt=9) > 0.68, (0.25, 0.60, 0.14), colours)

    def lumps(points: np.ndarray) -> np.ndarray:
        return 0.035 * (smooth_noise(points, 0.06, 1, salt=2) - 0.45)

    bun = intersection(ellipsoid((0.225, 0.21, 0.088), (0, 0, 0.012)), lambda points: 0.012 - points[:, 2])
    filling = ellipsoid((0.205, 0.205, 0.055), (0, -0.022, 0.0))
    return Solid(
        extent=0.45,
        parts=[
            Part(turned(bun, 0, -13, (0, 0.15, 0)), toast),
            Part(moved(lambda points: bun(points * [1, 1, -1]), (0, 0, -0.004)), toast),
            Part(lambda points: filling(points) - lumps(points), chopped),
        ],
        blend=0.012,
        gloss=0.05,
    )
