"""Convert covariances of Gaussians: six numbers (xx, xy, xz, yy, yz, zz), matrices, or scales and quaternions."""

import torch

from gaussians.rotations import matrix_to_quaternion, quaternion_to_matrix

_ROWS = (0, 0, 0, 1, 1, 2)
_COLUMNS = (0, 1, 2, 1, 2, 2)
_FULL = (0, 1, 2, 1, 3, 4, 2, 4, 5)


def pack_covariance(matrices: torch.Tensor) -> torch.Tensor:
    """Return the six numbers (..., 6) of symmetric matrices (..., 3, 3)."""
    return matrices[..., _ROWS, _COLUMNS]


def unpack_covariance(covariances: torch.Tensor) -> torch.Tensor:
    """Return the symmetric matrices (..., 3, 3) of six numbers (..., 6)."""
    return covariances[..., _FULL].unflatten(-1, (3, 3))


def covariance_from_scales(scales: torch.Tensor, quaternions: torch.Tensor) -> torch.Tensor:
    """Return the covariances R diag(s^2) R^T, (..., 6), metres^2.

    Args:
        scales: (..., 3), standard deviations, metres.
        quaternions: (..., 4), wxyz, need not be normalised.
    """
    axes = quaternion_to_matrix(quaternions) * scales[..., None, :]
    return pack_covariance(axes @ axes.mT)


def scales_from_covariance(covariances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scales (..., 3), ascending, metres, and quaternions (..., 4), wxyz, of covariances (..., 6).

    Eigenvalues that rounding made negative become 0.
    """
    eigenvalues, eigenvectors = torch.linalg.eigh(unpack_covariance(covariances))
    handedness = torch.linalg.det(eigenvectors)[..., None, None].sign()
    return eigenvalues.clamp_min(0).sqrt(), matrix_to_quaternion(eigenvectors * handedness)


def transform_covariance(covariances: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Return A C A^T, (..., 6), for covariances C (..., 6) and linear maps A (..., 3, 3)."""
    return pack_covariance(maps @ unpack_covariance(covariances) @ maps.mT)
