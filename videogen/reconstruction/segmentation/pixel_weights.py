"""Tell how much of each Gaussian pictures show."""

from dataclasses import replace

import torch

from gaussians.cameras import Cameras
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import C0


def pixel_weights(gaussians: Gaussians, camera: Cameras, masks: torch.Tensor | None = None) -> torch.Tensor:
    """Return the weights (N, 3) of Gaussians in the colours of a picture's pixels, summed over up to three masks.

    A pixel's colour is the sum of the Gaussians' colours by their weights: the weights in some pixels are the
    derivative of the sum of their colours by the Gaussian's.

    Args:
        gaussians: N of them.
        camera: a single one.
        masks: (H, W, 3), one in each channel; None: all pixels.
    """
    # Grey: colours below 0 are cut off, and carry no derivative.
    sh = torch.zeros(len(gaussians), 1, 3, device=gaussians.device, requires_grad=True)
    with torch.enable_grad():
        drawn = rasterize(replace(gaussians, sh=sh), camera).rgb[0]
        (derivative,) = torch.autograd.grad((drawn if masks is None else drawn * masks).sum(), sh)
    return derivative[:, 0] / C0
