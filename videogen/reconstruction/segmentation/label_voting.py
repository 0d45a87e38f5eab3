"""Let label pictures vote on the objects that Gaussians belong to, and draw better label pictures from the outcome."""

from dataclasses import replace

import torch

from gaussians.cameras import Cameras
from gaussians.rasterization import instance_masks
from gaussians.representation import Gaussians
from gaussians.stage.shape_checks import check_shape
from videogen.reconstruction.segmentation.pixel_weights import pixel_weights

_AT_ONCE = 3  # labels, one in each colour
_KEPT = 0.4
"""Share of the votes that a Gaussian's own label gets beforehand: an optimisation with masks gave it a place there."""
_FEWEST = 1e-3  # pixels that a Gaussian must be seen in, in all views together, to be voted on


def vote_labels(gaussians: Gaussians, cameras: Cameras, labels: torch.Tensor) -> torch.Tensor:
    """Return the label of each of N Gaussians, (N,) int32: the object that it is seen in most, -1 for none.

    A Gaussian is seen in a pixel as far as its colour is in the pixel's, so that what stands before it counts. A label
    that it has is kept unless another one gets clearly more; one that no view sees keeps its label, too.

    Args:
        cameras: C of them.
        labels: (C, H, W) uint8, which object each pixel shows, 1 to K, 0 for none.

    Raises:
        ValueError: the label pictures are not of the cameras' number or size.
    """
    check_shape("labels", labels, len(cameras), cameras.height, cameras.width)
    seen = _seen_in_labels(gaussians, cameras, labels.to(gaussians.device))
    total = seen.sum(1, keepdim=True)
    shares = seen / total.clamp_min(_FEWEST)
    before = gaussians.labels
    if before is None:
        before = torch.full((len(gaussians),), -1, dtype=torch.int32, device=gaussians.device)
    else:
        shares += _KEPT * torch.nn.functional.one_hot(before.long() + 1, shares.shape[1])
    return torch.where(total[:, 0] > _FEWEST, shares.argmax(1).int() - 1, before)


def refine_masks(gaussians: Gaussians, cameras: Cameras, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return label pictures (C, H, W) uint8 that agree with each other, and the Gaussians' labels (N,) behind them.

    The Gaussians are voted on by the pictures given, and their labels drawn: where an object ends in a picture is
    decided by what all pictures show.

    Args:
        gaussians: N of them, optimised to look like the scene.
        cameras: C of them.
        labels: (C, H, W) uint8, label pictures, 0 for none, 1 to K.

    Raises:
        ValueError: as in ``vote_labels``.
    """
    voted = vote_labels(gaussians, cameras, labels)
    return instance_masks(
        replace(gaussians, labels=voted), cameras, max(int(labels.max()), int(voted.max()) + 1)
    ), voted


def _seen_in_labels(gaussians: Gaussians, cameras: Cameras, labels: torch.Tensor) -> torch.Tensor:
    """Return the weights (N, K + 1) of Gaussians in the pixels of each label, summed over all pixels and views."""
    known = -1 if gaussians.labels is None or not len(gaussians) else int(gaussians.labels.max())
    count = max(int(labels.max()), known + 1) + 1
    seen = torch.zeros(len(gaussians), count, device=gaussians.device)
    for first in range(0, count, _AT_ONCE):
        chosen = torch.arange(first, first + _AT_ONCE, device=gaussians.device)
        for view in range(len(cameras)):
            shown = (labels[view, ..., None] == chosen).float()
            if not shown.any():
                continue
            weights = pixel_weights(gaussians, cameras[view : view + 1], shown)
            seen[:, first : first + _AT_ONCE] += weights[:, : count - first]
    return seen
