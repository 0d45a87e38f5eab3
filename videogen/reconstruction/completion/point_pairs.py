"""Pair points of a completed object with where pictures show them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gaussians.cameras import Cameras, look_at
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.stage.shape_checks import check_shape
from videogen.reconstruction.plane_sweep import unproject

if TYPE_CHECKING:  # their libraries are optional
    from externals.diffsplat import DiffSplatObject
    from externals.feature_matching import Matcher

_OPAQUE = 0.5
# Of the pictures of a completed object that features are matched with.
_AZIMUTHS, _ELEVATIONS = 20, (0.0, 9.0, 18.0, 27.0, 36.0)  # how many around, and degrees above the horizon
_SIDE = 256  # pixels
_FILLED = 0.8  # of the side, by a ball around the object
_FIELD = 40.0  # degrees
_TAIL = 0.01  # share of Gaussians outside of that ball


@dataclass(frozen=True)
class PointPairs:
    """A ``PointPairs`` holds N points of a completed object, and where each was seen.

    Attributes:
        completed: (N, 3), in the completed object's frame.
        seen: (N, 3), in the pictures' common one.
    """

    completed: torch.Tensor
    seen: torch.Tensor

    def __post_init__(self) -> None:
        check_shape("completed", self.completed, "N", 3)
        check_shape("seen", self.seen, len(self.completed), 3)

    def __len__(self) -> int:
        return len(self.completed)


@dataclass(frozen=True)
class SeenCrop:
    """A ``SeenCrop`` holds the points that the pixels of a picture show, and which part of it was cut out.

    Attributes:
        points: (H, W, 3).
        valid: (H, W) bool, pixels that surely show the object.
        box: x0, y0, x1, y1 of the part, pixels, ends excluded.
        size: width and height that the part was enlarged to, pixels.
    """

    points: torch.Tensor
    valid: torch.Tensor
    box: Sequence[float]
    size: tuple[int, int]

    def at(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is seen at (N, 2) x, y of the enlarged part: points (N, 3), and (N,) bool whether surely."""
        height, width = self.valid.shape
        low, high = torch.tensor(self.box).to(pixels).split(2)
        column, row = (low + pixels / torch.tensor(self.size).to(pixels) * (high - low)).floor().long().unbind(1)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
        column, row = column.to(self.valid.device), row.to(self.valid.device)
        return self.points[row, column], self.valid[row, column] & inside.to(self.valid.device)


def pairs_of_conditioning(completed: "DiffSplatObject", crop: SeenCrop) -> PointPairs:
    """Return a pair for each Gaussian of the picture that an object was made from: its pixel says where it was seen.

    Args:
        crop: the picture that the object was made from.
    """
    inside = completed.conditioning.inside.to(completed.gaussians.device)
    shown = inside.flatten() & (completed.gaussians.opacities[: inside.numel()] > _OPAQUE)
    row, column = torch.nonzero(inside.new_ones(inside.shape), as_tuple=True)
    pixels = completed.conditioning.in_input(torch.stack([column, row], 1)[shown] + 0.5)
    points, valid = crop.at(pixels)
    means = completed.gaussians.means[: inside.numel()][shown].to(points)
    return PointPairs(means[valid], points[valid])


def pairs_by_matching(matcher: "Matcher", image: torch.Tensor, crop: SeenCrop, completed: Gaussians) -> PointPairs:
    """Return pairs of points that look alike in a picture and in one of many of the completed object from around.

    Of these the one with the most pairs counts. A point is where the nearest surface is, so that the far side, which
    is on the same ray, is never taken for it.

    Args:
        image: (H, W, 3) uint8, the part that was cut out, enlarged.
        crop: the same.
        completed: the object, in a frame with y upwards.
    """
    cameras = _cameras_around(completed.means)
    drawn = rasterize(completed, cameras, background=torch.ones(3))
    pictures = (drawn.rgb.clamp(0, 1) * 255).round().byte()
    surfaces = unproject(cameras, drawn.depth)
    best = PointPairs(completed.means[:0], completed.means[:0])
    for matches, surface, alpha in zip(matcher.match_all(image, pictures), surfaces, drawn.alpha, strict=True):
        seen, valid = crop.at(matches.points0)
        there = SeenCrop(surface, alpha > _OPAQUE, (0, 0, _SIDE, _SIDE), (_SIDE, _SIDE))
        points, opaque = there.at(matches.points1)
        chosen = valid.to(opaque.device) & opaque
        if int(chosen.sum()) > len(best):
            best = PointPairs(points[chosen], seen[chosen.to(seen.device)].to(points))
    return best


def _cameras_around(points: torch.Tensor) -> Cameras:
    """Return cameras all around points (N, 3), at several elevations, with y upwards."""
    center = points.median(0).values
    radius = (points - center).norm(dim=1).quantile(1 - _TAIL)
    focal = _SIDE / 2 / math.tan(math.radians(_FIELD / 2))
    away = radius / math.sin(_FILLED * math.radians(_FIELD / 2))
    azimuths = torch.arange(_AZIMUTHS) * (2 * math.pi / _AZIMUTHS)
    elevation, azimuth = torch.cartesian_prod(torch.deg2rad(torch.tensor(_ELEVATIONS)), azimuths).to(points).unbind(1)
    directions = torch.stack([elevation.cos() * azimuth.sin(), elevation.sin(), elevation.cos() * azimuth.cos()], 1)
    return look_at(center + away * directions, center, _SIDE, _SIDE, focal, up=(0, 1, 0))
