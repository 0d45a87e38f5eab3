"""This module paints the surfaces of backgrounds: patterns are colours (N, 3) of points (N, 2), metres.

Features are no smaller than what a background's Gaussians can show: some 5 cm on a table, 20 cm on a wall.
"""

import numpy as np

from dataset.shapes.patterns import Pattern, Rgb, blend, choose, hash_noise, near_random_points, smooth_noise


def plain(colour: Rgb) -> Pattern:
    return lambda points: np.broadcast_to(np.asarray(colour), (len(points), 3))


def planks(light: Rgb, dark: Rgb, width: float, length: float = 2.2) -> Pattern:
    """Return boards along u with grain, each of its own shade."""

    def pattern(points: np.ndarray) -> np.ndarray:
        row = np.floor(points[:, 1] / width)
        shifted = points[:, 0] + 0.37 * length * row
        board = np.stack([row, np.floor(shifted / length)], 1)
        grain = smooth_noise(points + 7 * hash_noise(board)[:, None], (0.7, 0.05), 3)
        tone = 0.75 * grain + 0.45 * hash_noise(board, 4) - 0.1
        joint = (points[:, 1] % width < 0.022) | (shifted % length < 0.022)
        return choose(joint, np.asarray(dark) * 0.55, blend(tone, light, dark))

    return pattern


def marble(points: np.ndarray) -> np.ndarray:
    bent = points + 0.5 * (smooth_noise(points, 0.9, 3)[:, None] - 0.5) * [1.0, 1.4]
    vein = np.abs(smooth_noise(bent, (1.3, 0.7), 3, salt=20) - 0.5)
    fine = np.abs(smooth_noise(bent, 0.45, 2, salt=30) - 0.5)
    shade = np.maximum(0.9 * np.exp(-vein / 0.02), 0.35 * np.exp(-fine / 0.02))
    cloud = smooth_noise(points, 1.2, 2, salt=40)
    return blend(shade, blend(cloud, (0.95, 0.94, 0.92), (0.84, 0.85, 0.87)), (0.42, 0.44, 0.48))


def gingham(points: np.ndarray) -> np.ndarray:
    """Return two crossing sets of stripes, 0.18 m wide: white, half tone, full tone."""
    on = (np.floor(points / 0.18) % 2).sum(1)
    weave = 0.06 * hash_noise(np.floor(points / 0.03))
    return blend(np.array([0.0, 0.5, 1.0])[on.astype(int)] + weave, (0.97, 0.95, 0.92), (0.76, 0.10, 0.12))


def lawn(points: np.ndarray) -> np.ndarray:
    tone = 0.5 * smooth_noise(points, 0.9, 2) + 0.6 * smooth_noise(points, 0.09, 2, salt=7)
    return blend(1.5 * tone - 0.35, (0.15, 0.36, 0.08), (0.50, 0.70, 0.22))


def grass(points: np.ndarray) -> np.ndarray:
    """Return a lawn with daisies and pink flowers."""
    daisy = near_random_points(points, 0.42, 0.55, salt=50)
    colours = choose(daisy < 0.036, (0.97, 0.96, 0.92), lawn(points))
    colours = choose(daisy < 0.014, (0.96, 0.78, 0.15), colours)
    return choose(near_random_points(points, 0.8, 0.4, salt=60) < 0.03, (0.86, 0.30, 0.45), colours)


def tatami(points: np.ndarray) -> np.ndarray:
    """Return mats of 1.8 m by 0.9 m with dark cloth borders, in alternating rows."""
    row = np.floor(points[:, 1] / 0.9)
    x, y = (points[:, 0] + 0.9 * (row % 2) + 0.9) % 1.8, points[:, 1] % 0.9
    straw = 0.6 * smooth_noise(points, (0.5, 0.03), 2) + 0.4 * hash_noise(np.stack([np.floor(points[:, 1] / 0.03)], 1))
    colours = blend(straw, (0.83, 0.79, 0.52), (0.63, 0.64, 0.34))
    border = (y < 0.05) | (y > 0.85)
    colours = choose((x < 0.012) | (x > 1.788), (0.45, 0.44, 0.25), colours)
    gold = border & (np.abs((x * 12.5) % 1 - 0.5) < 0.2) & (np.abs(np.where(y < 0.45, y, y - 0.9)) < 0.03)
    return choose(gold, (0.72, 0.60, 0.28), choose(border, (0.10, 0.22, 0.17), colours))


