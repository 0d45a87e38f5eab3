"""Describe objects' surfaces by points with normals, and find how far points of other objects are above them."""

from typing import NamedTuple

import torch
import warp as wp
from torch.nn.functional import pad

from dynamic_models.contact import surface_kernels as kernels
from dynamic_models.contact.body_contact import CHUNK, FAR, surroundings
from gaussians.stage.warp_runtime import as_array, launch

_THREADS = 600_000  # enough to fill a GPU: if pairs of points and objects are fewer, several threads share a pair
NO_GAP = float(kernels.NO_GAP)  # metres, of points without a partner
_SURE = 0.3  # how far off the middle of its neighbours, over their mean distance, a point on a surface is


class SurfaceContact(NamedTuple):
    """A ``SurfaceContact`` says how each point lies to its partner: the other object whose surface is nearest to it.

    Attributes:
        gaps: (B, O, P), height above the partner's surface, metres, negative inside; ``NO_GAP`` without a partner.
        normals: (B, O, P, 3), unit vectors out of the partner's surface; 0 without a partner.
        partner: (B, O, P, O), 1 for the partner, else 0.
    """

    gaps: torch.Tensor
    normals: torch.Tensor
    partner: torch.Tensor


def surface_normals(points: torch.Tensor, mask: torch.Tensor, radii: torch.Tensor) -> torch.Tensor:
    """Return outward normals (B, O, P, 3) of objects at their points: unit vectors on surfaces, shorter inside.

    A point on a surface has its neighbours on one side. The sum of the offsets from these, weighted by
    1 - (distance / radius)^2 squared, points outwards.

    Args:
        points: (B, O, P, 3), metres, of a solid body.
        mask: (B, O, P), bool.
        radii: (B, O), how far neighbours are looked for, metres.
    """
    # Not by a matrix product: cancellation would make errors of millimetres.
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    weights = (1 - (distances / radii[..., None, None]).square()).clamp_min(0).square() * mask[..., None, :]
    away = points * weights.sum(-1, keepdim=True) - weights @ points
    length = away.norm(dim=-1)
    typical = (weights * distances).sum(-1).clamp_min(1e-12)
    sureness = (length / (_SURE * typical)).clamp_max(1)
    return away / length.clamp_min(1e-12)[..., None] * (sureness.square() * mask)[..., None]


@torch.no_grad()
def surface_contact(
    world: torch.Tensor, normals: torch.Tensor, mask: torch.Tensor, radii: torch.Tensor, thickness: torch.Tensor
) -> SurfaceContact:
    """Return how each point lies to the nearest surface of another object.

    The surface is where the weighted mean height above the tangent planes of its points is 0 (implicit moving least
    squares, Shen, O'Brien & Shewchuk 2004). Where normals cancel, as between the sides of a sheet, it is a ball around
    the weighted mean of the points. Nothing has a gradient.

    Args:
        world: (B, O, P, 3), metres; the search is faster if points are in ``spatial_order``.
        normals: (B, O, P, 3), what ``surface_normals`` returns, turned with the objects.
        mask: (B, O, P), bool.
        radii: (B, O), how far an object's points weigh, metres.
        thickness: (B, O), radius of the ball, metres.
    """
    count = world.shape[2]
    lacking = (0, 0, 0, -count % CHUNK)
    points = pad(torch.where(mask[..., None], world, FAR), lacking, value=FAR)
    boxes = surroundings(points, radii[..., None, None])
    found = nearest_surfaces(points, pad(normals, lacking), radii, thickness, *boxes)
    return SurfaceContact(*(tensor[:, :, :count].to(world) for tensor in found))


@torch.library.custom_op("dynamic_models::nearest_surfaces", mutates_args=())
def nearest_surfaces(
    points: torch.Tensor,
    normals: torch.Tensor,
    radii: torch.Tensor,
    thickness: torch.Tensor,
    boxes: torch.Tensor,
    object_boxes: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute the tensors of ``SurfaceContact``, in float32.

    Args:
        points: (B, O, P, 3), metres, with P a multiple of ``CHUNK``; those that do not exist are at ``FAR``.
        normals: (B, O, P, 3).
        radii, thickness: (B, O), metres.
        boxes, object_boxes: what ``surroundings`` returns.
    """
    batch, objects, count, _ = points.shape
    pairs = batch * objects**2
    sums = as_array(torch.zeros(int(kernels.SUMS), pairs, count, device=points.device), wp.float32)
    shares = max(1, min(count // CHUNK, _THREADS // (pairs * count))) if points.is_cuda else 1
    arguments = [
        *(as_array(each, wp.vec3) for each in (points, normals)),
        *(as_array(each, wp.float32) for each in (radii, boxes, object_boxes)),
        shares,
        sums,
    ]
    launch(kernels.add_planes, (pairs, shares, count), arguments, points.device)
    found = _found(points)
    outputs = [as_array(tensor, dtype) for tensor, dtype in zip(found, (wp.float32, wp.vec3, wp.float32), strict=True)]
    launch(
        kernels.choose_surface,
        (batch, objects, count),
        [as_array(thickness, wp.float32), sums, *outputs],
        points.device,
    )
    return found


@nearest_surfaces.register_fake
def _found(points: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Allocate what ``nearest_surfaces`` returns, for kernels to fill."""
    batch, objects, count, three = points.shape
    gaps = points.new_empty(batch, objects, count, dtype=torch.float32)
    return gaps, gaps.new_empty(batch, objects, count, three), gaps.new_empty(batch, objects, count, objects)
