"""Measure how far a predicted trajectory is from the true one; docs/metrics.md has the formulas."""

import math
from dataclasses import dataclass

import torch

from dynamic_models.models.building_blocks.body_frame import centers

_CONTACT = 1.0  # m/s^2: what else than gravity accelerates an object by as much touches it
_TOGETHER = 2  # frames: contacts no farther apart are one collision
_AFTER = 0.2  # seconds after contact, when it is over and hardly a second one has come


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


def first_contact_error(
    predicted: torch.Tensor,
    target: torch.Tensor,
    mask: torch.Tensor,
    shares: torch.Tensor,
    gravity: torch.Tensor,
    pushed: torch.Tensor,
    frame_dt: float,
) -> float:
    """Return how far objects are from the truth 0.2 s after the scene's first contact, metres; NaN if none is in time.

    Later errors are mostly what collisions make of this one. Of the objects that touch something first, which in the
    frame before fell freely, it is the mean of their root mean squared distances.

    Args:
        predicted, target: (T, O, P, 3), metres.
        mask: (O, P), which keypoints exist.
        shares: (O, P), of their object's mass.
        gravity: (3,), m/s^2.
        pushed: (T - 1, O), bool, on which objects external forces act between two frames.
        frame_dt: seconds from frame to frame.
    """
    later = round(_AFTER / frame_dt)
    if len(target) < 4:
        return math.nan
    accelerations = centers(target.double(), shares.double()).diff(dim=0).diff(dim=0) / frame_dt**2 - gravity.double()
    touched = accelerations.norm(dim=-1) > _CONTACT  # (T - 2, O), of the frames from 1 on
    begins = touched[1:] & ~touched[:-1] & ~(pushed[:-2] | pushed[1:-1] | pushed[2:])
    if not begins.any():
        return math.nan
    first = int(begins.any(1).nonzero()[0])
    errors = []
    for label in begins[first : first + _TOGETHER + 1].any(0).nonzero().flatten().tolist():
        frame = int(begins[:, label].nonzero()[0]) + 2 + later  # ``begins`` is of the frames from 2 on
        if frame >= len(target):
            return math.nan
        own = mask[label]
        errors.append(
            (predicted[frame, label, own] - target[frame, label, own]).double().square().sum(-1).mean().sqrt()
        )
    return float(torch.stack(errors).mean())


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
