"""Find which points are near each other, and sum over them, with dense matrices of ones and zeros.

With some 6,000 points of which each has some hundred neighbours, a GPU's matrix units multiply the whole matrix faster
than its memory can deliver the features of single neighbours; and nothing has a shape that depends on data. Ones are
exact in bfloat16, so that a number in float32, cut into three in bfloat16, is summed without loss.
"""

from typing import Any

import torch
import warp as wp
from torch.utils.flop_counter import register_flop_formula

from dynamic_models.models.building_blocks.radius_graph_kernels import ROWS, connect
from gaussians.stage.warp_runtime import as_array, launch

_UPPER_HALF = -(2**16)  # masks the upper half of a float32's bits, which is a bfloat16


@torch.library.custom_op("dynamic_models::connect_points", mutates_args=())
def connect_points(points: torch.Tensor, mask: torch.Tensor, reach: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute ``radius_graph`` for float32 points, with the matrix in bfloat16."""
    batch, total = mask.shape
    adjacency = torch.empty(batch, total**2, dtype=torch.int16, device=points.device)
    degrees = points.new_zeros(batch, total)
    existing = torch.where(mask[..., None], points, torch.nan)
    arguments = [as_array(existing, wp.vec3), reach, as_array(adjacency, wp.int16), as_array(degrees, wp.float32)]
    launch(connect, (batch, -(-total // ROWS), total), arguments, points.device)
    return adjacency.view(torch.bfloat16).view(batch, total, total), degrees


@connect_points.register_fake
def _(points: torch.Tensor, mask: torch.Tensor, reach: float) -> tuple[torch.Tensor, torch.Tensor]:
    batch, total = mask.shape
    adjacency = torch.empty(batch, total, total, dtype=torch.bfloat16, device=points.device)
    return adjacency, points.new_empty(batch, total)


@torch.no_grad()
def radius_graph(points: torch.Tensor, mask: torch.Tensor, reach: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return matrices (B, N, N), 1 where two points of a scene are nearer than ``reach``, and their row sums (B, N).

    Every point is near itself. Rows and columns of points that do not exist are 0.

    Args:
        points: (B, N, 3), metres.
        mask: (B, N), bool, which of them exist.
        reach: metres.
    """
    if points.is_cuda and points.dtype == torch.float32:
        return connect_points(points, mask, reach)
    # Not by a matrix product: cancellation would make errors of millimetres.
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    adjacency = ((distances < reach) & mask[:, None] & mask[..., None]).to(points)
    return adjacency, adjacency.sum(-1)


@torch.library.custom_op("dynamic_models::sum_neighbours", mutates_args=())
def sum_neighbours(adjacency: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Return ``adjacency @ features``, (B, N, h), at least in float32, for the symmetric matrices of ``radius_graph``.

    The gradient of ``features`` is the same sum of the gradients; the matrix has none.
    """
    dtype = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        if adjacency.dtype != torch.bfloat16 or not features.is_cuda:
            return adjacency.to(dtype) @ features.to(dtype)
        width = features.shape[-1]
        padded = torch.nn.functional.pad(features, (0, -width % 8))  # a width that matrix units can load
        parts = bfloat16_parts(padded)
        sums = torch.bmm(adjacency, torch.cat(parts, -1), out_dtype=torch.float32)
        return sums.unflatten(-1, (len(parts), -1)).sum(-2)[..., :width].to(dtype).contiguous()


@sum_neighbours.register_fake
def _(adjacency: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    return features.new_empty(features.shape, dtype=torch.promote_types(features.dtype, torch.float32))


def _keep(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor], output: torch.Tensor) -> None:
    adjacency, features = inputs
    ctx.save_for_backward(adjacency)
    ctx.dtype = features.dtype


def _sum_gradients(ctx: Any, gradient: torch.Tensor) -> tuple[None, torch.Tensor]:
    (adjacency,) = ctx.saved_tensors
    return None, sum_neighbours(adjacency, gradient.to(ctx.dtype).contiguous()).to(ctx.dtype)


sum_neighbours.register_autograd(_sum_gradients, setup_context=_keep)


@register_flop_formula(torch.ops.dynamic_models.sum_neighbours)
def _(adjacency: tuple[int, ...], features: tuple[int, ...], **others: Any) -> int:
    batch, total, width = features
    return 2 * batch * total**2 * width


def bfloat16_parts(numbers: torch.Tensor) -> list[torch.Tensor]:
    """Return bfloat16 parts that add up to ``numbers``: three, the largest first; bfloat16 numbers themselves."""
    if numbers.dtype == torch.bfloat16:
        return [numbers]
    rest, parts = numbers.float(), []
    for _ in range(3):
        # By masking, not by rounding: a compiler would drop the rounding, and the rest would be 0.
        part = (rest.view(torch.int32) & _UPPER_HALF).view(torch.float32)
        parts.append(part.bfloat16())
        rest = rest - part
    return parts
