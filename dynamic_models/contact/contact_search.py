"""Points of other objects within reach: searches that skip what lies outside the boxes around objects and parts."""

from math import inf

import torch
import warp as wp

from dynamic_models.contact import contact_kernels as kernels
from gaussians.stage.warp_runtime import as_array, launch

CHUNK = int(kernels.CHUNK)
FAR = 1e9  # metres: where points that do not exist are kept
_BITS = 5  # of a place along the curve, for each axis: cells of 1 cm in an object of 0.3 m
_BEHIND = 2 ** (3 * _BITS)  # all places on it
_THREADS = 600_000  # enough to fill a GPU: where there are fewer pairs of points and objects, more share a pair


@torch.library.custom_op("dynamic_models::nearest_squared", mutates_args=())
def nearest_squared(world: torch.Tensor, mask: torch.Tensor, reach: float) -> torch.Tensor:
    """(B, O, O, P) float32, metres^2: squared distance of each point of i to the nearest point of j.

    Args:
        world: (B, O, P, 3), metres.
        mask: (B, O, P), bool, which points exist.
        reach: metres; where the nearest point is further away, the answer may be infinite, as it is for i = j.
    """
    batch, objects, count = mask.shape
    squared = world.new_full((batch, objects, objects, count), inf, dtype=torch.float32)
    shares = _shares(world)
    arguments = [_points(world, mask, reach), shares, as_array(squared, wp.float32)]
    launch(kernels.search, (batch * objects**2, shares, count), arguments, world.device)
    return squared


@nearest_squared.register_fake
def _(world: torch.Tensor, mask: torch.Tensor, reach: float) -> torch.Tensor:
    batch, objects, count = mask.shape
    return world.new_empty(batch, objects, objects, count, dtype=torch.float32)


@torch.library.custom_op("dynamic_models::touching_bodies", mutates_args=())
def touching_bodies(
    points: torch.Tensor,
    velocities: torch.Tensor,
    centres: torch.Tensor,
    volumes: torch.Tensor,
    boxes: torch.Tensor,
    object_boxes: torch.Tensor,
    reach: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What ``contact.body_contact`` gives, in float32.

    Args:
        points: (B, O, P, 3), with P a multiple of ``CHUNK``; those that do not exist far away.
        boxes, object_boxes: of ``surroundings``.
    """
    batch, objects, count, _ = points.shape
    sums = as_array(torch.zeros(7, batch * objects**2, count, device=points.device), wp.float32)
    shares = _shares(points)
    arguments = [
        _vectors(points),
        _vectors(velocities),
        *(as_array(each, wp.float32) for each in (boxes, object_boxes)),
        reach,
        shares,
        sums,
    ]
    launch(kernels.add_up, (batch * objects**2, shares, count), arguments, points.device)
    found = _found(points)
    types = wp.float32, wp.vec3, wp.vec3, wp.float32
    outputs = [as_array(tensor, dtype) for tensor, dtype in zip(found, types, strict=True)]
    arguments = [_vectors(points), _vectors(centres), as_array(volumes, wp.float32), reach, sums, *outputs]
    launch(kernels.choose, (batch, objects, count), arguments, points.device)
    return found


@touching_bodies.register_fake
def _found(points: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What ``touching_bodies`` returns, for kernels to fill."""
    batch, objects, count, three = points.shape
    nearness = points.new_empty(batch, objects, count, dtype=torch.float32)
    vectors = (batch, objects, count, three)
    return (
        nearness,
        nearness.new_empty(vectors),
        nearness.new_empty(vectors),
        nearness.new_empty(batch, objects, count, objects),
    )


def surroundings(points: torch.Tensor, reach: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes around every ``CHUNK`` points and their reach, (B, O, P / CHUNK, 6), and around objects, (B, O, 6): the low
    corner, and the high one times -1. In a box without points lies nothing.

    Args:
        points: (B, O, P, 3), metres; those that do not exist at ``FAR``.
        reach: metres.
    """
    corners = torch.cat([points, torch.where(points < FAR, -points, FAR)], -1)
    boxes = corners.unflatten(2, (-1, CHUNK)).amin(-2) - reach
    return boxes, boxes.amin(-2)


def spatial_order(points: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, O, P), int64: an order of every object's points in which neighbours follow each other, along a Morton curve;
    those that do not exist come last.

    Args:
        points: (B, O, P, 3), metres, of which the order does not change when an object moves.
        mask: (B, O, P), bool.
    """
    exists = mask[..., None]
    low = torch.where(exists, points, inf).amin(-2, keepdim=True)
    size = (torch.where(exists, points, -inf).amax(-2, keepdim=True) - low).amax(-1, keepdim=True)
    cells = ((points - low) / size * (2**_BITS - 1)).nan_to_num(0.0).clamp(0, 2**_BITS - 1).long()
    places = torch.arange(3 * _BITS, device=mask.device).view(_BITS, 3)  # of the bits of each axis
    curve = ((cells[..., None, :] >> places[:, :1] // 3 & 1) << places).sum((-2, -1))
    return torch.where(mask, curve, _BEHIND).argsort(dim=-1, stable=True)


def _shares(points: torch.Tensor) -> int:
    """How many threads look at one object for one point (B, O, P, 3) of another."""
    batch, objects, count, _ = points.shape
    return max(1, min(count // CHUNK, _THREADS // (batch * objects**2 * count))) if points.is_cuda else 1


def _points(world: torch.Tensor, mask: torch.Tensor, reach: float) -> kernels.Points:
    exists = mask[..., None]
    low, high = torch.where(exists, world, inf).amin(-2), torch.where(exists, world, -inf).amax(-2)
    points = kernels.Points()
    points.world, points.mask = _vectors(world), as_array(mask, wp.bool)
    points.low, points.high = _vectors(low - reach), _vectors(high + reach)
    return points


def _vectors(tensor: torch.Tensor) -> wp.array:
    return as_array(tensor, wp.vec3)
