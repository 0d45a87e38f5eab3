"""This module models cloths, pillows and ropes: lengths in metres, z up, fronts towards -y."""

import numpy as np

from dataset.shapes.fields import (
    Field,
    box,
    ellipsoid,
    extruded,
    mirrored,
    sphere,
    tube,
    turned,
    union,
)
from dataset.shapes.patterns import checks, smooth_noise, stripes
from dataset.shapes.solid import Part, Solid
from gaussians.numbers import Vector

WHITE = (0.97, 0.97, 0.95)
BLACK = (0.08, 0.08, 0.09)


def cloth() -> Solid:
    """Return a yellow T-shirt that hangs upright in folds, an owl on its chest, 44 mm thick."""
    yellow, seam = (0.99, 0.82, 0.16), (0.83, 0.62, 0.06)
    half = [(0.055, 0.2), (0.1, 0.215), (0.225, 0.12), (0.18, 0.04), (0.125, 0.085), (0.13, -0.215)]
    outline = [*half, *((-x, z) for x, z in half[::-1]), (-0.03, 0.172), (0.03, 0.172)]

    def fold(points: np.ndarray) -> np.ndarray:
        """Return how far the cloth hangs out, metres: more towards the hem."""
        x, z = points[:, 0], points[:, 2]
        return (0.006 + 0.03 * np.clip(0.2 - z, 0, 0.42)) * np.sin(34 * x + 5 * z)

    def folded(field: Field) -> Field:
        return lambda points: 0.88 * field(points - fold(points)[:, None] * [[0, 1, 0]])

    def neck(points: np.ndarray) -> np.ndarray:
        """Return the distance from the opening that one sees into between the shoulders."""
        flat = points - fold(points)[:, None] * [[0, 1, 0]]
        return np.maximum(np.abs(points[:, 0]) - 0.05, np.maximum(0.158 - points[:, 2], np.abs(flat[:, 1]) - 0.014))

    def sleeve_hem(points: np.ndarray) -> np.ndarray:
        return np.abs(0.8 * (points[:, 2] - 0.12) - 0.45 * (np.abs(points[:, 0]) - 0.225)) - 0.0035

    def on_chest(field: Field) -> Field:
        """Return paint on the front only, whatever its depth."""
        return lambda points: np.where(points[:, 1] < 0, field(points * [1, 0, 1]), 1.0)

    def ear(points: np.ndarray) -> np.ndarray:
        x, z = np.abs(points[:, 0]), points[:, 2]
        return np.maximum(np.abs(x - 0.052) - (0.115 - z) * 0.55, np.maximum(0.05 - z, z - 0.115))

    return Solid(
        extent=0.44,
        parts=[Part(folded(extruded(outline, 0.022, 0.018)), yellow)],
        paints=[
            Part(neck, (0.45, 0.33, 0.02)),
            Part(on_chest(ear), (0.38, 0.22, 0.11)),
            Part(on_chest(ellipsoid((0.086, 1, 0.112), (0, 0, -0.02))), (0.45, 0.27, 0.14)),
            Part(on_chest(ellipsoid((0.05, 1, 0.062), (0, 0, -0.062))), (0.90, 0.76, 0.54)),
            Part(on_chest(mirrored(ellipsoid((0.022, 1, 0.07), (0.078, 0, -0.04)))), (0.30, 0.17, 0.08)),
            Part(on_chest(mirrored(sphere(0.04, (0.039, 0, 0.04)))), WHITE),
            Part(on_chest(mirrored(sphere(0.02, (0.036, 0, 0.04)))), BLACK),
            Part(
                on_chest(lambda p: np.maximum(np.abs(p[:, 0]) - 0.6 * (p[:, 2] + 0.022), p[:, 2] - 0.018)),
                (0.95, 0.50, 0.08),
            ),
            Part(lambda p: np.abs(p[:, 2] + 0.2) - 0.003, seam),
        ],
    )


def cloth2() -> Solid:
    """Return a red and white checkered cloth, wavy, 45 mm thick."""

    def wave(points: np.ndarray) -> np.ndarray:
        x, y = points[:, 0], points[:, 1]
        return 0.034 * np.sin(13 * x + 2 * y) + 0.022 * np.sin(11 * y - 4 * x)

    def sheet(points: np.ndarray) -> np.ndarray:
        flat = points - wave(points)[:, None] * [[0, 0, 1]]
        return box((0.25, 0.25, 0.027), 0.02)(flat) * 0.88  # the waves' slope shortens distances

    red = (0.80, 0.10, 0.13)
    return Solid(extent=0.5, parts=[Part(sheet, checks((0, 1), 0.0625, red, WHITE))], reach=0.4)


