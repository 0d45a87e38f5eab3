"""Measure the models that sharpen pictures and complete objects, with random weights of the published sizes."""

from typing import Any

UNET_OF_DIFFSPLAT: dict[str, Any] = {
    "sample_size": 32,
    "in_channels": 11,
    "cross_attention_dim": 768,
}
SD3_OF_DIFFSPLAT: dict[str, Any] = {
    "sample_size": 32,
    "in_channels": 23,
    "num_layers": 24,
    "num_attention_heads": 24,
    "caption_projection_dim": 1536,
    "pos_embed_max_size": 384,
    "dual_attention_layers": tuple(range(13)),
    "qk_norm": "rms_norm",
}
UNET_OF_OSEDIFF: dict[str, Any] = {
    "sample_size": 64,
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
}
VAE_OF_STABLE_DIFFUSION: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
}
