"""What external forces and torques do to models that know no forces: they move objects as rigid bodies."""

import torch

from dynamic_models.models.building_blocks.body_frame import inertia_over_mass, turn
from gaussians.rotations import rotation_exp


def centers(points: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean (B, O, 3) of the points (B, O, P, 3) that ``mask`` (B, O, P) says exist; 0 for objects without any."""
    existing = mask[..., None]
    return (points * existing).sum(-2) / existing.sum(-2).clamp_min(1)


def angular_acceleration(arms: torch.Tensor, mask: torch.Tensor, torque: torch.Tensor) -> torch.Tensor:
    """(B, O, 3), rad/s^2, of bodies of equal point masses.

    Args:
        arms: (B, O, P, 3), points relative to their centre, metres; 0 where masked.
        mask: (B, O, P), which points exist.
        torque: (B, O, 3), over the body's mass, m^2/s^2.
    """
    inertia = inertia_over_mass(arms, mask)
    size = inertia.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None]
    # Cramer's rule: PyTorch's solver would ask the device whether a matrix is singular, and these are not.
    a, b, c = (inertia / size[..., None]).unbind(-2)
    bc, ca, ab = torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)
    t = torque / size
    return (t[..., :1] * bc + t[..., 1:2] * ca + t[..., 2:] * ab) / (a * bc).sum(-1, keepdim=True)


def turned(arms: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """``arms`` (B, O, P, 3) turned by the rotation vectors (B, O, 3), radians; in full precision under autocast."""
    with torch.autocast(arms.device.type, enabled=False):
        return turn(rotation_exp(angles), arms)
