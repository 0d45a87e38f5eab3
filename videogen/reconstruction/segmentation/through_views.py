"""Carry the objects' masks from the first view to all others through the geometry, and cut them out there."""

import cv2
import numpy as np
from tqdm import tqdm

from gaussians.cameras import Cameras
from videogen.reconstruction.plane_sweep import nearest_first
from videogen.reconstruction.segmentation.grab_cut import ColorModels, Window, core_colors
from videogen.reconstruction.segmentation.object_volume import (
    FAR,
    FIRM,
    TENTATIVE,
    ObjectVolume,
    Trust,
    place_object,
    signed_distance,
    sweep_depth,
)

_FEWEST_COLORS = 50
_BEYOND = 2  # pixels that an object may show beyond the silhouette of its volume
_SMOOTH = 3  # pixels, over which it is averaged how likely colours are
_THINNEST = 0.02  # metres of an object at and beyond the edge of its silhouette
_LEAST_SHARE = 0.02  # of where an object may show: if less is cut out, its colours are those around it
_HULL_WEIGHT = 0.9  # of the volume's silhouette against the cut, which decides where they are equally far from the edge
_IN_BOX = 0.4  # logarithm of the odds that what is in an object's box, and was not cut out, is not of it
_DOUBTFUL = 2.0  # logarithm of odds: all views would repeat it of colours that are hardly less likely the object's
_CERTAIN = 2.0  # pixels from the edge: farther does not weigh more
_DOUBTED = 1.0  # the same, outside of a cut that colours do not account for


def carry_through_views(
    images: np.ndarray,
    cameras: Cameras,
    first: np.ndarray,
    depth_limits: tuple[float, float],
) -> np.ndarray:
    """Return the label pictures (N, H, W) uint8 of N views from that of the first one.

    Each object is placed in space by its depth, its volume is projected into view after view, the nearest camera first,
    its pixels are cut out there with the colours that were seen so far, and what is not of it carves the volume. In a
    second round all views are cut with the volume that the first one has left, and carve it after that: if they did one
    by one, what one view loses of an object would count as its background in the next. In the end the cut and the
    silhouette of the volume are averaged: the cut is sharper, and the silhouette sees what has the colours of its
    background, there more than the cut. The cut of the first view is the given one, as boxes bounded it.

    Args:
        images: (N, H, W, 3) uint8, RGB.
        cameras: N of them, on the CPU.
        first: (H, W) uint8, the label picture of the first view; each label from 1 to its maximum shows.
        depth_limits: the least and the greatest depth of objects in the first view.
    """
    count = int(first.max())
    volumes = []
    for label in range(1, count + 1):
        mask = first == label
        depth = sweep_depth(images, mask, cameras, *depth_limits)
        volumes.append(place_object(mask, depth, cameras))
    labels = np.zeros(images.shape[:3], np.uint8)
    labels[0] = first
    colors = [[core_colors(images[0], first == label)] for label in range(1, count + 1)]
    nowhere = np.full(first.shape, FAR)
    for label, volume in enumerate(volumes, 1):
        volume.observe(0, first == label, _beside(first == label), nowhere, TENTATIVE)
        volume.settle()
        volume.prune(lowest=-1.0)  # what is outside of the object's box in the first view is not of it

    order = nearest_first(cameras)
    progress = tqdm(total=2 * len(order) - 1, desc="masks", unit="view", leave=False)
    for view in order[1:]:
        labels[view], _ = _segment_view(images[view], view, volumes, colors, TENTATIVE)
        for label, (volume, found) in enumerate(zip(volumes, colors, strict=True), 1):
            volume.settle()
            found.append(core_colors(images[view], labels[view] == label))
        progress.update()
    for label, volume in enumerate(volumes, 1):
        volume.prune()
        colors[label - 1] = [core_colors(image, found == label) for image, found in zip(images, labels, strict=True)]
    doubts = np.zeros((len(images), count, *first.shape), bool)
    for view in order:
        labels[view], doubts[view] = _segment_view(images[view], view, volumes, colors, FIRM)
        progress.update()
    labels[0] = first
    progress.close()
    for volume in volumes:
        volume.settle()
    return np.stack([_averaged(labels[view], doubts[view], view, volumes) for view in range(len(images))])


