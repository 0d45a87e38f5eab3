"""Cut objects out of one picture by their colours: GrabCut (Rother et al. 2004), seeded by a box or a point."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from gaussians.files.prompts import Box, Point

WORKING_SIZE = 112
"""Pixels that a region's larger side is scaled up to, so that a cut may run between the pixels of a small object."""
MOST_SAMPLES = 15_000
"""Colours that a model is learned from."""

_LARGEST_SCALE = 6
_MARGIN = 0.6  # of the region's larger side: what is cut sees this much of its surroundings
_BOX_MARGIN = 1.0  # the same, of a box, about which nothing else is known
_COMPONENTS = 5  # of OpenCV's mixtures
_NO_BOX = (0, 0, 0, 0)  # OpenCV's, where the region is given as a mask
_NOISE = 4.0  # variance, so that a component of one colour has a density
_BOX_ROUNDS = 5
_LEAST_ALONE = 0.05  # of what is cut out of a box: less tells no colours
_LEAST_PART = 0.02  # of a box: a smaller object is none
_POINT_SIZES = tuple(0.04 * 1.3**step for step in range(9))  # half sides of the boxes tried, of the picture's side
_TOUCHING = 0.04  # of a box's border: more of it and the object goes on outside
_TOUCHED = 0.1  # weight of what goes on outside
_LARGER = 0.5  # power of the area: what is cut out of an object has edges, too


