"""Points of other objects within reach: brute-force searches that skip points outside the box around an object."""

from functools import partial

import torch
import warp as wp

from dynamic_models import contact_kernels as kernels
from gaussians.warp_runtime import as_array, launch

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
    squared = world.new_full((batch, objects, objects, count), torch.inf, dtype=torch.float32)
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
    reach: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What ``contact.body_contact`` gives, in float32."""
    batch, objects, count = mask.shape
    points = _points(world, mask, reach)
    sums = as_array(world.new_zeros(batch * objects**2, count, 7), wp.float32)
    shares = _SHARES_ON_GPU if world.is_cuda else 1
    arguments = [points, as_array(velocities, wp.vec3), reach, shares, sums]
    launch(kernels.add_up, (batch * objects**2, shares, count), arguments, world.device)
    found = _nothing_touches(world, mask)
    types = wp.float32, wp.vec3, wp.vec3, wp.float32
    outputs = [as_array(tensor, dtype) for tensor, dtype in zip(found, types, strict=True)]
    arguments = [points, as_array(centres, wp.vec3), as_array(volumes, wp.float32), reach, sums, *outputs]
    launch(kernels.choose, (batch, objects, count), arguments, world.device)
    return found


@touching_bodies.register_fake
def _(
    world: torch.Tensor,
    velocities: torch.Tensor,
    centres: torch.Tensor,
    mask: torch.Tensor,
    volumes: torch.Tensor,
    reach: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return _nothing_touches(world, mask)


def _nothing_touches(
    world: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    zeros = partial(world.new_zeros, dtype=torch.float32)
    return zeros(mask.shape), zeros(*mask.shape, 3), zeros(*mask.shape, 3), zeros(*mask.shape, mask.shape[1])


def _points(world: torch.Tensor, mask: torch.Tensor, reach: float) -> kernels.Points:
    exists = mask[..., None]
    low, high = torch.where(exists, world, torch.inf).amin(-2), torch.where(exists, world, -torch.inf).amax(-2)
    points = kernels.Points()
    points.world, points.mask = as_array(world, wp.vec3), as_array(mask, wp.bool)
    points.low, points.high = as_array(low - reach, wp.vec3), as_array(high + reach, wp.vec3)
    return points
