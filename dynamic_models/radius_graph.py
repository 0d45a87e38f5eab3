"""Which points are near each other, and sums over them, as dense matrices of ones.

With some 6,000 points of which each has some hundred neighbours, a GPU's matrix units multiply the whole matrix faster
than its memory can deliver the features of single neighbours; and nothing has a shape that depends on data. Ones are
exact in bfloat16, so that a number in float32, cut into three in bfloat16, is summed without loss.
"""

from typing import Any

import torch
import warp as wp
from torch.utils.flop_counter import register_flop_formula

from dynamic_models.radius_graph_kernels import ROWS, connect
from gaussians.warp_runtime import as_array, launch

_SPLIT = 2.0**16 + 1


@torch.library.custom_op("dynamic_models::connect_points", mutates_args=())
def connect_points(points: torch.Tensor, mask: torch.Tensor, reach: float) -> tuple[torch.Tensor, torch.Tensor]:
    """What ``radius_graph`` gives for float32 points, with a matrix in bfloat16."""
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
    """The matrices (B, N, N) of 1 where two points of a scene are nearer than ``reach``, every point to itself too,
    and their row sums (B, N); 0 for points that do not exist.

    Args:
        points: (B, N, 3), metres.
        mask: (B, N), bool, which of them exist.
        reach: metres.
    """
    if points.is_cuda and points.dtype == torch.float32:
        return connect_points(points, mask, reach)
    # Not through a matrix product, which would lose millimetres to cancellation.
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    adjacency = ((distances < reach) & mask[:, None] & mask[..., None]).to(points)
    return adjacency, adjacency.sum(-1)


def sum_neighbours(adjacency: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """``adjacency @ features``, (B, N, h), for the symmetric matrices of ``radius_graph``; at least float32.

    The gradient of ``features`` is the same sum of the gradients; the matrix has none.
    """
    sums = _SumNeighbours.apply(adjacency, features)
    assert isinstance(sums, torch.Tensor)
    return sums


class _SumNeighbours(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, adjacency: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(adjacency)
        ctx.dtype = features.dtype
        return _sums(adjacency, features)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor]:
        (adjacency,) = ctx.saved_tensors
        return None, _sums(adjacency, *gradients).to(ctx.dtype)


def _sums(adjacency: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    dtype = torch.promote_types(features.dtype, torch.float32)
    if adjacency.dtype != torch.bfloat16 or not features.is_cuda:
        with torch.autocast(features.device.type, enabled=False):
            return adjacency.to(dtype) @ features.to(dtype)
    width = features.shape[-1]
    padded = torch.nn.functional.pad(features, (0, -width % 8))  # rows that the matrix units can load
    parts = bfloat16_parts(padded)
    sums = multiply_bfloat16(adjacency, torch.cat(parts, -1))
    return sums.unflatten(-1, (len(parts), -1)).sum(-2)[..., :width].to(dtype)


@torch.library.custom_op("dynamic_models::multiply_bfloat16", mutates_args=())
def multiply_bfloat16(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a @ b`` of bfloat16 matrices (B, n, k) and (B, k, m), in float32."""
    return torch.bmm(a, b, out_dtype=torch.float32)


@multiply_bfloat16.register_fake
def _(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a.new_empty(*a.shape[:-1], b.shape[-1], dtype=torch.float32)


@register_flop_formula(torch.ops.dynamic_models.multiply_bfloat16)
def _(a: tuple[int, ...], b: tuple[int, ...], **others: Any) -> int:
    batch, rows, terms = a
    return 2 * batch * rows * terms * b[-1]


def bfloat16_parts(numbers: torch.Tensor) -> list[torch.Tensor]:
    """``numbers`` as a sum in bfloat16: themselves if they are that, else three parts of 8 bits each."""
    if numbers.dtype == torch.bfloat16:
        return [numbers]
    rest, parts = numbers.float(), []
    for _ in range(3):
        # As Veltkamp (1968) splits numbers: a compiler would leave a conversion to bfloat16 and back out.
        large = _SPLIT * rest
        part = large - (large - rest)
        parts.append(part.bfloat16())
        rest = rest - part
    return parts
