"""Say where the published files of each version of DiffSplat are, and what differs between the versions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gaussians.stage.errors import InputError

Version = Literal["sd15", "sd35m"]

ELEVATION = "elevest_gobj265k_b_C25"
"""Folder of the estimator of elevations, which both versions share."""


@dataclass(frozen=True)
class Published:
    """A ``Published`` is one version of DiffSplat.

    Attributes:
        denoiser: folder of the denoiser's checkpoints.
        part: folder of the denoiser in a checkpoint.
        autoencoder: folder of the checkpoints of the autoencoder of pictures of twelve channels.
        base: folder of the Stable Diffusion that it is built on.
        scaling, shift: what the autoencoder's latents are divided by, then moved by, before they are decoded.
    """

    denoiser: str
    part: str
    autoencoder: str
    base: str
    scaling: float
    shift: float


PUBLISHED: dict[Version, Published] = {
    "sd15": Published(
        denoiser="gsdiff_gobj83k_sd15_image__render",
        part="unet_ema",
        autoencoder="gsvae_gobj265k_sd",
        base="stable-diffusion-v1-5",
        scaling=0.18215,
        shift=0.0,
    ),
    "sd35m": Published(
        denoiser="gsdiff_gobj83k_sd35m_image__render",
        part="transformer_ema",
        autoencoder="gsvae_gobj265k_sd3",
        base="stable-diffusion-3.5-medium",
        scaling=1.5305,
        shift=0.0609,
    ),
}


def last_checkpoint(folder: Path) -> Path:
    """Return the folder of the last training step in ``folder``/checkpoints.

    Raises:
        InputError: there is none.
    """
    steps = [path for path in (folder / "checkpoints").glob("*") if path.name.isdecimal() and path.is_dir()]
    if not steps:
        raise InputError(f"{folder}: no checkpoint in it: expected checkpoints/<step>")
    return max(steps, key=lambda path: int(path.name))
