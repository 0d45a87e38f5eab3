"""Pack Gaussians into the 32 bytes each that viser's page draws: position, covariance and colour.

The page takes covariances in half precision, which keeps its precision from 6e-5 to 65504. So splats are sent in
millimetres, or in a longer unit if one is too large for that.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

_LARGEST_VARIANCE = 6e4
_LARGEST_UNIT = 1000.0
BYTES = 32
"""Of a packed Gaussian."""


def splat_unit(covariances: torch.Tensor) -> float:
    """Return the factor for lengths with which covariances (N, 6), metres^2, keep their precision as half floats."""
    largest = float(covariances[:, [0, 3, 5]].max()) if len(covariances) else 0.0
    # Leave room for splats to grow to twice their length.
    return min(_LARGEST_UNIT, math.sqrt(_LARGEST_VARIANCE / max(4 * largest, 1e-12)))


def packed_shapes(means: torch.Tensor, covariances: torch.Tensor, unit: float) -> np.ndarray:
    """Return positions and covariances as the page takes them, (N, 8) uint32, with the colours left 0.

    Args:
        means: (N, 3), metres.
        covariances: (N, 6), metres^2.
        unit: the factor for lengths.
    """
    packed = np.zeros((len(means), 8), np.uint32)
    packed[:, :3] = (means * unit).float().numpy().view(np.uint32)
    halves = (covariances * unit**2).clamp(-_LARGEST_VARIANCE, _LARGEST_VARIANCE).half().contiguous()
    packed[:, 4:7] = halves.numpy().view(np.uint32)
    return packed


def packed_colors(colors: torch.Tensor, alphas: torch.Tensor) -> np.ndarray:
    """Return colours (N, 3) and opacities (N,), 0 to 1, as the page takes them, (N,) uint32."""
    values = torch.cat([colors, alphas[:, None]], 1).mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
    return values.contiguous().numpy().view(np.uint32)[:, 0]


@dataclass(frozen=True)
class Coarseness:
    """A ``Coarseness`` says how many digits packed Gaussians keep: those with fewer compress better.

    Attributes:
        grid: what positions are whole multiples of, a power of 2, in the unit that they are in.
        bits: of the ten bits of a covariance's fraction, those that are kept.
        tolerance: a covariance stays as it was sent before while it differs by no more than this, over its largest
            variance.
    """

    grid: float
    bits: int
    tolerance: float


def coarsened(packed: np.ndarray, coarseness: Coarseness, before: np.ndarray | None = None) -> np.ndarray:
    """Return packed Gaussians (N, 8) with fewer digits.

    Args:
        before: what was returned for the frame before, if there was one.
    """
    coarse = packed.copy()
    grid, dropped = coarseness.grid, 10 - coarseness.bits
    coarse[:, :3] = (np.round(packed[:, :3].view(np.float32) / grid) * grid).astype(np.float32).view(np.uint32)
    bits = np.ascontiguousarray(packed[:, 4:7]).view(np.uint16).astype(np.uint32)
    rounded = ((bits + (1 << dropped >> 1)) >> dropped) << dropped
    coarse[:, 4:7] = rounded.astype(np.uint16).view(np.uint32)
    if before is not None:
        values, old = _covariances(packed), _covariances(before)
        kept = np.abs(values - old).max(1) <= coarseness.tolerance * values[:, [0, 3, 5]].max(1)
        coarse[kept, 4:7] = before[kept, 4:7]
    return coarse


def _covariances(packed: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(packed[:, 4:7]).view(np.float16).astype(np.float32)
