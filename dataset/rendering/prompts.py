"""This module makes the content of prompts.json: where each object is in the first view, and what it is."""

import cv2
import numpy as np
import torch

from dataset.catalog import object_by_name
from dataset.layout import Layout
from gaussians.cameras import Cameras
from gaussians.files.prompts import Prompts
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError

_NEAR = 0.01
_MIN_SIDE = 2.0
"""Least width and height of a box, pixels."""


def object_prompt(name: str, layout: Layout) -> str:
    """Return the catalogue's text for an object, or for one that came with a scene only its name."""
    try:
        return object_by_name(name, layout).prompt
    except InputError:
        return f"A {name}."


def object_prompts(gaussians: Gaussians, cameras: Cameras, texts: list[str], mask: np.ndarray) -> Prompts:
    """Return a point, a box and a text for each object, in pixels of the first camera.

    The box bounds the pixels that show the object, and the point is the one of them that lies deepest inside. Of an
    object that no pixel shows they are where it would be seen if nothing stood before it, moved into the image: the
    bounds of its Gaussians' centres and the centre nearest to their mean, or the image's if it is behind the camera.

    Args:
        gaussians: the scene, with labels 0 to ``len(texts)`` - 1.
        texts: the prompt of each label.
        mask: (H, W), what the first camera shows: label + 1, 0 for none.

    Returns:
        One of each an object, boxes within 0 .. W - 1 and 0 .. H - 1 and, as far as the image is that large, at least
        two pixels wide and high.
    """
    if gaussians.labels is None:
        raise ValueError("gaussians: expected labels")
    limit = np.array([cameras.width - 1.0, cameras.height - 1.0])
    points, boxes = [], []
    for label in range(len(texts)):
        shown = mask == label + 1
        if shown.any():
            pixels = np.argwhere(shown)[:, ::-1].astype(float)
            point = _deepest(shown)
        else:
            pixels = np.clip(_project(gaussians.means[gaussians.labels == label], cameras), 0, limit)
            point = pixels[np.linalg.norm(pixels - pixels.mean(0), axis=1).argmin()]
        low, high = pixels.min(0), pixels.max(0)
        missing = np.maximum(_MIN_SIDE - (high - low), 0) / 2
        low, high = low - missing, high + missing
        inside = np.maximum(-low, 0) - np.maximum(high - limit, 0)
        low, high = np.clip(low + inside, 0, limit), np.clip(high + inside, 0, limit)
        points.append(tuple(point.tolist()))
        boxes.append((*low.tolist(), *high.tolist()))
    return Prompts(points=tuple(points), boxes=tuple(boxes), texts=tuple(texts))


def _deepest(shown: np.ndarray) -> np.ndarray:
    """Return (u, v) of the pixel of ``shown`` (H, W) that is farthest from all others and from the image's edge."""
    depth = cv2.distanceTransform(np.pad(shown, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    v, u = np.unravel_index(depth.argmax(), depth.shape)
    return np.array([u, v], float)


def _project(means: torch.Tensor, cameras: Cameras) -> np.ndarray:
    """Return the pixels (M, 2) of those ``means`` before the first camera; the image's centre if there is none."""
    viewmat, K = cameras.viewmats[0].cpu(), cameras.Ks[0].cpu()
    local = means.cpu() @ viewmat[:3, :3].T + viewmat[:3, 3]
    local = local[local[:, 2] > _NEAR]
    if len(local) == 0:
        local = torch.tensor([[0.0, 0.0, 1.0]])
    return ((local @ K.T)[:, :2] / local[:, 2:]).double().numpy()
