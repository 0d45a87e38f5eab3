"""Convert rotations between quaternions (wxyz), matrices, Euler angles and rotation vectors.

All functions of tensors accept leading batch dimensions ``(...)`` and are differentiable everywhere, but for
``polar_rotation`` and, where the second angle is 90 degrees, ``matrix_to_euler_xyz``.
"""

import math

import torch

from gaussians.stage.shape_checks import check_shape


def quaternion_to_matrix(quaternions: torch.Tensor) -> torch.Tensor:
    """Return the rotation matrices of quaternions, which need not be normalised.

    Args:
        quaternions: (..., 4), wxyz, non-zero.

    Returns:
        (..., 3, 3).
    """
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def matrix_to_quaternion(matrices: torch.Tensor) -> torch.Tensor:
    """Return the unit quaternions (..., 4), wxyz with w >= 0, of rotation matrices (..., 3, 3).

    Of the four equivalent formulas (Shepperd, "Quaternion from rotation matrix", 1978) each matrix takes the
    one with the largest divisor, so that none loses precision.
    """
    m = matrices
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squares = torch.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], -1)
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    w2, x2, y2, z2 = squares.unbind(-1)
    candidates = torch.stack(
        [
            torch.stack([w2, wx, wy, wz], -1),
            torch.stack([wx, x2, xy, xz], -1),
            torch.stack([wy, xy, y2, yz], -1),
            torch.stack([wz, xz, yz, z2], -1),
        ],
        -2,
    )
    choice = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternions = torch.nn.functional.normalize(candidates.gather(-2, choice).squeeze(-2), dim=-1)
    return torch.where(quaternions[..., :1] < 0, -quaternions, quaternions)


def multiply_quaternions(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the Hamilton product of (..., 4) and (..., 4), wxyz: the rotation ``b`` followed by ``a``."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def rotation_exp(vectors: torch.Tensor) -> torch.Tensor:
    """Return the matrices (..., 3, 3) of rotation vectors (..., 3), radians."""
    return rotated(torch.eye(3, dtype=vectors.dtype, device=vectors.device), vectors)


def rotated(columns: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Return columns (..., 3, n) turned by rotation vectors (..., 3), radians, by Rodrigues' formula.

    Values and gradients are finite, and lose no digits, at zero too.
    """
    squared = (vectors * vectors).sum(-1)[..., None, None]
    angle = (squared + 1e-30).sqrt()  # the added term gives the root a gradient at zero
    sinc = torch.sin(angle) / angle
    # 1 - cos a = 2 sin^2 (a / 2) loses no digits at small angles.
    cosc = 2 * (torch.sin(angle / 2) / angle).square()
    axes, columns = torch.broadcast_tensors(vectors[..., None], columns)
    once = torch.linalg.cross(axes, columns, dim=-2)
    return columns + sinc * once + cosc * torch.linalg.cross(axes, once, dim=-2)


def euler_xyz_to_matrix(degrees: torch.Tensor) -> torch.Tensor:
    """Return Rz Ry Rx, (..., 3, 3), from angles (..., 3) in degrees about the fixed axes x, then y, then z."""
    axes = torch.eye(3, dtype=degrees.dtype, device=degrees.device)
    x, y, z = (rotation_exp(degrees[..., i, None] * (math.pi / 180) * axes[i]) for i in range(3))
    return z @ y @ x


def matrix_to_euler_xyz(matrices: torch.Tensor) -> torch.Tensor:
    """Return the angles (..., 3), degrees, whose ``euler_xyz_to_matrix`` is (..., 3, 3); the second is within 90."""
    x = torch.atan2(matrices[..., 2, 1], matrices[..., 2, 2])
    y = torch.asin(-matrices[..., 2, 0].clamp(-1, 1))
    z = torch.atan2(matrices[..., 1, 0], matrices[..., 0, 0])
    return torch.stack([x, y, z], -1).rad2deg()


def axis_rotation(axis: int, degrees: float) -> torch.Tensor:
    """Return the rotation (3, 3) by ``degrees`` about world axis 0, 1 or 2."""
    vector = torch.zeros(3, dtype=torch.float64)
    vector[axis] = math.radians(degrees)
    return rotation_exp(vector).float()


def polar_rotation(matrices: torch.Tensor) -> torch.Tensor:
    """Return the proper rotation (..., 3, 3) nearest to each matrix: R of the polar decomposition F = R S.

    Where det F < 0 the singular vector of the smallest singular value is turned over, so that det R = 1
    (Kabsch 1976). The gradient is NaN where two singular values are equal, as they are for a rotation. A matrix that is
    not finite has a rotation of NaN.
    """
    check_shape("matrices", matrices.reshape(-1, *matrices.shape[-2:]), "N", 3, 3)
    finite = matrices.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    u, _, vh = torch.linalg.svd(matrices.where(finite, 0))  # which refuses others on a CPU
    sign = torch.det(u @ vh).sign()
    flip = torch.ones(*sign.shape, 3, dtype=matrices.dtype, device=matrices.device)
    flip[..., 2] = sign
    return ((u * flip[..., None, :]) @ vh).where(finite, torch.nan)
