"""Points of other objects within reach: searches that skip what lies outside the boxes around objects and parts."""

from functools import partial
from math import inf

import torch
import warp as wp

from dynamic_models import contact_kernels as kernels
from gaussians.warp_runtime import as_array, launch

_BITS = 5  # of a place along the curve, for each axis: cells of 1 cm in an object of 0.3 m
_BEHIND = 2 ** (3 * _BITS)  # all places on it
_SHARES_ON_GPU = 16  # of the other object's points, enough threads to fill a GPU with a single scene


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
    shares = _SHARES_ON_GPU if world.is_cuda else 1
    arguments = [_points(world, mask, reach), shares, as_array(squared, wp.float32)]
    launch(kernels.search, (batch * objects**2, shares, count), arguments, world.device)
    return squared


@nearest_squared.register_fake
def _(world: torch.Tensor, mask: torch.Tensor, reach: float) -> torch.Tensor:
    batch, objects, count = mask.shape
    return world.new_empty(batch, objects, objects, count, dtype=torch.float32)


@torch.library.custom_op("dynamic_models::touching_bodies", mutates_args=())
def touching_bodies(
    world: torch.Tensor,
    velocities: torch.Tensor,
    centres: torch.Tensor,
    mask: torch.Tensor,
    volumes: torch.Tensor,
    order: torch.Tensor,
    reach: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What ``contact.body_contact`` gives, in float32."""
    batch, objects, count = mask.shape
    per_chunk = (batch, objects, -(-count // kernels.CHUNK))
    places = (batch, objects, per_chunk[-1] * kernels.CHUNK)
    chunks = kernels.Chunks()
    chunks.order = as_array(order, wp.int32)
    chunks.points, chunks.velocities = _room(world, places), _room(world, places)
    chunks.low, chunks.high = _room(world, per_chunk), _room(world, per_chunk)
    chunks.object_low, chunks.object_high = _room(world, per_chunk[:2]), _room(world, per_chunk[:2])
    points = _vectors(world)
    launch(kernels.gather, places, [points, _vectors(velocities), as_array(mask, wp.bool), chunks], world.device)
    launch(kernels.bound_chunks, per_chunk, [reach, chunks], world.device)
    launch(kernels.bound_objects, per_chunk[:2], [chunks], world.device)

    sums = as_array(torch.zeros(batch * objects**2, count, 7, device=world.device), wp.float32)
    shares = _SHARES_ON_GPU if world.is_cuda else 1
    launch(kernels.add_up, (batch * objects**2, shares, count), [chunks, reach, shares, sums], world.device)
    found = _found(world, mask)
    types = wp.float32, wp.vec3, wp.vec3, wp.float32
    outputs = [as_array(tensor, dtype) for tensor, dtype in zip(found, types, strict=True)]
    arguments = [points, _vectors(centres), as_array(volumes, wp.float32), reach, sums, *outputs]
    launch(kernels.choose, (batch, objects, count), arguments, world.device)
    return found


@touching_bodies.register_fake
def _(
    world: torch.Tensor,
    velocities: torch.Tensor,
    centres: torch.Tensor,
    mask: torch.Tensor,
    volumes: torch.Tensor,
    order: torch.Tensor,
    reach: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return _found(world, mask)


def spatial_order(points: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, O, P), int32: an order of every object's points in which neighbours follow each other, along a Morton curve;
    those that do not exist come last.

    Args:
        points: (B, O, P, 3), metres, of which the order does not change when an object moves.
        mask: (B, O, P), bool.
    """
    exists = mask[..., None]
    low = torch.where(exists, points, inf).amin(-2, keepdim=True)
    size = (torch.where(exists, points, -inf).amax(-2, keepdim=True) - low).amax(-1, keepdim=True)
    cells = ((points - low) / size * (2**_BITS - 1)).nan_to_num(0.0).clamp(0, 2**_BITS - 1).long()
    axes = torch.arange(3, device=mask.device)
    curve = torch.stack([(cells >> bit & 1) << 3 * bit + axes for bit in range(_BITS)]).sum((0, -1))
    return torch.where(mask, curve, _BEHIND).argsort(dim=-1, stable=True).int()


def _found(world: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What ``touching_bodies`` returns, for kernels to fill."""
    empty = partial(world.new_empty, dtype=torch.float32)
    return empty(mask.shape), empty(*mask.shape, 3), empty(*mask.shape, 3), empty(*mask.shape, mask.shape[1])


def _points(world: torch.Tensor, mask: torch.Tensor, reach: float) -> kernels.Points:
    exists = mask[..., None]
    low, high = torch.where(exists, world, inf).amin(-2), torch.where(exists, world, -inf).amax(-2)
    points = kernels.Points()
    points.world, points.mask = _vectors(world), as_array(mask, wp.bool)
    points.low, points.high = _vectors(low - reach), _vectors(high + reach)
    return points


def _vectors(tensor: torch.Tensor) -> wp.array:
    return as_array(tensor, wp.vec3)


def _room(world: torch.Tensor, shape: tuple[int, ...]) -> wp.array:
    """For as many vectors, where ``world`` is."""
    return _vectors(torch.empty(*shape, 3, device=world.device))
