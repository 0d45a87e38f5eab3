"""Generate whole objects, as Gaussians, from single pictures of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from externals.checkpoint_files import check_free_memory, require
from externals.diffsplat.conditioning import SIZE, ConditioningPicture, make_conditioning_picture
from externals.diffsplat.orbit import orbit_cameras, plucker_maps
from externals.diffsplat.splat_maps import gaussians_of_maps
from externals.diffsplat.versions import ELEVATION, PUBLISHED, Version, last_checkpoint
from gaussians.cameras import Cameras
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel

    from externals.diffsplat.elevation import ElevationEstimator
    from externals.diffsplat.texts import PromptEmbedder

_WORKING = 2 * 2**30  # bytes besides the parameters, of which decoding alone takes 0.9 * 2**30


@dataclass(frozen=True)
class DiffSplatObject:
    """A ``DiffSplatObject`` is a generated object, in a frame of its own: y up, within about [-0.5, 0.5]^3.

    Attributes:
        gaussians: 4 x 256 x 256, by view, row and column; those of opacity 0 are background. The first 65,536 are the
            pixels of the conditioning picture.
        cameras: the 4 views; each Gaussian lies on the ray of its pixel's centre.
        conditioning: the picture of view 0, and where its pixels are in the input.
        elevation: degrees at which the cameras stand above the object.
    """

    gaussians: Gaussians
    cameras: Cameras
    conditioning: ConditioningPicture
    elevation: float


class DiffSplat:
    """A ``DiffSplat`` generates four views of splats from one picture (Lin et al. 2025), then Gaussians from these.

    Denoising is in bfloat16 on a GPU, as autocast does it; everything else is in float32.
    """

    def __init__(
        self,
        version: Version,
        denoiser: "UNet2DConditionModel | SD3Transformer2DModel",
        pictures: "AutoencoderKL",
        splats: "AutoencoderKL",
        prompts: "PromptEmbedder",
        elevation: Path,
    ) -> None:
        self._version: Version = version
        self._denoiser = denoiser
        self._pictures = pictures
        self._splats = splats
        self._prompts = prompts
        self._elevation_folder = elevation
        self._elevation: ElevationEstimator | None = None

    @classmethod
    def from_checkpoint(
        cls, root: str | Path, device: torch.device | str, version: Version = "sd15", t5: bool = False
    ) -> "DiffSplat":
        """Read the networks of a version from the published folders.

        Args:
            root: holds the folders of DiffSplat's repository, and Stable Diffusion's: stable-diffusion-v1-5 or
                stable-diffusion-3.5-medium.
            version: on which Stable Diffusion it is built, 1.5 or 3.5 medium.
            t5: whether the T5 encoder of SD 3.5 reads prompts, too. It takes 9.5 GB of the CPU's memory, and of the
                device's while it is at work.

        Raises:
            InputError: a library or a file is missing, a file is damaged or of another network, or too little memory
                is free.
        """
        require("diffusers")
        require("transformers")
        from externals.diffsplat.networks import hold_products_in_bfloat16, load_denoiser, load_splat_autoencoder
        from externals.diffsplat.texts import PromptEmbedder
        from externals.stable_diffusion import load_autoencoder

        if version not in PUBLISHED:
            raise ValueError(f"version: expected {', '.join(PUBLISHED)}, found {version!r}")
        root, published = Path(root), PUBLISHED[version]
        base = root / published.base
        denoiser = load_denoiser(last_checkpoint(root / published.denoiser) / published.part, version)
        if torch.device(device).type == "cuda":
            hold_products_in_bfloat16(denoiser)
        pictures = load_autoencoder(base / "vae")
        splats = load_splat_autoencoder(last_checkpoint(root / published.autoencoder))
        prompts = PromptEmbedder.from_folder(base, version, t5)
        networks = [denoiser, pictures, splats, *(encoder.network for encoder in prompts.encoders)]
        needed = sum(values.nbytes for network in networks for values in network.parameters())
        advice = "free what other models hold" + ("" if version == "sd15" else ", or take the version sd15")
        check_free_memory(device, needed + _WORKING, f"DiffSplat {version}", advice)
        for network in networks:
            network.to(device)
        return cls(version, denoiser, pictures, splats, prompts, root / ELEVATION)

    @torch.no_grad()
    def complete(
        self, image: torch.Tensor, mask: torch.Tensor, text: str, elevation: float | None = None, seed: int = 0
    ) -> DiffSplatObject:
        """Generate the whole object that a picture shows one side of.

        Args:
            image: (H, W, 3) uint8.
            mask: (H, W) bool, the object.
            text: what it is.
            elevation: degrees that the camera stood above the object; estimated from the picture by default.
            seed: of the noise that it is generated from.

        Raises:
            InputError: the elevation is to be estimated, but the estimator's checkpoint is missing or damaged.
            ValueError: the mask is empty, or the shapes differ.
        """
        from externals.diffsplat.denoising import generate_latents

        device = self._denoiser.device
        conditioning = make_conditioning_picture(image.to(device), mask.to(device))
        if elevation is None:
            elevation = self._estimate_elevation(conditioning.rgb)
        cameras = orbit_cameras(elevation, SIZE).to(device)
        rays = plucker_maps(cameras)
        generator = torch.Generator().manual_seed(seed)
        latents = generate_latents(
            self._denoiser,
            self._version,
            picture_latent(self._pictures, conditioning.rgb),
            torch.cat([rays[:1], rays]),
            self._prompts.embed(text),
            # The CPU's numbers are the same on every device.
            lambda shape: torch.randn(shape, generator=generator).to(device),
        )
        published = PUBLISHED[self._version]
        maps = self._splats.decode(latents / published.scaling + published.shift, return_dict=False)[0]
        return DiffSplatObject(gaussians_of_maps(maps.clamp(-1, 1), cameras), cameras, conditioning, elevation)

    def _estimate_elevation(self, rgb: torch.Tensor) -> float:
        from externals.diffsplat.elevation import ElevationEstimator

        if self._elevation is None:
            if not self._elevation_folder.is_dir():
                raise InputError(f"{self._elevation_folder}: no such folder: expected what estimates elevations")
            checkpoint = last_checkpoint(self._elevation_folder)
            self._elevation = ElevationEstimator.from_checkpoint(checkpoint, self._denoiser.device)
        return self._elevation.estimate(rgb)


def picture_latent(autoencoder: "AutoencoderKL", rgb: torch.Tensor) -> torch.Tensor:
    """Return the scaled latent (C, h, w) of a picture (3, H, W), 0 to 1: the mean of what the autoencoder expects."""
    latent = autoencoder.encode(2 * rgb[None] - 1).latent_dist.mode()[0]
    return latent * autoencoder.config.scaling_factor
