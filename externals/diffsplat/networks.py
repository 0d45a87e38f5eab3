"""Load DiffSplat's own networks from their published folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel

from externals.checkpoint_files import load_strictly, read_checkpoint
from externals.diffsplat.multiview_attention import attend_over_views
from externals.diffsplat.orbit import VIEWS
from externals.diffsplat.splat_maps import CHANNELS
from externals.diffsplat.versions import Version
from externals.stable_diffusion import build_part, load_part
from gaussians.stage.errors import InputError

_TOLD_APART = 7  # channels that describe a view besides its latent: its rays, and whether it is generated


def load_denoiser(folder: Path, version: Version) -> UNet2DConditionModel | SD3Transformer2DModel:
    """Return the denoiser of a version, which attends over the picture and the four views, on the CPU.

    Raises:
        InputError: a file is missing, damaged or of another network.
    """
    kind = UNet2DConditionModel if version == "sd15" else SD3Transformer2DModel
    denoiser = load_part(kind, folder, config=_stock)
    channels, latent = denoiser.config.in_channels, denoiser.config.out_channels
    if channels != latent + _TOLD_APART:
        raise InputError(
            f"{folder}: not a denoiser of DiffSplat: expected {latent + _TOLD_APART} channels in, found {channels}"
        )
    attend_over_views(denoiser, 1 + VIEWS)
    return denoiser


def _stock(config: dict[str, Any]) -> dict[str, Any]:
    """Return settings with the stock blocks in place of the published ones, which differ in nothing but attention."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(entry) for entry in value]
        return value.replace("MV2D", "2D") if isinstance(value, str) else value

    return {name: plain(value) for name, value in config.items()}


def hold_products_in_bfloat16(denoiser: torch.nn.Module) -> None:
    """Keep in bfloat16 what autocast would turn to it at each step: what comes out is the same to the bit."""
    for layer in denoiser.modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
            layer.to(torch.bfloat16)


def load_splat_autoencoder(folder: Path) -> AutoencoderKL:
    """Return the autoencoder of pictures of twelve channels, whose size its tensors tell, on the CPU.

    Raises:
        InputError: a file is missing, damaged or of another network.
    """
    tensors = read_checkpoint(folder)
    own = {name.removeprefix("vae."): tensor for name, tensor in tensors.items() if name.startswith("vae.")}
    network = build_part(AutoencoderKL, autoencoder_config(own, folder), folder)
    # The smaller decoder made previews while the autoencoder was trained.
    load_strictly(network, own, folder, what="DiffSplat's autoencoder")
    if others := [name for name in tensors if not name.startswith(("vae.", "tiny_decoder."))]:
        raise InputError(f"{folder}: not a checkpoint of DiffSplat's autoencoder: unknown {others[0]}")
    return network.float()


def autoencoder_config(tensors: Mapping[str, torch.Tensor], path: Path) -> dict[str, Any]:
    """Return the settings of the autoencoder that tensors belong to.

    Raises:
        InputError: they belong to no autoencoder of pictures of twelve channels.
    """
    first = tensors.get("encoder.conv_in.weight")
    last = tensors.get("decoder.conv_in.weight")
    if first is None or last is None or first.ndim != 4 or first.shape[1] != CHANNELS or last.ndim != 4:
        raise InputError(f"{path}: not a checkpoint of DiffSplat's autoencoder: it does not take {CHANNELS} channels")
    blocks = [
        len(tensor)
        for name, tensor in tensors.items()
        if name.startswith("encoder.down_blocks.") and name.endswith(".resnets.0.conv1.weight")
    ]
    layers = sum(
        name.startswith("encoder.down_blocks.0.resnets.") and name.endswith(".conv1.weight") for name in tensors
    )
    return {
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "down_block_types": ["DownEncoderBlock2D"] * len(blocks),
        "up_block_types": ["UpDecoderBlock2D"] * len(blocks),
        "block_out_channels": blocks,
        "layers_per_block": layers,
        "latent_channels": last.shape[1],
        "use_quant_conv": "quant_conv.weight" in tensors,
        "use_post_quant_conv": "post_quant_conv.weight" in tensors,
    }
