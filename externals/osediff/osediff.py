"""Sharpen pictures with OSEDiff (Wu et al. 2024): Stable Diffusion 2.1 in a single step."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import interpolate, pad

from externals.checkpoint_files import check_free_memory, read_pickle, require
from gaussians.stage.shape_checks import check_shape

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from externals.stable_diffusion import TextEncoder

LONGER_SIDE = 768
"""Pixels of the longer side of what is made, as published."""
_STEP = 999
_SIGNAL = 0.0046600951  # of the variance at this step, of Stable Diffusion's noise levels
_MULTIPLE = 8
_WORKING = 3 * 2**30  # bytes besides the parameters; decoding 768 x 768 in float32 alone takes 2.2 * 2**30


class OSEDiff:
    """An ``OSEDiff`` makes small or blurred pictures sharp, guided by a text that says what they show.

    It takes the mean of the latents that the autoencoder expects, where the published code draws one: the same picture
    always gives the same.
    """

    def __init__(self, denoiser: "UNet2DConditionModel", autoencoder: "AutoencoderKL", texts: "TextEncoder") -> None:
        self.denoiser = denoiser
        self.autoencoder = autoencoder
        self._texts = texts

    @classmethod
    def from_checkpoint(
        cls, root: str | Path, device: torch.device | str, dtype: torch.dtype | None = None
    ) -> "OSEDiff":
        """Read the networks from the published folder.

        Args:
            root: holds osediff.pkl and stable-diffusion-2-1-base.
            dtype: of the denoiser and the autoencoder; by default bfloat16 on a GPU and float32 on the CPU.

        Raises:
            InputError: a library or a file is missing, a file is damaged or of another network, or too little memory
                is free.
        """
        require("diffusers")
        require("transformers")
        from externals.stable_diffusion import TextEncoder

        root, device = Path(root), torch.device(device)
        dtype = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
        base = root / "stable-diffusion-2-1-base"
        denoiser, autoencoder = load_networks(root)
        texts = TextEncoder.clip(base)
        needed = sum(
            values.numel() * dtype.itemsize
            for network in (denoiser, autoencoder, texts.network)
            for values in network.parameters()
        )
        check_free_memory(device, needed + _WORKING, "OSEDiff", "free what other models hold, or take Real-ESRGAN")
        texts.network.to(device)
        for network in (denoiser, autoencoder):
            torch.nn.Module.to(network, device, dtype)  # diffusers' own warns of layers that there are none of
        return cls(denoiser, autoencoder, texts)

    @torch.no_grad()
    def enlarge(self, image: torch.Tensor, prompt: str, longer_side: int = LONGER_SIDE) -> torch.Tensor:
        """Return a picture (h, w, 3) uint8 of the same, sharper, whose longer side has another number of pixels.

        Args:
            image: (H, W, 3) uint8.
            prompt: what it shows, such as "a red mug", or several such tags with commas between them; or nothing.
            longer_side: pixels; OSEDiff is used with 768.
        """
        check_shape("image", image, "H", "W", 3)
        device = self.denoiser.device
        height, width = image.shape[:2]
        factor = longer_side / max(height, width)
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        rgb = image.to(device).permute(2, 0, 1)[None].float() / 255
        rgb = interpolate(rgb, size=size, mode="bilinear", align_corners=False)
        more = [-side % _MULTIPLE for side in size]
        top, left = more[0] // 2, more[1] // 2
        canvas = pad(rgb, (left, more[1] - left, top, more[0] - top), value=1.0)
        # OSEDiff learnt with tags, each followed by a comma.
        tokens = self._texts([f"{prompt}, " if prompt else ""]).last_hidden_state
        decoded = self.decode(self.denoise(self.latent(canvas), tokens)).clamp(-1, 1)
        sharp = decoded[0, :, top : top + size[0], left : left + size[1]].float()
        return (255 * (0.5 * sharp + 0.5)).to(torch.uint8).permute(1, 2, 0)

    def latent(self, rgb: torch.Tensor) -> torch.Tensor:
        """Return the scaled latents (B, 4, H/8, W/8) of pictures (B, 3, H, W), 0 to 1."""
        expected = self.autoencoder.encode((2 * rgb - 1).to(self.autoencoder.dtype)).latent_dist
        return expected.mode() * self.autoencoder.config.scaling_factor

    def denoise(self, latent: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return the sharp latents (B, 4, h, w) of latents, all of whose blur is taken for noise.

        Args:
            latent: (B, 4, h, w).
            tokens: (B, S, C), the text's.
        """
        return (latent.float() - (1 - _SIGNAL) ** 0.5 * self.predict(latent, tokens).float()) / _SIGNAL**0.5

    def predict(self, latent: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return the noise (B, 4, h, w) that latents are taken to hold; the arguments are those of ``denoise``."""
        return self.denoiser(latent, _STEP, tokens.to(self.denoiser.dtype), return_dict=False)[0]

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Return the pictures (B, 3, 8 h, 8 w), about -1 to 1, of scaled latents (B, 4, h, w)."""
        unscaled = latent / self.autoencoder.config.scaling_factor
        return self.autoencoder.decode(unscaled.to(self.autoencoder.dtype), return_dict=False)[0]


def load_networks(root: Path) -> tuple["UNet2DConditionModel", "AutoencoderKL"]:
    """Return Stable Diffusion's denoiser and autoencoder with OSEDiff's adaptations merged in, on the CPU.

    Raises:
        InputError: a file is missing, damaged or of another network.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from externals.osediff.lora import Adaptation
    from externals.stable_diffusion import load_part, rename_attention

    path = root / "osediff.pkl"
    base = root / "stable-diffusion-2-1-base"
    contents = read_pickle(path)
    unet, vae = Adaptation.published(contents, "unet", path), Adaptation.published(contents, "vae", path)
    denoiser = load_part(UNet2DConditionModel, base / "unet", unet.merged_into)
    autoencoder = load_part(AutoencoderKL, base / "vae", lambda tensors: vae.merged_into(rename_attention(tensors)))
    return denoiser, autoencoder