def _beside(mask: np.ndarray) -> np.ndarray:
    """Return the logarithms of the odds (H, W) that pixels outside of a mask (H, W) do not show its object."""
    certainty = np.full(mask.shape, np.inf)
    v, u = np.nonzero(mask)
    certainty[v.min() : v.max() + 1, u.min() : u.max() + 1] = _IN_BOX
    return certainty


def _segment_view(
    image: np.ndarray,
    view: int,
    volumes: list[ObjectVolume],
    colors: list[list[np.ndarray]],
    trust: Trust,
) -> tuple[np.ndarray, np.ndarray]:
    """Take one view as evidence on the volumes.

    Returns:
        Its label picture (H, W), and where each object may be although it was not cut out, as colours do not tell,
        (K, H, W) bool.
    """
    fronts, thicknesses = (np.stack(values) for values in zip(*(volume.draw(view) for volume in volumes), strict=True))
    hulls = fronts < FAR
    shape = image.shape[:2]
    certainties, likelihoods = [], np.full((len(volumes), *shape), -np.inf)
    for index in range(len(volumes)):
        possible = cv2.dilate(hulls[index].astype(np.uint8), np.ones((2 * _BEYOND + 1,) * 2, np.uint8)) > 0
        certainty = np.full(shape, np.inf)
        foreground = np.concatenate(colors[index])
        if possible.any() and len(foreground):
            window = Window.around(possible)
            picture, region = window.picture(image), window.region(possible)
            around = picture[~window.region(np.any(hulls, 0))]
            background = around if len(around) >= _FEWEST_COLORS else picture[~region]
            if len(background):
                models = ColorModels.learn(foreground, background)
                cut = window.restore(models.cut(picture, region), shape)
                part = image[window.rows, window.columns]
                certainty[window.rows, window.columns] = -models.log_odds(part)
                if cut.sum() < _LEAST_SHARE * possible.sum():
                    certainty[:] = 0  # the view tells nothing
                likely = np.zeros(shape)
                likely[window.rows, window.columns] = cv2.blur(models.log_likelihood(part), (_SMOOTH, _SMOOTH))
                # Of several objects on a ray, the more of one there is the likelier it is seen.
                likelihoods[index][cut] = (likely + np.log(np.maximum(thicknesses[index], _THINNEST)))[cut]
        certainties.append(certainty)
    labels = np.where(likelihoods.max(0) > -np.inf, likelihoods.argmax(0) + 1, 0).astype(np.uint8)
    doubts = hulls & (labels == 0) & (np.stack(certainties) < _DOUBTFUL)
    for index, (volume, certainty) in enumerate(zip(volumes, certainties, strict=True)):
        certainty[(certainty > 0) & (certainty < _DOUBTFUL)] = -np.inf
        other = (labels > 0) & (labels != index + 1)
        # What is another's may be behind it, or the two look alike: that says little.
        certainty[other] = np.where(hulls[index][other], 0, np.inf)
        # Another may stand in front, and not be recognised there.
        covered = np.delete(fronts, index, 0).min(0, initial=FAR) < fronts[index]
        np.minimum(certainty, 0, out=certainty, where=covered & hulls[index])
        front = np.take_along_axis(fronts, np.maximum(labels[None].astype(int) - 1, 0), 0)[0]
        volume.observe(view, labels == index + 1, certainty, np.where(other, front, FAR).astype(np.float32), trust)
    return labels, doubts


def _averaged(labels: np.ndarray, doubts: np.ndarray, view: int, volumes: list[ObjectVolume]) -> np.ndarray:
    """Return a view's label picture (H, W) between what was cut out and the silhouettes of the volumes.

    Args:
        labels, doubts: see ``_segment_view``.
    """
    fronts = np.stack([volume.draw(view)[0] for volume in volumes])
    silhouettes = np.where(fronts.min(0) < FAR, fronts.argmin(0) + 1, 0)
    weights = []
    for label in range(1, len(volumes) + 1):
        cut, silhouette = (
            np.clip(signed_distance(found == label), -_CERTAIN, _CERTAIN) for found in (labels, silhouettes)
        )
        cut[doubts[label - 1]] = np.maximum(cut[doubts[label - 1]], -_DOUBTED)
        weights.append(cut + _HULL_WEIGHT * silhouette)
    best = np.stack(weights)
    return np.where(best.max(0) > 0, best.argmax(0) + 1, 0).astype(np.uint8)
