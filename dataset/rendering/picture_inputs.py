"""This module says what pictures are made from, for the records beside them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from dataset.layout import find_point_cloud
from dataset.rendering.background import CAPTURE_CAMERAS
from dataset.rendering.settings import PictureSettings
from gaussians.cameras import Orbit
from gaussians.stage.atomic_files import file_hash


def drawn_from(settings: PictureSettings, orbit: Orbit, background: Path | None) -> dict[str, Any]:
    """Return what pictures depend on beside the Gaussians in motion and the view: cameras, background, looks.

    Args:
        background: the one of the settings' backgrounds that is drawn; None: a checkered ground.

    Raises:
        InputError: there is no such background.
    """
    found = {
        "orbit": asdict(orbit) | {"center": list(orbit.center)},
        "background": _background_hashes(background),
        "resolution": settings.resolution,
        "white_bg": settings.white,
        "shs_degree": settings.sh_degree,
    }
    # Pictures of before there were shadows stay current.
    return found | ({"shadows": True} if settings.shadows else {})


def _background_hashes(path: Path | None) -> dict[str, str] | None:
    """Return the SHA-256 of each file that a background's Gaussians in the world depend on."""
    if path is None:
        return None
    cloud = find_point_cloud(path)
    files = [cloud, cloud.parent / "placement.json", cloud.parent / CAPTURE_CAMERAS]
    return {file.name: file_hash(file) for file in files if file.is_file()}
