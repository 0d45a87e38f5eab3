"""Measure how far a predicted trajectory is from the true one; docs/metrics.md has the formulas."""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class TrajectoryErrors:
    """A ``TrajectoryErrors`` holds the errors of one scene.

    Attributes:
        rmse: root mean squared distance of keypoints over all frames and objects, metres.
        rmse_per_coordinate: root mean squared error of their coordinates, which is that over sqrt 3, metres.
        final_position_error: mean distance of keypoints in the last frame, metres.
        correlation: Pearson's R between predicted and true displacements from frame 0; NaN where nothing moves.
        correlation_of_positions: Pearson's R between predicted and true positions.
        over_time: (T,), root mean squared distance in every frame, metres.
    """

    rmse: float
    rmse_per_coordinate: float
    final_position_error: float
    correlation: float
    correlation_of_positions: float
    over_time: torch.Tensor


def trajectory_errors(predicted: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> TrajectoryErrors:
    """Compare two trajectories (T, O, P, 3), metres, at the keypoints that ``mask`` (O, P) says exist."""
    predicted, target = predicted[:, mask].double(), target[:, mask].double()  # (T, M, 3)
    squared = (predicted - target).square().sum(-1)
    rmse = float(squared.mean().sqrt())
    return TrajectoryErrors(
        rmse=rmse,
        rmse_per_coordinate=rmse / math.sqrt(3),
        final_position_error=float(squared[-1].sqrt().mean()),
        correlation=correlation(predicted - predicted[:1], target - target[:1]),
        correlation_of_positions=correlation(predicted, target),
        over_time=squared.mean(-1).sqrt(),
    )


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return Pearson's correlation of all entries of ``a`` and ``b``; NaN where either is constant."""
    a, b = (a - a.mean()).flatten(), (b - b.mean()).flatten()
    return float((a @ b) / (a.norm() * b.norm()))


def mean_squared_error(predicted: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the training loss of each scene, (B,), m^2: squared error per coordinate, mean over frames and keypoints.

    Args:
        predicted, target: (B, T, O, P, 3), metres.
        mask: (B, O, P), which keypoints exist.
    """
    squared = (predicted.float() - target).square().sum(-1) * mask[:, None]
    count = mask.sum((1, 2)) * predicted.shape[1] * 3
    return squared.sum((1, 2, 3)) / count.clamp_min(1)
