"""Take objects apart into a rigid motion and what remains: the deformation, in the body's own axes."""

from dataclasses import dataclass

import torch

from dynamic_models.data.scene_state import SceneState
from gaussians.rotations import polar_rotation, rotated, rotation_exp

_FEW = 16  # a sum of more terms than this is one over points


@dataclass(frozen=True)
class BodyState:
    """A ``BodyState`` is a motion taken apart: keypoints are R q + x, their velocities v + omega x (R q) + R qdot.

    Attributes:
        q: (B, O, P, 3), keypoints relative to the centre, body axes, metres; 0 where masked.
        qdot: (B, O, P, 3), their velocities in the body, metres per second.
        q0: (B, O, P, 3), q of the undeformed body.
        x: (B, O, 3), centre, world, metres.
        v: (B, O, 3), its velocity, metres per second.
        R: (B, O, 3, 3), body to world.
        omega: (B, O, 3), angular velocity, world axes, radians per second.
    """

    q: torch.Tensor
    qdot: torch.Tensor
    q0: torch.Tensor
    x: torch.Tensor
    v: torch.Tensor
    R: torch.Tensor
    omega: torch.Tensor


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return ``a @ b`` of matrices (..., n, k) and (..., k, m), of which all but n or k are small.

    It is in full precision also under autocast. Compiled it is no matrix product, so that compilers fuse it with what
    comes before and after it; sums over points, also in gradients, are then one for each row or column of the small
    matrix, for which compilers write fast kernels.
    """
    if not torch.compiler.is_compiling():
        with torch.autocast(a.device.type, enabled=False):
            return a.to(b) @ b
    a = a.to(b)
    if a.shape[-1] <= _FEW:
        terms = [column * row for column, row in zip(a.split(1, -1), b.split(1, -2), strict=True)]
        return sum(terms[1:], terms[0])
    return torch.stack([(row[..., None] * b).sum(-2) for row in a.unbind(-2)], -2)


def turn(rotations: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Rotate (..., B, O, P, 3) by (B, O, 3, 3)."""
    return product(points, rotations.mT)


def split_motion(state: SceneState) -> BodyState:
    """Return the centre, orientation, and linear and angular velocity that explain most of a scene's state.

    The centre is the keypoints' centre of mass; the orientation is the rotation nearest to the map from the undeformed
    to the present shape (Kabsch 1976); the angular velocity is I^-1 L of their masses.
    """
    mask, shares = state.mask[..., None], state.shares
    x, v = centers(state.points, shares), centers(state.velocities, shares)
    arms = (state.points - x[..., None, :]) * mask
    q0 = (state.rest - centers(state.rest, shares)[..., None, :]) * mask
    with torch.no_grad(), torch.autocast(arms.device.type, enabled=False):
        R = polar_rotation((arms * shares[..., None]).mT @ q0)
    relative = (state.velocities - v[..., None, :]) * mask
    momentum = (torch.linalg.cross(arms, relative) * shares[..., None]).sum(-2)
    omega = torch.linalg.solve_ex(inertia_over_mass(arms, shares), momentum[..., None]).result.squeeze(-1)
    qdot = relative - torch.linalg.cross(omega[..., None, :].expand_as(arms), arms)
    return BodyState(turn(R.mT, arms), turn(R.mT, qdot), q0, x, v, R, omega)


def transform(matrices: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Apply (B, O, 3, 3) to (B, O, 3) without a matrix product: in full precision also under autocast."""
    return (matrices * vectors[..., None, :]).sum(-1)


def compose(phi: torch.Tensor, R: torch.Tensor) -> torch.Tensor:
    """Return exp(phi) R, (B, O, 3, 3), with rotation vectors phi (B, O, 3), radians."""
    return rotated(R, phi)


def phi_rate(phi: torch.Tensor, omega: torch.Tensor) -> torch.Tensor:
    """Return d phi/dt while exp(phi) R turns at ``omega`` (B, O, 3), rad/s.

    It is the inverse of the exponential's differential to second order in phi, which is small within a frame (Iserles
    et al. 2000, "Lie-group methods").
    """
    commutator = torch.linalg.cross(phi, omega)
    return omega - commutator / 2 + torch.linalg.cross(phi, commutator) / 12


def centers(points: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Return the mean (..., O, 3) of points (..., O, P, 3) with ``shares`` (..., O, P) of their object's mass."""
    return (points * shares[..., None]).sum(-2)


def angular_acceleration(arms: torch.Tensor, shares: torch.Tensor, torque: torch.Tensor) -> torch.Tensor:
    """Return the angular acceleration (B, O, 3), rad/s^2, that torques give bodies.

    Args:
        arms: (B, O, P, 3), points relative to their centre, metres; 0 where masked.
        shares: (B, O, P), of the body's mass.
        torque: (B, O, 3), torque over the body's mass, m^2/s^2.
    """
    inertia = inertia_over_mass(arms, shares)
    size = inertia.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None]
    # Cramer's rule: PyTorch's solver would ask the device whether a matrix is singular, and these are not.
    a, b, c = (inertia / size[..., None]).unbind(-2)
    bc, ca, ab = torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)
    t = torque / size
    return (t[..., :1] * bc + t[..., 1:2] * ca + t[..., 2:] * ab) / (a * bc).sum(-1, keepdim=True)


def turned(arms: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Turn ``arms`` (B, O, P, 3) by rotation vectors (B, O, 3), radians; in full precision also under autocast."""
    with torch.autocast(arms.device.type, enabled=False):
        return turn(rotation_exp(angles), arms)


def inertia_over_mass(arms: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Return inertia tensors over mass (B, O, 3, 3), m^2.

    Args:
        arms: (B, O, P, 3), points relative to their centre, metres; 0 where masked.
        shares: (B, O, P), of the body's mass.
    """
    with torch.autocast(arms.device.type, enabled=False):
        second = (arms * shares[..., None]).mT @ arms
    trace = second.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    identity = torch.eye(3, dtype=arms.dtype, device=arms.device)
    # Thin rods and single points have axes without inertia: the small term makes their spin zero, not infinite.
    return trace * identity - second + (1e-6 * trace + 1e-12) * identity
