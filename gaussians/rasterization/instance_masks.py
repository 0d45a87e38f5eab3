"""Tell which object each pixel shows."""

from dataclasses import replace

import torch

from gaussians.cameras import Cameras
from gaussians.rasterization.api import rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh

NO_OBJECT = 0
MAX_OBJECTS = 255


def instance_masks(gaussians: Gaussians, cameras: Cameras, num_objects: int) -> torch.Tensor:
    """Return the object that contributes most to each pixel: its label + 1, or 0 where all else contributes more.

    An object's contribution is the sum of the weights of its Gaussians in the pixel's colour. Everything else is the
    Gaussians without a label and what shines through from behind the last one.

    Args:
        gaussians: Gaussians with labels, -1 or 0 to ``num_objects`` - 1.
        cameras: C cameras.
        num_objects: number of objects, at most 255.

    Returns:
        (C, H, W) uint8, on the Gaussians' device.

    Raises:
        ValueError: there are no labels, a label or the number of objects is out of range.
    """
    if gaussians.labels is None:
        raise ValueError("gaussians: expected labels")
    if not 0 <= num_objects <= MAX_OBJECTS:
        raise ValueError(f"num_objects: expected 0 to {MAX_OBJECTS}, found {num_objects}")
    if len(gaussians) and int(gaussians.labels.max()) >= num_objects:
        raise ValueError(f"labels: expected at most {num_objects - 1}, found {int(gaussians.labels.max())}")
    shape = (len(cameras), cameras.height, cameras.width)
    most = torch.zeros(shape, device=gaussians.device)
    others = torch.ones(shape, device=gaussians.device)
    masks = torch.full(shape, NO_OBJECT, dtype=torch.uint8, device=gaussians.device)
    # Draw three objects at a time, one in each colour, before black.
    for first in range(0, num_objects, 3):
        shown = torch.stack([gaussians.labels == label for label in range(first, first + 3)], 1)
        colored = replace(gaussians, sh=rgb_to_sh(shown.to(gaussians.means)))
        for label, weights in enumerate(rasterize(colored, cameras).rgb.unbind(-1), first):
            others -= weights
            masks.masked_fill_(weights > most, label + 1)
            most = torch.maximum(most, weights)
    return masks.masked_fill_(others > most, NO_OBJECT)
