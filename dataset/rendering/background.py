"""This module provides what stands behind and below the objects: backgrounds, or a plain ground."""

from pathlib import Path

import torch

from dataset.catalog import load_placement
from dataset.layout import BACKGROUND_CLOUDS, find_point_cloud
from gaussians.files.splats.splat_formats import read_splats
from gaussians.files.torch_file import load_dictionary, tensor_of
from gaussians.files.trajectory_format import PUBLISHED_WALLS
from gaussians.representation import Gaussians
from gaussians.rotations import euler_xyz_to_matrix
from gaussians.stage.errors import InputError

CAPTURE_CAMERAS = "camera_2999.pt"


def load_background(path: Path) -> Gaussians:
    """Read a background and place it in the world.

    Captured and procedural backgrounds are placed by their ``placement.json`` or the catalogue; a cloud without
    either, such as a reconstruction's, stays as it is.

    Args:
        path: a background directory or a file of Gaussians.

    Raises:
        InputError: a file is missing or damaged.
    """
    cloud = find_point_cloud(path)
    gaussians = read_splats(cloud).gaussians
    directory = cloud.parent
    if not (cloud.name in BACKGROUND_CLOUDS or (directory / "placement.json").is_file()):
        return gaussians
    placement = load_placement(directory)
    center = capture_center(directory / CAPTURE_CAMERAS) if placement.center is None else torch.tensor(placement.center)
    placed = gaussians.transformed(translation=-center).transformed(
        rotation=euler_xyz_to_matrix(torch.tensor(placement.rotation, dtype=torch.float64)).float(),
        translation=torch.tensor(placement.translation) + center,
        scale=placement.scale,
    )
    return placed[placed.means.abs().amax(1) > 1] if placement.crop else placed


def capture_center(path: Path) -> torch.Tensor:
    """Return the mean position (3,) of the cameras in a ``camera_2999.pt``, in the background's own units.

    Raises:
        InputError: the file is missing, holds anything but tensors, or has no finite (V, 3 or 4, 4) ``extrinsics``.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, and the placement names no center")
    extrinsics = tensor_of(path, load_dictionary(path), "extrinsics").float()
    if extrinsics.shape[-2:] not in ((3, 4), (4, 4)) or not extrinsics.numel():
        raise InputError(f"{path}: extrinsics: expected shape (V, 4, 4), found {tuple(extrinsics.shape)}")
    if not extrinsics.isfinite().all():
        raise InputError(f"{path}: extrinsics: expected finite values")
    extrinsics = extrinsics.reshape(-1, *extrinsics.shape[-2:])
    rotations, translations = extrinsics[:, :3, :3], extrinsics[:, :3, 3]
    return -(rotations.mT @ translations[..., None]).squeeze(-1).mean(0)


def ground_plane() -> Gaussians:
    """Return the published default ground: 0.2 m squares of flat grey Gaussians over [-4, 4]^2 at z = -0.94, metres.

    Only the darker squares hold Gaussians (opacity 0.4); the backdrop shows through the others.
    """
    line = (torch.arange(400) + 0.5) * 0.02 - 4.0
    x, y = torch.meshgrid(line, line, indexing="xy")
    square = torch.arange(400) // 10
    dark = (square[:, None] + square[None, :]) % 2 == 0
    means = torch.stack([x[dark], y[dark], torch.full_like(x[dark], PUBLISHED_WALLS.floor)], 1)
    return Gaussians(
        means=means,
        opacities=torch.full((len(means),), 0.4),
        sh=torch.zeros(len(means), 1, 3),  # grey 0.5
        covariances=torch.tensor([3e-4, 0, 0, 3e-4, 0, 1e-6]).expand(len(means), 6).clone(),
    )