@dataclass(frozen=True)
class ColorModels:
    """A ``ColorModels`` holds Gaussian mixtures of an object's colours and of those around it, as OpenCV packs them.

    Attributes:
        foreground, background: (1, 65): 5 weights, 5 x 3 means, 5 x 3 x 3 covariances.
    """

    foreground: np.ndarray
    background: np.ndarray

    @staticmethod
    def learn(foreground: np.ndarray, background: np.ndarray) -> "ColorModels":
        """Return models of two sets of colours, (M, 3) uint8 each, at least one."""
        colors = np.concatenate([_thinned(foreground), _thinned(background)])[None]
        trimap = np.full(colors.shape[:2], cv2.GC_BGD, np.uint8)
        trimap[:, : len(_thinned(foreground))] = cv2.GC_FGD
        models = ColorModels(np.zeros((1, 13 * _COMPONENTS)), np.zeros((1, 13 * _COMPONENTS)))
        cv2.setRNGSeed(0)
        cv2.grabCut(colors, trimap, _NO_BOX, models.background, models.foreground, 0, cv2.GC_INIT_WITH_MASK)
        return models

    def log_odds(self, image: np.ndarray) -> np.ndarray:
        """Return log p(colour | object) - log p(colour | surroundings), (H, W), of a picture (H, W, 3)."""
        colors = image.reshape(-1, 3).astype(float)
        odds = _log_density(self.foreground[0], colors) - _log_density(self.background[0], colors)
        return odds.reshape(image.shape[:2])

    def log_likelihood(self, image: np.ndarray) -> np.ndarray:
        """Return log p(colour | object), (H, W), of a picture (H, W, 3)."""
        return _log_density(self.foreground[0], image.reshape(-1, 3).astype(float)).reshape(image.shape[:2])

    def cut(self, image: np.ndarray, possible: np.ndarray, certain: np.ndarray | None = None) -> np.ndarray:
        """Return which pixels a minimal cut gives to the object, (H, W) bool.

        Args:
            image: (H, W, 3) uint8.
            possible: (H, W) bool, pixels that may be the object's.
            certain: (H, W) bool, pixels among them that are; None for none.
        """
        if not possible.any():
            return np.zeros_like(possible)
        trimap = np.where(possible, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
        if certain is not None:
            trimap[certain & possible] = cv2.GC_FGD
        # The cut writes into the models that it is given.
        background, foreground = self.background.copy(), self.foreground.copy()
        cv2.grabCut(np.ascontiguousarray(image), trimap, _NO_BOX, background, foreground, 1, cv2.GC_EVAL_FREEZE_MODEL)
        return (trimap == cv2.GC_PR_FGD) | (trimap == cv2.GC_FGD)


@dataclass(frozen=True)
class Window:
    """A ``Window`` is a part of a picture, scaled up so that a small region of it can be cut finely.

    Attributes:
        rows, columns: the part.
        scale: how many of its pixels a pixel of the picture becomes along each side.
    """

    rows: slice
    columns: slice
    scale: int

    @staticmethod
    def around(region: np.ndarray, margin: float = _MARGIN) -> "Window":
        """Return the window of a region (H, W) bool, at least a pixel, and its surroundings.

        Args:
            margin: how far the surroundings reach, of the region's larger side.
        """
        height, width = region.shape
        v, u = np.nonzero(region)
        side = max(int(np.ptp(u)), int(np.ptp(v))) + 1
        around = max(6, int(margin * side))
        rows = slice(max(0, int(v.min()) - around), min(height, int(v.max()) + 1 + around))
        columns = slice(max(0, int(u.min()) - around), min(width, int(u.max()) + 1 + around))
        return Window(rows, columns, min(max(1, round(WORKING_SIZE / side)), _LARGEST_SCALE))

    def picture(self, image: np.ndarray) -> np.ndarray:
        """Return the part of a picture (H, W, 3) uint8, scaled up."""
        part = image[self.rows, self.columns]
        return cv2.resize(part, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_CUBIC)

    def region(self, mask: np.ndarray) -> np.ndarray:
        """Return the part of a mask (H, W) bool, scaled up."""
        part = mask[self.rows, self.columns].astype(np.uint8)
        return cv2.resize(part, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_NEAREST) > 0

    def restore(self, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return a mask of the window as one of the whole picture: a pixel is in it if more than half of it is.

        Args:
            shape: the picture's, (H, W) or (H, W, 3).
        """
        whole = np.zeros(shape[:2], bool)
        part = whole[self.rows, self.columns]
        part[:] = cv2.resize(mask.astype(np.float32), part.shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
        return whole


def labels_from_boxes(image: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """Return the label picture (H, W) uint8 of objects in boxes: their numbers from 1 in the boxes' order, 0 for none.

    Each box is cut for itself: what is outside of it is background. What two objects claim goes to the one whose
    colours, where it is alone, it has; all of it to an object that is nowhere alone, as a box bounds what shows of it.

    Args:
        image: (H, W, 3) uint8.
        boxes: the first and the last pixel of each object, inside the picture.
    """
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    labels, farthest = np.zeros((height, width), np.uint8), np.full((height, width), -np.inf)
    claims = [_cut_box(image, box) for box in boxes]
    for label, (claim, (u0, v0, u1, v1)) in enumerate(zip(claims, boxes, strict=True), 1):
        # To begin with, a pixel is the object's whose box, seen from there, reaches farther.
        reach = np.minimum.reduce([columns - u0, u1 - columns, rows - v0, v1 - rows])
        wins = claim & (reach > farthest)
        labels[wins], farthest[wins] = label, reach[wins]
    alone = [claim & (np.sum(claims, 0) == 1) for claim in claims]
    for one, other in combinations(range(len(boxes)), 2):
        contested = claims[one] & claims[other] & np.isin(labels, (one + 1, other + 1))
        nested = [alone[index].sum() < _LEAST_ALONE * claims[index].sum() for index in (one, other)]
        if not contested.any() or all(nested):
            continue
        if any(nested):
            labels[contested] = (one if nested[0] else other) + 1
            continue
        models = ColorModels.learn(image[alone[one]], image[alone[other]])
        window = Window.around(contested | alone[one])
        possible, certain = window.region(contested | alone[one]), window.region(alone[one])
        cut = window.restore(models.cut(window.picture(image), possible, certain), image.shape)
        labels[contested] = np.where(cut[contested], one + 1, other + 1)
    return labels


def boxes_of_points(image: np.ndarray, points: Sequence[Point]) -> tuple[Box, ...]:
    """Return a box for each object that a point (u, v) of the picture (H, W, 3) uint8 shows.

    Boxes of several sizes are tried around the point. Of what is cut out of each, at the point, the one with the
    strongest edges is taken, a large one rather than a small one, and none that goes on outside of its box.
    """
    return tuple(_box_of_point(image, points, index) for index in range(len(points)))


def core_colors(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the colours (M, 3) of a picture inside a mask, without its edge, where colours mix, if it is that wide."""
    for shape in (cv2.MORPH_RECT, cv2.MORPH_CROSS):
        kernel = cv2.getStructuringElement(shape, (3, 3))
        core = cv2.erode(mask.astype(np.uint8), kernel, borderValue=0) > 0
        if core.sum() >= 0.25 * mask.sum() > 0:
            return image[core]
    return image[mask]


def _cut_box(image: np.ndarray, box: Box, seed: np.ndarray | None = None) -> np.ndarray:
    """Return the mask (H, W) of what is in a box; the ellipse in it where the cut finds nothing."""
    inside = np.zeros(image.shape[:2], bool)
    u0, v0, u1, v1 = (round(side) for side in box)
    inside[v0 : v1 + 1, u0 : u1 + 1] = True
    window = Window.around(inside, _BOX_MARGIN)
    trimap = np.where(window.region(inside), cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    if seed is not None:
        trimap[window.region(inside & ~seed)] = cv2.GC_PR_BGD
    if (trimap == cv2.GC_BGD).any() and (trimap == cv2.GC_PR_FGD).any():
        models = np.zeros((1, 13 * _COMPONENTS)), np.zeros((1, 13 * _COMPONENTS))
        cv2.setRNGSeed(0)
        cv2.grabCut(window.picture(image), trimap, _NO_BOX, *models, _BOX_ROUNDS, cv2.GC_INIT_WITH_MASK)
        mask = window.restore(trimap == cv2.GC_PR_FGD, image.shape)
        if mask.sum() >= _LEAST_PART * inside.sum():
            return mask
    ellipse = np.zeros(inside.shape, np.uint8)
    axes = (u1 - u0 + 1) / 2, (v1 - v0 + 1) / 2
    cv2.ellipse(ellipse, (((u0 + u1) / 2, (v0 + v1) / 2), (2 * axes[0], 2 * axes[1]), 0.0), 1, cv2.FILLED)
    return ellipse > 0


def _box_of_point(image: np.ndarray, points: Sequence[Point], index: int) -> Box:
    height, width = image.shape[:2]
    clipped = [(min(max(u, 0), width - 1), min(max(v, 0), height - 1)) for u, v in points]
    rows, columns = np.mgrid[:height, :width]
    nearest = np.argmin([(columns - u) ** 2 + (rows - v) ** 2 for u, v in clipped], axis=0)
    u, v = clipped[index]
    smooth = cv2.GaussianBlur(image, (0, 0), 0.7).astype(np.float32)
    slopes = [cv2.Sobel(smooth, cv2.CV_32F, *along, ksize=3) for along in ((1, 0), (0, 1))]
    steepness = np.sqrt(np.square(slopes).sum((0, 3)))
    best, box = -np.inf, (0.0, 0.0, width - 1.0, height - 1.0)
    for size in _POINT_SIZES:
        half = max(2.0, size * max(width, height))
        tried: Box = (max(0, u - half), max(0, v - half), min(width - 1, u + half), min(height - 1, v + half))
        seed = (columns - u) ** 2 + (rows - v) ** 2 <= max(1.0, half / 3) ** 2
        found = _component(_cut_box(image, tried, seed), round(u), round(v))
        if found is None:
            continue
        if any(found[round(y), round(x)] for other, (x, y) in enumerate(clipped) if other != index):
            found &= nearest == index  # two objects that touch
        u0, v0, u1, v1 = (round(side) for side in tried)
        border = found[v0, u0 : u1 + 1].sum() + found[v1, u0 : u1 + 1].sum()
        border += found[v0 : v1 + 1, u0].sum() + found[v0 : v1 + 1, u1].sum()
        edge = found & (cv2.erode(found.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) == 0)
        score = float(steepness[edge].mean()) * found.sum() ** _LARGER
        if border > _TOUCHING * 2 * (u1 - u0 + v1 - v0):
            score *= _TOUCHED
        if score > best:
            y, x = np.nonzero(found)
            best, box = score, (float(x.min()), float(y.min()), float(x.max()), float(y.max()))
    return box


def _component(mask: np.ndarray, u: int, v: int) -> np.ndarray | None:
    """Return the connected part of a mask that pixel (u, v) is in, None if it is in none."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return parts == parts[v, u] if parts[v, u] else None


def _thinned(colors: np.ndarray) -> np.ndarray:
    return colors[:: len(colors) // MOST_SAMPLES + 1]


def _log_density(model: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Return the logarithm of a packed mixture's density at colours (M, 3)."""
    weights, means = model[:_COMPONENTS], model[_COMPONENTS : 4 * _COMPONENTS].reshape(-1, 3)
    covariances = model[4 * _COMPONENTS :].reshape(-1, 3, 3) + _NOISE * np.eye(3)
    densities = []
    for weight, mean, covariance in zip(weights, means, covariances, strict=True):
        if weight > 0:
            offsets = colors - mean
            exponents = -0.5 * np.einsum("ni,ij,nj->n", offsets, np.linalg.inv(covariance), offsets)
            densities.append(np.log(weight) - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1] + exponents)
    return np.logaddexp.reduce(densities, axis=0)