def paving(points: np.ndarray) -> np.ndarray:
    """Return irregular flagstones: cells of randomly placed centres."""
    base = np.floor(points / 0.55)
    first = second = np.full(len(points), np.inf)
    owner = np.zeros_like(base)
    for offset in np.ndindex(3, 3):
        cells = base + np.asarray(offset) - 1
        spot = 0.2 + 0.6 * np.stack([hash_noise(cells, 1), hash_noise(cells, 2)], 1)
        distance = np.linalg.norm((cells + spot) * 0.55 - points, axis=1)
        owner = np.where((distance < first)[:, None], cells, owner)
        second = np.minimum(second, np.maximum(first, distance))
        first = np.minimum(first, distance)
    tone = 0.55 * hash_noise(owner, 5) + 0.5 * smooth_noise(points, 0.12, 2, salt=3)
    stones = blend(tone, (0.50, 0.48, 0.46), (0.76, 0.71, 0.64))
    warm = hash_noise(owner, 8) > 0.72
    stones = choose(warm, stones * [1.05, 0.86, 0.72], stones)
    return choose(second - first < 0.035, (0.27, 0.28, 0.24), stones)


def tiles(points: np.ndarray) -> np.ndarray:
    """Return white tiles of 0.45 m with blue ornaments."""
    cell = np.floor(points / 0.45)
    local = points / 0.45 - cell - 0.5
    radius, angle = np.linalg.norm(local, axis=1), np.arctan2(local[:, 1], local[:, 0])
    petals = radius < 0.2 + 0.1 * np.cos(4 * angle)
    corner = np.linalg.norm(np.abs(local) - 0.5, axis=1)
    plain = (cell.sum(1) % 2) == 0
    blue, pale = (0.13, 0.30, 0.62), (0.62, 0.76, 0.90)
    colours = np.broadcast_to(np.array([0.95, 0.95, 0.94]), (len(points), 3))
    colours = choose(petals & ~plain, blue, colours)
    colours = choose((radius < 0.1) & ~plain, (0.94, 0.76, 0.26), colours)
    colours = choose((corner < 0.3) & ~plain, pale, colours)
    colours = choose((corner < 0.2), blue, colours)
    return choose(np.abs(local).max(1) > 0.478, (0.72, 0.72, 0.70), colours)


def sand(points: np.ndarray) -> np.ndarray:
    bent = points[:, 0] * 0.5 + points[:, 1] + 0.35 * smooth_noise(points, 1.1, 2)
    ripple = 0.5 + 0.5 * np.sin(bent * 19)
    tone = 0.45 * ripple + 0.35 * smooth_noise(points, 0.5, 2, salt=5) + 0.2 * smooth_noise(points, 0.06, 1, salt=6)
    colours = blend(tone, (0.74, 0.61, 0.42), (0.96, 0.87, 0.68))
    return choose(near_random_points(points, 0.5, 0.4, salt=70) < 0.026, (0.93, 0.90, 0.86), colours)


def painted(colour: Rgb, skirting: Rgb = (0.93, 0.92, 0.90), panel: Rgb | None = None) -> Pattern:
    """Return a painted wall with a skirting board, a dado rail, and framed pictures."""

    def pattern(points: np.ndarray) -> np.ndarray:
        x, z = points[:, 0], points[:, 1]
        colours = blend(0.25 * smooth_noise(points, 1.5, 2), colour, (0, 0, 0))
        if panel is not None:
            groove = (z < 1.0) & (x % 0.5 < 0.035)
            colours = choose(z < 1.0, panel, colours)
            colours = choose(groove | (np.abs(z - 1.0) < 0.035), np.asarray(panel) * 0.72, colours)
        number = np.floor((x + 6) / 2.4)
        u, v = (x + 6) % 2.4 - 1.2, z - 1.85
        frame = (np.abs(u) < 0.62) & (np.abs(v) < 0.42)
        inside = (np.abs(u) < 0.54) & (np.abs(v) < 0.34)
        sky = blend(v / 0.7 + 0.5, (0.93, 0.72, 0.50), (0.36, 0.58, 0.82))
        hills = v < 0.08 * np.sin(6 * u + 2 * number) - 0.1
        art = choose(hills, (0.22, 0.42, 0.30), sky)
        colours = choose(inside, art, choose(frame, (0.36, 0.24, 0.14), colours))
        return choose(z < 0.16, skirting, colours)

    return pattern


