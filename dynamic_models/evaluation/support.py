"""Measure whether what lies still could lie so: its centre of mass over the points that it is held at."""

import numpy as np
import torch
from scipy.spatial import cKDTree

_STILL_SPEED = 0.05  # m/s, of an object's centre
_STILL_TIME = 0.2  # seconds: what nothing holds gains 1 m/s in them where gravity is 5 m/s^2
_STRIDE = 5  # every so-many-th frame is looked at
_DIRECTIONS = 72  # in which a hull is looked at, 5 degrees apart: distances from it come out up to 0.1 % short
_STEEP = 0.5  # sine of 30 degrees: an object farther above than this is carried rather than held by


def unsupported(
    positions: torch.Tensor, mask: torch.Tensor, centers: torch.Tensor, frame_dt: float, floor: float, dx: float
) -> float:
    """Return the share of what lies still whose centre of mass is not over its support; NaN where nothing lies still.

    Of all objects in some frames; docs/metrics.md has the definition.

    Args:
        positions: (T, O, P, 3), keypoints, metres.
        mask: (O, P), bool, which of them exist; every object has one.
        centers: (T, O, 3), centres of mass, metres.
        frame_dt: seconds from frame to frame.
        floor: height of the floor, metres.
        dx: cell size of the simulation's grid, metres; 0 for unknown.
    """
    clouds = [positions[:, i, own].double() for i, own in enumerate(mask)]
    spacings = [_spacing(cloud[0].numpy()) for cloud in clouds]
    still = _still(centers, frame_dt)[::_STRIDE]
    outside = []
    for frame, i in still.nonzero().tolist():
        points = [cloud[frame * _STRIDE].numpy() for cloud in clouds]
        grain = max(dx, spacings[i])
        support = _support(points, i, floor, grain)
        outside.append(_distance_from_hull(centers[frame * _STRIDE, i, :2].numpy(), support[:, :2]) > spacings[i] / 2)
    return float(np.mean(outside)) if outside else float("nan")


def _still(centers: torch.Tensor, frame_dt: float) -> torch.Tensor:
    """Return whether an object's centre was still for some time before each frame, (T, O), bool."""
    steps = max(1, round(_STILL_TIME / frame_dt))
    slow = centers.diff(dim=0).norm(dim=-1) < _STILL_SPEED * frame_dt
    found = torch.zeros(centers.shape[:2], dtype=torch.bool)
    if len(slow) >= steps:
        found[steps:] = slow.unfold(0, steps, 1).all(-1)
    return found


def _support(clouds: list[np.ndarray], i: int, floor: float, grain: float) -> np.ndarray:
    """Return the points (M, 3) of object i that touch the floor or objects that are not above them.

    Two things touch if their nearest points are no farther apart than two ``grain``; with these, all points touch that
    are hardly farther away.
    """
    own = clouds[i]
    height = own[:, 2] - floor
    lowest = height.min()
    touching = (height <= lowest + grain / 2) & (lowest <= grain)
    for j, other in enumerate(clouds):
        if j == i or _gap(own, other) > 2 * grain:
            continue
        distance, nearest = cKDTree(other).query(own)
        above = other[nearest, 2] - own[:, 2] > _STEEP * distance
        touching |= (distance <= min(distance.min() + grain / 2, 2 * grain)) & ~above
    return own[touching]


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest distance between the boxes around two clouds along an axis, metres."""
    return float(np.maximum(a.min(0) - b.max(0), b.min(0) - a.max(0)).max())


def _distance_from_hull(point: np.ndarray, points: np.ndarray) -> float:
    """Return how far a point (2,) is outside of the convex hull of ``points`` (M, 2), metres; infinite for none."""
    if not len(points):
        return float("inf")
    angles = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    return float((point @ directions - (points @ directions).max(0)).max())


def _spacing(points: np.ndarray) -> float:
    """Return the median distance of points (P, 3) to their nearest neighbours, metres."""
    if len(points) < 2:
        return 0.0
    return float(np.median(cKDTree(points).query(points, k=2)[0][:, 1]))
