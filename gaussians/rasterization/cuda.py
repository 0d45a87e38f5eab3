"""Draw on CUDA with gsplat, a few cameras at a time."""

import torch
from gsplat import rasterization

from gaussians.cameras import Cameras
from gaussians.covariance import unpack_covariance
from gaussians.rasterization.image_model import BLUR
from gaussians.representation import Gaussians

_BYTES_A_GAUSSIAN_VIEW = 4096
"""The device memory that one call of gsplat is given for each Gaussian and camera, bytes.

It takes about 300 of them at SH degree 3 and as many again for the tiles that a Gaussian touches in large images.
"""


def draw(
    gaussians: Gaussians,
    cameras: Cameras,
    backgrounds: torch.Tensor,
    sh_degree: int,
    near_plane: float,
    far_plane: float,
    radius_clip: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return RGB (C, H, W, 3), accumulated depth (C, H, W) and alpha (C, H, W); the arguments are ``rasterize``'s."""
    height, width = cameras.height, cameras.width
    if len(gaussians) == 0 or len(cameras) == 0:
        empty = backgrounds.new_zeros(len(cameras), height, width)
        return backgrounds[:, None, None].expand(-1, height, width, 3).clone(), empty, empty.clone()
    scales, quaternions, covariances = gaussians.scales, gaussians.quaternions, None
    if gaussians.covariances is not None:
        covariances = unpack_covariance(gaussians.covariances)
    opacities = torch.where(_finite(gaussians), gaussians.opacities, 0.0)
    count = max(1, _gaussian_views(gaussians.device) // len(gaussians))
    images, alphas = [], []
    for first in range(0, len(cameras), count):
        part = slice(first, first + count)
        image, alpha, _ = rasterization(
            gaussians.means,
            quaternions,
            scales,
            opacities,
            gaussians.sh[:, : (sh_degree + 1) ** 2],
            cameras.viewmats[part],
            cameras.Ks[part],
            width,
            height,
            near_plane=near_plane,
            far_plane=far_plane,
            radius_clip=radius_clip,
            eps2d=BLUR,
            sh_degree=sh_degree,
            # Packing would save memory where a camera sees few of the Gaussians. Ours see most of them, and the
            # size of a call bounds the memory anyway.
            packed=False,
            backgrounds=backgrounds[part],
            render_mode="RGB+D",
            rasterize_mode="classic",
            covars=covariances,
        )
        images.append(image)
        alphas.append(alpha.squeeze(-1))
    image = torch.cat(images) if len(images) > 1 else images[0]
    return image[..., :3], image[..., 3], torch.cat(alphas)


def _gaussian_views(device: torch.device) -> int:
    """Return how many Gaussians times cameras one call may draw."""
    return torch.cuda.get_device_properties(device).total_memory // _BYTES_A_GAUSSIAN_VIEW


def _finite(gaussians: Gaussians) -> torch.Tensor:
    """Return for each Gaussian (N,) whether its mean, shape and opacity are finite."""
    parts = (gaussians.means, gaussians.opacities[:, None])
    shapes = (gaussians.scales, gaussians.quaternions, gaussians.covariances)
    columns = torch.cat([*parts, *(shape for shape in shapes if shape is not None)], 1)
    return columns.isfinite().all(1)
