"""Build the models that sharpen pictures and complete objects, in the published sizes, with random weights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from externals.diffsplat import DiffSplat
from externals.diffsplat.orbit import VIEWS
from externals.diffsplat.splat_maps import CHANNELS
from externals.diffsplat.versions import Version
from externals.osediff import OSEDiff

if TYPE_CHECKING:
    from externals.stable_diffusion import TextEncoder

Settings = dict[str, Any]
_CLIP_TOKENS = 77


@dataclass(frozen=True)
class GenerationSizes:
    """A ``GenerationSizes`` holds the settings of networks as their config.json does; the published ones by default.

    Attributes:
        unet, sd3: DiffSplat's denoisers.
        sharpener: OSEDiff's.
        autoencoder: of Stable Diffusion; with other channels it is that of splats and of SD 3.5.
        texts, larger_texts: CLIP's encoders of Stable Diffusion 1.5 and 3.5, and of 3.5.
        sharpener_texts: that of Stable Diffusion 2.1.
    """

    unet: Settings = field(default_factory=lambda: {"sample_size": 32, "in_channels": 11, "cross_attention_dim": 768})
    sd3: Settings = field(
        default_factory=lambda: {
            "sample_size": 32,
            "in_channels": 23,
            "num_layers": 24,
            "num_attention_heads": 24,
            "caption_projection_dim": 1536,
            "pos_embed_max_size": 384,
            "dual_attention_layers": tuple(range(13)),
            "qk_norm": "rms_norm",
        }
    )
    sharpener: Settings = field(
        default_factory=lambda: {
            "sample_size": 64,
            "cross_attention_dim": 1024,
            "attention_head_dim": [5, 10, 20, 20],
            "use_linear_projection": True,
        }
    )
    autoencoder: Settings = field(
        default_factory=lambda: {
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "block_out_channels": [128, 256, 512, 512],
            "layers_per_block": 2,
        }
    )
    texts: Settings = field(default_factory=lambda: _clip(768, 12, 12))
    larger_texts: Settings = field(default_factory=lambda: _clip(1280, 32, 20))
    sharpener_texts: Settings = field(default_factory=lambda: _clip(1024, 23, 16))


def _clip(width: int, layers: int, heads: int) -> Settings:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "projection_dim": width,
    }


def random_diffsplat(sizes: GenerationSizes, version: Version, device: torch.device) -> DiffSplat:
    """Return DiffSplat with random weights, made on the device."""
    from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel

    from externals.diffsplat.multiview_attention import attend_over_views
    from externals.diffsplat.networks import hold_products_in_bfloat16
    from externals.diffsplat.texts import PromptEmbedder

    first = version == "sd15"
    denoiser = _random(
        UNet2DConditionModel if first else SD3Transformer2DModel, sizes.unet if first else sizes.sd3, device
    )
    attend_over_views(denoiser, 1 + VIEWS)
    if device.type == "cuda":
        hold_products_in_bfloat16(denoiser)
    autoencoder = sizes.autoencoder | {"latent_channels": denoiser.config.out_channels}
    splats = autoencoder | {"in_channels": CHANNELS, "out_channels": CHANNELS}
    texts = [sizes.texts] if first else [sizes.texts, sizes.larger_texts]
    encoders = [_random_text_encoder(settings, not first, device) for settings in texts]
    return DiffSplat(
        version,
        denoiser,
        _random(AutoencoderKL, autoencoder, device),
        _random(AutoencoderKL, splats, device),
        PromptEmbedder(encoders, None),
        Path(),
    )


def random_osediff(sizes: GenerationSizes, dtype: torch.dtype, device: torch.device) -> OSEDiff:
    """Return OSEDiff with random weights, made on the device."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    return OSEDiff(
        _random(UNet2DConditionModel, sizes.sharpener, device, dtype),
        _random(AutoencoderKL, sizes.autoencoder | {"latent_channels": 4}, device, dtype),
        _random_text_encoder(sizes.sharpener_texts, False, device),
    )


def _random(
    kind: Callable[..., Any], settings: Settings, device: torch.device, dtype: torch.dtype = torch.float32
) -> Any:
    with device:
        network = kind(**settings).eval().requires_grad_(False)
    return torch.nn.Module.to(network, dtype)  # diffusers' own warns of layers that there are none of


def _random_text_encoder(settings: Settings, projection: bool, device: torch.device) -> "TextEncoder":
    """Return a text encoder for which all texts are the same: the words of a tokenizer are not random."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from externals.stable_diffusion import TextEncoder

    kind = CLIPTextModelWithProjection if projection else CLIPTextModel
    network = _random(lambda: kind(CLIPTextConfig(**settings)), {}, device)

    def tokens(texts: list[str], **_: object) -> SimpleNamespace:
        return SimpleNamespace(input_ids=torch.ones(len(texts), _CLIP_TOKENS, dtype=torch.int64))

    return TextEncoder(tokens, network, _CLIP_TOKENS)
