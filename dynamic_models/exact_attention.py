"""Attention in float32 on a GPU's matrix units, which multiply bfloat16 some fifteen times as fast.

A number in float32 is a sum of three in bfloat16, and six of the nine products of two such sums hold all that a product
in float32 does (Henry et al. 2019, "Leveraging the bfloat16 artificial intelligence datatype"). Weights are written to
memory, those of one scene at a time.
"""

from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from dynamic_models.bfloat16 import bfloat16_parts


def product_in_float32(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a @ b`` in float32 of matrices in bfloat16."""
    if a.is_cuda:
        return torch.mm(a, b, out_dtype=torch.float32)
    return a.float() @ b.float()


@torch.library.custom_op("dynamic_models::exact_attention", mutates_args=())
def exact_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(q k^T / sqrt(h)) v within each scene (B, N, h), and the logarithms (B, N) of the softmax's denominators.

    Args:
        q, k, v: (B, N, h), float32.
        counts: (B,), how many rows of each scene, the first ones, exist; what the others get is finite.
    """
    mixed, denominators = torch.empty_like(v), v.new_empty(v.shape[:2])
    for scene, queries in enumerate(q):
        scores = _outer(queries * q.shape[-1] ** -0.5, k[scene])
        *parts, denominators[scene] = _weights(scores, counts[scene])
        mixed[scene] = _inner(parts, v[scene])
    return mixed, denominators


@exact_attention.register_fake
def _(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(v), v.new_empty(v.shape[:2])


@torch.library.custom_op("dynamic_models::exact_attention_backward", mutates_args=())
def exact_attention_backward(
    gradient: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    counts: torch.Tensor,
    mixed: torch.Tensor,
    denominators: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of q, k and v, from that of what ``exact_attention`` gave."""
    scale = q.shape[-1] ** -0.5
    dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    along = (gradient * mixed).sum(-1)
    for scene, count in enumerate(counts):
        queries = q[scene] * scale
        scores = _outer(queries, k[scene])
        of_weights = _outer(gradient[scene], v[scene])
        parts = _gradients(scores, of_weights, denominators[scene], along[scene], count)
        weights, of_scores = parts[:3], parts[3:]
        dv[scene] = _inner([part.mT for part in weights], gradient[scene])
        dq[scene] = scale * _inner(of_scores, k[scene])
        dk[scene] = _inner([part.mT for part in of_scores], queries)
    return dq, dk, dv


@exact_attention_backward.register_fake
def _(
    gradient: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    counts: torch.Tensor,
    mixed: torch.Tensor,
    denominators: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _keep(ctx: Any, inputs: tuple[torch.Tensor, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)


def _backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    q, k, v, counts, mixed, denominators = ctx.saved_tensors
    return *exact_attention_backward(gradient.contiguous(), q, k, v, counts, mixed, denominators), None


exact_attention.register_autograd(_backward, setup_context=_keep)


@register_flop_formula(torch.ops.dynamic_models.exact_attention)
def _(q: tuple[int, ...], *_: Any, **__: Any) -> int:
    return _product_flops(q) * 2


@register_flop_formula(torch.ops.dynamic_models.exact_attention_backward)
def _(q: tuple[int, ...], *_: Any, **__: Any) -> int:
    return _product_flops(q) * 5


def _product_flops(q: tuple[int, ...]) -> int:
    batch, total, width = q
    return 2 * batch * total**2 * width


def _outer(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a @ b.T`` of (N, h) and (M, h) in float32: one product of all their parts side by side."""
    (a1, a2, a3), (b1, b2, b3) = bfloat16_parts(a), bfloat16_parts(b)
    left, right = torch.cat([a3, a2, a1, a2, a1, a1], -1), torch.cat([b1, b2, b3, b1, b2, b1], -1)
    return product_in_float32(left, right.T)


def _inner(weights: list[torch.Tensor], b: torch.Tensor) -> torch.Tensor:
    """The product of a matrix (N, M), given by its parts, and one of (M, h) in float32."""
    parts, width = bfloat16_parts(b), b.shape[-1]
    products = [
        product_in_float32(weight, torch.cat(parts[: 3 - i], -1)).unflatten(-1, (-1, width)).sum(-2)
        for i, weight in enumerate(weights)
    ]
    return products[2] + products[1] + products[0]


@torch.compile
def _weights(scores: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The softmax of rows (N, N), in parts, and the logarithms (N,) of its denominators."""
    existing = torch.arange(scores.shape[-1], device=scores.device) < count
    scores = torch.where(existing, scores, -torch.inf)
    denominators = scores.logsumexp(-1)
    return *bfloat16_parts((scores - denominators[:, None]).exp()), denominators


@torch.compile
def _gradients(
    scores: torch.Tensor, of_weights: torch.Tensor, denominators: torch.Tensor, along: torch.Tensor, count: torch.Tensor
) -> list[torch.Tensor]:
    """The weights (N, N), in parts, and the gradients of the scores, in parts too."""
    existing = torch.arange(scores.shape[-1], device=scores.device) < count
    weights = torch.where(existing, (scores - denominators[:, None]).exp(), 0.0)
    return [*bfloat16_parts(weights), *bfloat16_parts(weights * (of_weights - along[:, None]))]