def shoji(points: np.ndarray) -> np.ndarray:
    """Return paper screens in a dark wooden lattice."""
    x, z = points[:, 0] % 1.5, points[:, 1]
    lattice = (np.abs(x % 0.5 - 0.25) > 0.215) | (np.abs(z % 0.7 - 0.35) > 0.315)
    post = (x < 0.1) | (x > 1.4)
    paper = blend(0.2 * smooth_noise(points, 1.5, 2), (0.97, 0.94, 0.85), (0.8, 0.74, 0.6))
    colours = choose(lattice, (0.62, 0.47, 0.30), paper)
    return choose(post | (z < 0.45), (0.34, 0.22, 0.13), colours)


def bricks(points: np.ndarray) -> np.ndarray:
    """Return large rough blocks: smaller ones would be lost in the Gaussians of a far wall."""
    row = np.floor(points[:, 1] / 0.42)
    x = points[:, 0] + 0.5 * (row % 2)
    brick = np.stack([np.floor(x / 1.0), row], 1)
    joint = (x % 1.0 < 0.07) | (points[:, 1] % 0.42 < 0.07)
    return choose(joint, (0.76, 0.71, 0.64), blend(hash_noise(brick), (0.70, 0.34, 0.24), (0.50, 0.22, 0.17)))


def hedge(points: np.ndarray) -> np.ndarray:
    """Return a hedge under a summer sky."""
    leaves = blend(1.4 * smooth_noise(points, 0.22, 3) - 0.2, (0.08, 0.24, 0.07), (0.36, 0.58, 0.20))
    top = points[:, 1] > 1.5 + 0.35 * smooth_noise(points[:, :1], 0.5, 2)
    cloud = smooth_noise(points, (1.6, 0.6), 3, salt=9)
    return choose(top, blend(3 * (cloud - 0.5), (0.50, 0.73, 0.94), (0.97, 0.97, 0.98)), leaves)


def fence(points: np.ndarray) -> np.ndarray:
    """Return a white picket fence before trees."""
    x, z = points[:, 0] % 0.6 - 0.3, points[:, 1]
    picket = (np.abs(x) < 0.2) & (z < 1.2 - 1.2 * np.maximum(np.abs(x) - 0.05, 0))
    rail = (np.abs(z - 0.3) < 0.08) | (np.abs(z - 0.85) < 0.08)
    board = choose(picket, (0.97, 0.96, 0.93), (0.80, 0.79, 0.76))
    return choose(picket | rail, board, hedge(points - np.array([0, 0.3])))


def sea(points: np.ndarray) -> np.ndarray:
    """Return a strip of surf, the sea, and the sky above it."""
    z = points[:, 1] + 0.05 * smooth_noise(points[:, :1], 0.6, 2)
    waves = smooth_noise(points, (0.9, 0.06), 2)
    water = blend(z / 0.75, (0.30, 0.72, 0.74), (0.06, 0.33, 0.60)) + 0.1 * (waves[:, None] - 0.5)
    water = choose((waves > 0.68) | (z < 0.08), (0.95, 0.97, 0.97), water)
    cloud = smooth_noise(points, (1.8, 0.5), 3, salt=9)
    sky = blend(3 * (cloud - 0.52), blend((z - 0.8) / 2, (0.78, 0.90, 0.97), (0.36, 0.65, 0.93)), (0.98, 0.98, 0.98))
    return choose(z > 0.8, sky, water)


def carpet(first: Rgb, second: Rgb) -> Pattern:
    def pattern(points: np.ndarray) -> np.ndarray:
        rings = np.floor(np.abs(points).max(1) / 0.35) % 2
        return blend(0.6 * rings + 0.4 * smooth_noise(points, 0.2, 2), first, second)

    return pattern
