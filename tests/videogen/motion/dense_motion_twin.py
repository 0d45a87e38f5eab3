"""``DenseMotion`` in plain PyTorch, one object and one frame at a time."""

import numpy as np
import torch
from scipy.spatial import cKDTree

from gaussians.covariance import transform_covariance
from gaussians.representation import Gaussians
from gaussians.rotations import polar_rotation
from gaussians.spherical_harmonics import rotate_sh


def moved(gaussians: Gaussians, rows: torch.Tensor, keypoint_rows: torch.Tensor, points: torch.Tensor) -> Gaussians:
    """``gaussians[rows]``, those of one object, when its keypoints ``gaussians[keypoint_rows]`` are at ``points``."""
    own = gaussians[rows].with_covariances()
    rest = gaussians.means[keypoint_rows]
    center, centroid = rest.mean(0), points.mean(0)
    rest, offsets = rest - center, own.means - center
    R = polar_rotation(((points - centroid).T @ rest).double()).float()

    count = min(17, len(rest))
    distance, neighbours = map(torch.from_numpy, cKDTree(rest.numpy()).query(offsets.numpy(), np.arange(1, count + 1)))
    radius = distance[:, -1:] if count == 17 else 2 * distance[:, -1:]
    weights = (1 - (distance.float() / radius.float()) ** 2).clamp_min(1e-6) ** 2
    weights = weights / weights.sum(1, keepdim=True)

    # u(x) = u_mean + D (x - x_mean), fitted to the neighbours' displacements.
    displacement = ((points - centroid) @ R - rest)[neighbours]
    x = rest[neighbours]
    x_mean, u_mean = ((weights[..., None] * values).sum(1) for values in (x, displacement))
    spread = x - x_mean[:, None]
    moments = (weights[..., None, None] * spread[..., None] * spread[:, :, None]).sum(1)
    moments += 1e-3 * moments.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] * torch.eye(3)
    mixed = (weights[..., None, None] * displacement[..., None] * spread[:, :, None]).sum(1)
    D = mixed @ torch.linalg.inv(moments)
    u = u_mean + (D @ (offsets - x_mean)[..., None]).squeeze(-1)

    F = R @ (torch.eye(3) + D)
    return Gaussians(
        means=(offsets + u) @ R.T + centroid,
        opacities=own.opacities,
        sh=rotate_sh(own.sh, polar_rotation(F)),
        covariances=transform_covariance(own.covariance(), F),
    )
