"""Gaussians trained elsewhere turned into an object of ours."""

from pathlib import Path

import torch

from dataset.objects.meshes import EXTENT, UPRIGHT
from gaussians.files.ply import read_ply
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError

DEFAULT_UP = "-y"
"""Captures are trained in the axes of a camera, whose y points down."""

_VISIBLE = 0.02  # fainter Gaussians do not tell where the object ends


def splat_gaussians(path: Path, up: str) -> Gaussians:
    """The Gaussians of a 3DGS PLY file, z up, centred on the origin, EXTENT metres in their largest extent.

    Args:
        up: the upward axis of the file, one of ``UP_AXES``.

    Raises:
        InputError: the file is missing or damaged, or all its visible Gaussians are in one place.
    """
    gaussians = read_ply(path)
    visible = gaussians.means[gaussians.opacities > _VISIBLE]
    extent = float((visible.amax(0) - visible.amin(0)).max()) if len(visible) else 0.0
    if not extent > 0:
        raise InputError(f"{path}: has no extent: expected visible Gaussians in more than one place")
    centred = gaussians.transformed(translation=-(visible.amin(0) + visible.amax(0)) / 2)
    return centred.transformed(rotation=torch.tensor(UPRIGHT[up], dtype=torch.float32), scale=EXTENT / extent)
