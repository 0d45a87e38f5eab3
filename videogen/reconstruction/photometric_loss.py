"""Compare drawn pictures with photographs: structural similarity, and the loss that Gaussians are optimised with."""

from functools import cache

import torch

SMALLEST = 11
"""Pixels along the shorter side of the smallest pictures that can be compared: the window of ``ssim``."""
_WINDOW, _SIGMA = SMALLEST, 1.5  # pixels
_C1, _C2 = 0.01**2, 0.03**2


def ssim(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the structural similarity of pictures, averaged over pixels and channels (Wang et al. 2004).

    With a Gaussian window of 11 pixels, sigma 1.5, whole inside the picture. The window is separable, and blurring is a
    product with a band matrix on either side, which on a CPU is several times as fast as a convolution.

    Args:
        a, b: (..., H, W), 0 to 1, at least 11 pixels wide and high.
    """
    rows, columns = (_band(size, a.device) for size in a.shape[-2:])

    def blur(image: torch.Tensor) -> torch.Tensor:
        return rows @ image @ columns.mT

    mean_a, mean_b = blur(a), blur(b)
    variance_a, variance_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    return (luminance * structure).mean()


def photometric_loss(drawn: torch.Tensor, picture: torch.Tensor, dissimilarity: float = 0.2) -> torch.Tensor:
    """Return (1 - w) L1 + w (1 - SSIM) of two pictures (H, W, 3) (Kerbl et al. 2023, w = 0.2)."""
    absolute = (drawn - picture).abs().mean()
    return (1 - dissimilarity) * absolute + dissimilarity * (1 - ssim(drawn.movedim(-1, 0), picture.movedim(-1, 0)))


@cache
@torch.inference_mode(False)
def _band(size: int, device: torch.device) -> torch.Tensor:
    """Return the matrix (size - 10, size) whose product with a signal is its weighted means over the window."""
    offsets = torch.arange(_WINDOW, device=device) - _WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    window = window / window.sum()
    count = size - _WINDOW + 1
    band = torch.zeros(count, size, device=device)
    rows = torch.arange(count, device=device)
    for k in range(_WINDOW):
        band[rows, rows + k] = window[k]
    return band


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the peak signal-to-noise ratio of two pictures of values 0 to 1, decibels."""
    return -10 * (a - b).square().mean().clamp_min(1e-10).log10().item()
