"""Place the four cameras that DiffSplat generates an object from, and describe their rays.

The object's frame has y upwards and the object within about [-0.5, 0.5]^3. View 0 is the conditioning picture's; the
others stand at the same height, each a quarter of a turn on.
"""

import torch

from gaussians.cameras import Cameras, look_at
from gaussians.stage.shape_checks import check_shape

VIEWS = 4
RADIUS = 1.4
FOCAL = 1422.222 / 1024
"""Focal length as a share of the picture's width."""


def orbit_cameras(elevation: float, size: int) -> Cameras:
    """Return the 4 cameras that look at the origin, at azimuths 0, 90, 180 and 270 degrees.

    The published grid puts the first and the last of ``size`` pixels on the picture's edges. So that the centre of
    each of our pixels has the same ray, the focal length here is that share of ``size`` - 1.

    Args:
        elevation: degrees above the horizontal plane y = 0.
        size: width and height, pixels.
    """
    azimuth = torch.deg2rad(torch.arange(VIEWS) * 360.0 / VIEWS)
    above = torch.deg2rad(torch.tensor(elevation, dtype=torch.float32)).expand(VIEWS)
    positions = torch.stack([above.cos() * azimuth.sin(), above.sin(), above.cos() * azimuth.cos()], -1)
    return look_at(RADIUS * positions, torch.zeros(3), size, size, FOCAL * (size - 1), up=(0, 1, 0))


def camera_to_world(cameras: Cameras) -> torch.Tensor:
    """Return the poses (C, 4, 4) of cameras."""
    poses = torch.eye(4).to(cameras.viewmats).repeat(len(cameras), 1, 1)
    poses[:, :3, :3] = cameras.viewmats[:, :3, :3].mT
    poses[:, :3, 3] = cameras.positions
    return poses


def plucker_maps(cameras: Cameras) -> torch.Tensor:
    """Return what DiffSplat is told of each pixel's ray: moment and direction, (C, 6, size, size).

    The networks learnt from rays that start at the principal point instead of being centred about it: the published
    code adds half a picture to the pixels. These are the same.
    """
    steps = torch.linspace(0, 1, cameras.width).to(cameras.viewmats) / FOCAL
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    poses = camera_to_world(cameras)
    local = torch.stack([x, y, torch.ones_like(x)], -1)
    directions = torch.nn.functional.normalize(torch.einsum("cij,hwj->chwi", poses[:, :3, :3], local), dim=-1)
    moments = torch.linalg.cross(poses[:, None, None, :3, 3].expand_as(directions), directions)
    return torch.cat([moments, directions], -1).permute(0, 3, 1, 2)


def unproject(depths: torch.Tensor, cameras: Cameras) -> torch.Tensor:
    """Return the points (C, size, size, 3) at depths (C, size, size) along the axes of cameras."""
    check_shape("depths", depths, len(cameras), cameras.height, cameras.width)
    x = (torch.arange(cameras.width).to(depths) + 0.5 - cameras.width / 2) / cameras.Ks[0, 0, 0]
    y = (torch.arange(cameras.height).to(depths) + 0.5 - cameras.height / 2) / cameras.Ks[0, 1, 1]
    y, x = torch.meshgrid(y, x, indexing="ij")
    local = torch.stack([x, y, torch.ones_like(x)], -1) * depths[..., None]
    poses = camera_to_world(cameras)
    return torch.einsum("cij,chwj->chwi", poses[:, :3, :3], local) + poses[:, None, None, :3, 3]
