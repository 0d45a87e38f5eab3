"""Describe how solid bodies deform by a few elastic modes: polynomials of second degree in the body's axes.

The displacement of a point at q is Z^T f(q) with nine functions f and amplitudes Z (9, 3): linear and quadratic
monomials, centred and whitened over the body's points, so that the kinetic energy of a deformation is m |Zdot|^2 / 2.
Elastic energies are those of linear isotropic elasticity. The modes diagonalise the one of Poisson's ratio ``_NU``;
three of them are rotations, which bodies have already, and are left out. So stretch, shear, bending and torsion are
there.
"""

import itertools
import math
from typing import NamedTuple

import torch

_NU = 0.3  # Poisson's ratio
_JITTER = 1e-3  # of variances: what the points do not resolve stays small
_DEGREE = 2
_EXPONENTS = [e for e in itertools.product(range(_DEGREE + 1), repeat=3) if 1 <= sum(e) <= _DEGREE]
FUNCTIONS, ROTATIONS = len(_EXPONENTS), 3
MODES = 3 * FUNCTIONS


class ElasticModes(NamedTuple):
    """An ``ElasticModes`` holds the modes of B scenes' objects.

    Attributes:
        size: (B, O), metres that coordinates are divided by.
        means: (B, O, 9), means of the monomials.
        whitening: (B, O, 9, 9), makes f of centred monomials.
        shapes: (B, O, 27, 27), each column the amplitudes of a mode, row 3 k + c those of function k along axis c.
        stiffness: (B, O, 27), squared frequency of each mode where Young's modulus is its density, 1/m^2. The first
            ``ROTATIONS`` are rotations: 0.
    """

    size: torch.Tensor
    means: torch.Tensor
    whitening: torch.Tensor
    shapes: torch.Tensor
    stiffness: torch.Tensor

    def functions(self, q: torch.Tensor) -> torch.Tensor:
        """Return f (B, O, P, 9) at points q (B, O, P, 3) in the bodies' axes, metres."""
        centred = _monomials(q / self.size[..., None, None]) - self.means[..., None, :]
        return centred @ self.whitening.mT


def elastic_modes(q0: torch.Tensor, shares: torch.Tensor) -> ElasticModes:
    """Return the modes of bodies that are made of points.

    Args:
        q0: (B, O, P, 3), undeformed points in the body's axes, metres.
        shares: (B, O, P), of the body's mass.
    """
    weights = shares[..., None].to(q0)
    size = (q0.square() * weights).sum((-2, -1)).sqrt().clamp_min(1e-3)
    scaled = q0 / size[..., None, None]
    monomials = _monomials(scaled)
    means = (monomials * weights).sum(-2)
    centred = monomials - means[..., None, :]
    covariance = (centred * weights).mT @ centred
    deviations = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-8).sqrt()
    identity = torch.eye(FUNCTIONS, dtype=q0.dtype, device=q0.device)
    correlation = covariance / (deviations[..., None] * deviations[..., None, :]) + _JITTER * identity
    factor = torch.linalg.cholesky_ex(correlation).L
    whitening = (
        torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False) / deviations[..., None, :]
    )

    flat = torch.einsum("bokm,bopma->bopka", whitening, _slopes(scaled)).flatten(-2)
    gram = (flat * weights).mT @ flat / size[..., None, None].square()
    gram = gram.unflatten(-1, (FUNCTIONS, 3)).unflatten(-3, (FUNCTIONS, 3))  # (B, O, 9, 3, 9, 3)
    # lambda tr(strain)^2 / 2 + mu strain : strain, for a Young's modulus that is the density.
    lame, shear = _NU / ((1 + _NU) * (1 - 2 * _NU)), 1 / (2 * (1 + _NU))
    eye = torch.eye(3, dtype=q0.dtype, device=q0.device)
    energy = lame * gram + shear * gram.permute(0, 1, 2, 5, 4, 3)
    energy = energy + shear * torch.einsum("cd,bokala->bokcld", eye, gram)
    shape = (*shares.shape[:2], MODES, MODES)
    squared, shapes = torch.linalg.eigh(energy.reshape(shape))
    free = torch.arange(MODES, device=q0.device) >= ROTATIONS
    return ElasticModes(size, means, whitening, shapes, squared.clamp_min(0) * free)


def _monomials(q: torch.Tensor) -> torch.Tensor:
    """Return the monomials (..., 9) of q (..., 3)."""
    return torch.stack([_power(q, exponents) for exponents in _EXPONENTS], -1)


def _slopes(q: torch.Tensor) -> torch.Tensor:
    """Return the gradients (..., 9, 3) of the monomials at q (..., 3)."""
    rows = []
    for exponents in _EXPONENTS:
        lower = [tuple(e - (i == axis) for i, e in enumerate(exponents)) for axis in range(3)]
        rows.append(torch.stack([e * _power(q, less) for e, less in zip(exponents, lower, strict=True)], -1))
    return torch.stack(rows, -2)


def _power(q: torch.Tensor, exponents: tuple[int, ...]) -> torch.Tensor:
    """Return the product of the coordinates of q (..., 3), each as often as ``exponents`` says."""
    factors = [q[..., axis] for axis, exponent in enumerate(exponents) for _ in range(exponent)]
    return math.prod(factors, start=torch.ones_like(q[..., 0]))
