"""This module makes colour patterns on planes and walls, as functions of points."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

Rgb = tuple[float, float, float]
Pattern = Callable[[np.ndarray], np.ndarray]


def choose(mask: np.ndarray, inside: Rgb | np.ndarray, outside: Rgb | np.ndarray) -> np.ndarray:
    """Return colours (N, 3): ``inside`` where ``mask`` (N,) is true, else ``outside``."""
    return np.where(mask[:, None], inside, outside)


def blend(weight: np.ndarray, first: Rgb | np.ndarray, second: Rgb | np.ndarray) -> np.ndarray:
    """Return colours (N, 3): ``first`` where ``weight`` (N,) is 0, ``second`` where it is 1."""
    weight = np.clip(weight, 0, 1)[:, None]
    return (1 - weight) * np.asarray(first) + weight * np.asarray(second)


def stripes(axis: int, width: float, first: Rgb, second: Rgb) -> Pattern:
    """Return bands of ``width`` metres across ``axis``, one of ``first`` in the middle."""
    return lambda points: choose(np.floor(points[:, axis] / width + 0.5) % 2 == 0, first, second)


def checks(axes: tuple[int, int], width: float, first: Rgb, second: Rgb) -> Pattern:
    """Return squares of ``width`` metres in the plane of two axes."""

    def pattern(points: np.ndarray) -> np.ndarray:
        return choose(np.floor(points[:, list(axes)] / width).sum(1) % 2 == 0, first, second)

    return pattern


def hash_noise(cells: np.ndarray, salt: int = 0) -> np.ndarray:
    """Return a pseudo-random number (N,) in [0, 1) for integer cells (N, D), the same on every machine."""
    mixed = np.full(len(cells), np.uint64(salt + 1))
    for column in cells.astype(np.int64).T:
        mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    mixed = mixed * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    return (mixed & np.uint64(0xFFFFFF)).astype(float) / 0x1000000


def smooth_noise(
    points: np.ndarray, wavelength: float | Sequence[float], octaves: int = 3, salt: int = 0
) -> np.ndarray:
    """Return value noise (N,), about 0 to 1, of points (N, D).

    It is a sum of octaves (Perlin, "An image synthesizer", 1985).
    """
    total, weight = np.zeros(len(points)), 0.0
    for octave in range(octaves):
        scaled = points / (np.asarray(wavelength) * 0.5**octave)
        base = np.floor(scaled)
        t = scaled - base
        t = t * t * (3 - 2 * t)
        value = np.zeros(len(points))
        for corner in np.ndindex(*(2,) * points.shape[1]):
            share = np.prod(np.where(corner, t, 1 - t), 1)
            value += share * hash_noise(base + np.asarray(corner), salt + octave)
        total += 0.5**octave * value
        weight += 0.5**octave
    return total / weight


def near_random_points(points: np.ndarray, cell: float, density: float, salt: int = 0) -> np.ndarray:
    """Return the distance (N,) of points (N, 2) to the nearest random spot; a share ``density`` of cells has one."""
    base = np.floor(points / cell)
    nearest = np.full(len(points), np.inf)
    for offset in np.ndindex(3, 3):
        cells = base + np.asarray(offset) - 1
        spot = np.stack([hash_noise(cells, salt + 1), hash_noise(cells, salt + 2)], 1)
        distance = np.linalg.norm((cells + spot) * cell - points, axis=1)
        nearest = np.minimum(nearest, np.where(hash_noise(cells, salt) < density, distance, np.inf))
    return nearest


def text_mask(text: str, height: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that says which points (N, 2), metres, x right and y up, lie on a text.

    The text is centred at 0 and ``height`` metres high.
    """
    font, thickness = cv2.FONT_HERSHEY_SCRIPT_COMPLEX, 11
    (width, rows), below = cv2.getTextSize(text, font, 6.0, thickness)
    image = np.zeros((rows + below + 40, width + 40), np.uint8)
    cv2.putText(image, text, (20, rows + 20), font, 6.0, 255, thickness)
    ink = np.argwhere(image)
    image = image[ink[:, 0].min() : ink[:, 0].max() + 1, ink[:, 1].min() : ink[:, 1].max() + 1]
    scale = image.shape[0] / height

    def mask(points: np.ndarray) -> np.ndarray:
        column = np.round(points[:, 0] * scale + image.shape[1] / 2).astype(int)
        row = np.round(image.shape[0] / 2 - points[:, 1] * scale).astype(int)
        on = (column >= 0) & (column < image.shape[1]) & (row >= 0) & (row < image.shape[0])
        result = np.zeros(len(points), bool)
        result[on] = image[row[on], column[on]] > 0
        return result

    return mask