def cloth3() -> Solid:
    """Return a cyan mouse pad with a stitched dark border and a pointer on it, 40 mm thick."""
    arrow = [(0.0, 0.0), (0.0, 0.16), (0.042, 0.122), (0.07, 0.185), (0.098, 0.172), (0.07, 0.11), (0.118, 0.11)]
    pointer = turned(extruded([(x - 0.05, 0.09 - z) for x, z in arrow], 1), 0, 90)
    return Solid(
        extent=0.5,
        parts=[Part(box((0.25, 0.2, 0.02), 0.014), (0.05, 0.76, 0.84))],
        paints=[
            Part(lambda p: np.minimum(0.235 - np.abs(p[:, 0]), 0.185 - np.abs(p[:, 1])), (0.05, 0.30, 0.36)),
            Part(lambda p: np.maximum(pointer(p), -p[:, 2]), WHITE),
            Part(lambda p: p[:, 2] + 0.016, (0.10, 0.12, 0.13)),
        ],
    )


def _cushion(half: Vector) -> Field:
    """Return a stuffed cushion that lies flat: pointed corners, sides drawn in, thick in the middle."""
    a, b, thick = half

    def distance(points: np.ndarray) -> np.ndarray:
        u, v = points[:, 0] / a, points[:, 1] / b
        narrowing = 1 - 0.09 * np.clip(1 - v * v, 0, 1), 1 - 0.09 * np.clip(1 - u * u, 0, 1)
        u, v = u / narrowing[0], v / narrowing[1]
        dome = np.clip(1 - u * u, 0, 1) * np.clip(1 - v * v, 0, 1)
        height = 0.02 + (thick - 0.02) * dome**0.42
        sides = np.maximum((np.abs(u) - 1) * a, (np.abs(v) - 1) * b)
        return np.maximum(sides, (np.abs(points[:, 2]) - height) * 0.75)

    return distance


def pillow() -> Solid:
    """Return a blue and white striped pillow that lies flat."""
    return Solid(extent=0.48, parts=[Part(_cushion((0.25, 0.19, 0.095)), stripes(0, 0.05, (0.16, 0.36, 0.72), WHITE))])


def pillow2() -> Solid:
    """Return a square black and white striped pillow that stands on its edge."""
    return Solid(extent=0.44, parts=[Part(turned(_cushion((0.22, 0.22, 0.1)), 0, 90), stripes(2, 0.044, BLACK, WHITE))])


def _strands(path: np.ndarray, radius: float, twists: float) -> list[np.ndarray]:
    """Return three curves (M, 3) laid around ``path`` (M, 3), ``twists`` turns a metre, for a rope of ``radius``."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.cross(tangent, [0, 0, 1.0])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(side, tangent)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    strands = []
    for phase in range(3):
        angle = (2 * np.pi * (length * twists + phase / 3))[:, None]
        strands.append(path + 0.5 * radius * (np.cos(angle) * side + np.sin(angle) * other))
    return strands


def rope() -> Solid:
    """Return a thick rope of three strands that lies in bends, its ends whipped with twine."""
    t = np.linspace(-1, 1, 1400)
    path = np.stack([0.25 * t, 0.12 * np.sin(2.5 * np.pi * t), 0 * t], 1)
    hemp, groove = np.array((0.83, 0.67, 0.42)), 0.55
    strands = _strands(path, 0.042, 9)
    from_axes = [tube(strand, 0.03) for strand in strands]

    def fibres(points: np.ndarray) -> np.ndarray:
        """Return hemp's colour, darker where strands meet."""
        distances = np.sort([field(points) for field in from_axes], axis=0)
        shade = groove + (1 - groove) * np.clip((distances[1] - distances[0]) / 0.016, 0, 1)
        return hemp * (shade * (0.88 + 0.24 * smooth_noise(points, 0.02)))[:, None]

    whipping = union(*(tube(path[rows], 0.05) for rows in (slice(12, 60), slice(-60, -12))))
    return Solid(
        extent=0.56,
        parts=[Part(tube(np.concatenate(strands), 0.024), fibres)],
        paints=[Part(whipping, (0.93, 0.90, 0.82))],
    )


def rope2() -> Solid:
    """Return a coil of rope, one of its strands red, with a free end."""
    turns = 3.4
    t = np.linspace(0, 1, 1600)
    angle = 2 * np.pi * turns * t
    radius = 0.155 + 0.012 * np.sin(5 * angle / turns)
    coil = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0.048 * turns * (t - 0.5)], 1)
    tail_t = np.linspace(0, 1, 100)[1:, None]
    tangent = (coil[-1] - coil[-2]) / np.linalg.norm(coil[-1] - coil[-2])
    outward = np.array([coil[-1][0], coil[-1][1], 0]) / np.hypot(*coil[-1][:2])
    tail = coil[-1] + 0.16 * tail_t * tangent + 0.11 * tail_t**2 * outward - 0.03 * tail_t**2 * [[0, 0, 1]]
    path = np.concatenate([coil, tail])

    red, cream = (0.80, 0.14, 0.15), (0.94, 0.89, 0.77)
    first, second, third = _strands(path, 0.032, 12)
    return Solid(
        extent=0.5,
        parts=[Part(tube(first, 0.021), red), Part(tube(np.concatenate([second, third]), 0.021), cream)],
    )
