"""Find the focal lengths that explain where points of a camera's frame lie in its picture."""

import torch


def fit_intrinsics(local_points: torch.Tensor, confidences: torch.Tensor) -> torch.Tensor:
    """Return the intrinsics (N, 3, 3), pixels, that views of one camera share.

    Each focal length makes the weighted sum of absolute errors of the points' directions the least: its inverse is the
    weighted median of what pixels say, so that less than half of the weight may say anything.

    Args:
        local_points: (N, H, W, 3), of pixels, in their camera's frame.
        confidences: (N, H, W), weights.
    """
    count, height, width = confidences.shape
    Ks = torch.eye(3).to(local_points).repeat(count, 1, 1)
    for axis, size in ((0, width), (1, height)):
        slopes = local_points[..., axis] / local_points[..., 2]
        pixels = torch.arange(size).to(slopes) + 0.5 - size / 2
        pixels = (pixels if axis == 0 else pixels[:, None]).expand_as(slopes)
        Ks[:, axis, axis] = 1 / _weighted_median((slopes / pixels).flatten(), (confidences * pixels.abs()).flatten())
        Ks[:, axis, 2] = size / 2
    return Ks


def _weighted_median(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the value below and above which there is half of the weight, of values (M,)."""
    values, order = values.sort()
    sums = weights[order].double().cumsum(0)
    return values[torch.searchsorted(sums, sums[-1:] / 2)[0]]


def published_intrinsics(local_points: torch.Tensor) -> torch.Tensor:
    """Return the intrinsics (N, 3, 3) as published: each view's least squares, with pixels' centres at whole numbers.

    Args:
        local_points: (N, H, W, 3), of pixels, in their camera's frame.
    """
    count, height, width, _ = local_points.shape
    Ks = torch.eye(3).to(local_points).repeat(count, 1, 1)
    for axis, size in ((0, width), (1, height)):
        depths = local_points[..., 2]
        slopes = (local_points[..., axis] / (depths + 1e-6)).where(depths.abs() > 1e-6, 0)
        pixels = torch.arange(size).to(slopes) - size / 2
        pixels = pixels if axis == 0 else pixels[:, None]
        Ks[:, axis, axis] = (slopes * pixels).sum((1, 2)) / slopes.square().sum((1, 2)).clamp_min(1e-6)
        Ks[:, axis, 2] = size / 2
    return Ks
