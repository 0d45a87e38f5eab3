"""Turn the pictures that DiffSplat generates, of twelve channels, into Gaussians: one for each pixel."""

import torch

from externals.diffsplat.orbit import RADIUS, unproject
from gaussians.cameras import Cameras
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from gaussians.stage.shape_checks import check_shape

CHANNELS = 12
_SMALLEST, _LARGEST = 0.0005, 0.02


def gaussians_of_maps(maps: torch.Tensor, cameras: Cameras) -> Gaussians:
    """Return the C x size x size Gaussians of maps, by view, row and column, in the object's frame.

    A Gaussian of opacity 0 is background.

    Args:
        maps: (C, 12, size, size), -1 to 1: colour, scales (of which 1 is the smallest), quaternion wxyz, opacity, and
            depth along the camera's axis less its distance from the origin.
        cameras: the C views.
    """
    check_shape("maps", maps, len(cameras), CHANNELS, cameras.height, cameras.width)
    rgb, scales, quaternions, opacities, depths = maps.permute(0, 2, 3, 1).split([3, 3, 4, 1, 1], -1)
    smallness = (scales + 1) / 2
    return Gaussians(
        means=unproject(depths[..., 0] + RADIUS, cameras).reshape(-1, 3),
        opacities=((opacities + 1) / 2).reshape(-1),
        sh=rgb_to_sh(((rgb + 1) / 2).reshape(-1, 3)),
        scales=(_SMALLEST * smallness + _LARGEST * (1 - smallness)).reshape(-1, 3),
        quaternions=quaternions.reshape(-1, 4),
    )
