"""Evaluate and turn real spherical harmonics, degree 0 to 3, with the order and signs of 3D Gaussian Splatting."""

from functools import cache

import torch

MAX_DEGREE = 3
# Normalisation of each basis function (Kerbl et al. 2023; Sloan 2008, "Stupid Spherical Harmonics Tricks").
C0 = 0.28209479177387814
_C1 = 0.4886025119029199
C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
C3 = (0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154, 1.445305721320277)


def degree_of(coefficient_count: int) -> int:
    """Return the degree with (degree + 1)^2 coefficients.

    Raises:
        ValueError: no degree from 0 to 3 has that many.
    """
    for degree in range(MAX_DEGREE + 1):
        if (degree + 1) ** 2 == coefficient_count:
            return degree
    raise ValueError(f"sh: expected 1, 4, 9 or 16 coefficients (degree 0 to 3), found {coefficient_count}")


def sh_basis(directions: torch.Tensor, degree: int) -> torch.Tensor:
    """Return the basis functions (..., (degree + 1)^2) at unit ``directions`` (..., 3)."""
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, C0)]
    if degree >= 1:
        values += [-_C1 * y, _C1 * z, -_C1 * x]
    if degree >= 2:
        a, b, c = C2
        values += [a * x * y, -a * y * z, b * (3 * z * z - 1), -a * x * z, c * (x * x - y * y)]
    if degree >= 3:
        a, b, c, d, e = C3
        values += [
            -a * y * (3 * x * x - y * y),
            b * x * y * z,
            -c * y * (5 * z * z - 1),
            d * z * (5 * z * z - 3),
            -c * x * (5 * z * z - 1),
            e * z * (x * x - y * y),
            -a * x * (x * x - 3 * y * y),
        ]
    return torch.stack(values, -1)


def sh_to_rgb(sh: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """Return the colours (..., 3) seen along unit ``directions`` (..., 3), clamped at 0: the image model of 3DGS.

    Args:
        sh: (..., K, 3) coefficients.
        directions: (..., 3), from the camera to the Gaussian.
    """
    basis = sh_basis(directions, degree_of(sh.shape[-2]))
    return (torch.einsum("...k,...kc->...c", basis, sh) + 0.5).clamp_min(0)


def rgb_to_sh(rgb: torch.Tensor) -> torch.Tensor:
    """Return the degree-0 coefficients (..., 1, 3) that show ``rgb`` (..., 3) from everywhere."""
    return ((rgb - 0.5) / C0)[..., None, :]


@cache
@torch.inference_mode(False)  # the cached tensors must suit callers that want gradients, whoever asks first
def sample_directions(degree: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return 2 degree + 1 unit directions and the inverse of the matrix of one degree's functions at them.

    Of a few seeded random sets of directions the best conditioned one is taken.
    """
    generator = torch.Generator().manual_seed(0)
    sets = torch.randn(256, 2 * degree + 1, 3, generator=generator, dtype=torch.float64)
    sets = torch.nn.functional.normalize(sets, dim=-1)
    bands = sh_basis(sets, degree)[..., degree**2 :]
    best = int(torch.linalg.cond(bands).argmin())
    return sets[best], torch.linalg.inv(bands[best])


def rotate_sh(sh: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """Return the coefficients of the functions turned by ``rotations``: f'(d) = f(R^T d).

    A band of degree l maps to itself under rotation, so its values at 2l + 1 directions determine it: they are
    sampled at R^T d and solved back. Exact to rounding, for one rotation or one for each Gaussian.

    Args:
        sh: (N, K, 3).
        rotations: (3, 3) or (N, 3, 3).
    """
    bands = [sh[:, :1]]
    for degree in range(1, degree_of(sh.shape[1]) + 1):
        directions, inverse = (tensor.to(sh) for tensor in sample_directions(degree))
        turned = directions @ rotations  # rows d^T R = (R^T d)^T
        matrices = inverse @ sh_basis(turned, degree)[..., degree**2 :]
        bands.append(matrices @ sh[:, degree**2 : (degree + 1) ** 2])
    return torch.cat(bands, 1)
