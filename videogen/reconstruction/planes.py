"""Find the plane that most points lie near, whatever else there is (RANSAC, Fischler & Bolles 1981)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from gaussians.stage.shape_checks import check_shape

_HYPOTHESES = 2000
_MOST_POINTS = 2000  # that hypotheses are compared with
_REFINEMENTS = 5


@dataclass(frozen=True)
class Plane:
    """A ``Plane`` holds all points p with normal . p = offset.

    Attributes:
        normal: (3,) float64, of unit length.
        offset: its distance from the origin, along the normal.
        share: of the points that it was found for, how many lie near it.
    """

    normal: torch.Tensor
    offset: float
    share: float


def fit_plane(
    points: torch.Tensor,
    thickness: float,
    possible: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    seed: int = 0,
) -> Plane | None:
    """Return the plane that most points are nearer to than ``thickness``, fitted to these; None where there is none.

    Args:
        points: (N, 3).
        thickness: in the points' unit.
        possible: tells which of H planes, normals (H, 3) and offsets (H,), may be it, as (H,) bool.
        seed: of the planes that are tried.
    """
    check_shape("points", points, "N", 3)
    if len(points) < 3:
        return None
    generator = torch.Generator().manual_seed(seed)
    points = points.double()
    some = points[torch.randperm(len(points), generator=generator)[:_MOST_POINTS].to(points.device)]
    corners = some[torch.randint(len(some), (_HYPOTHESES, 3), generator=generator).to(points.device)]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = normals.norm(dim=1)
    proper = lengths > thickness**2  # three points on a line span no plane
    normals = normals[proper] / lengths[proper, None]
    offsets = (normals * corners[proper, 0]).sum(1)
    if possible is not None:
        allowed = possible(normals, offsets)
        normals, offsets = normals[allowed], offsets[allowed]
    if not len(normals):
        return None
    best = ((some @ normals.T - offsets).abs() < thickness).sum(0).argmax()
    normal, offset = normals[best], offsets[best]
    for _ in range(_REFINEMENTS):
        near = points[(points @ normal - offset).abs() < thickness]
        mean = near.mean(0)
        _, directions = torch.linalg.eigh((near - mean).mT @ (near - mean))
        normal = directions[:, 0] * torch.sign(directions[:, 0] @ normal)
        offset = normal @ mean
    share = ((points @ normal - offset).abs() < thickness).double().mean()
    return Plane(normal, float(offset), float(share))
