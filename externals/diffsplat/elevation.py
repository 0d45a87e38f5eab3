"""Estimate from how high above an object a picture was taken, where no pose tells it."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import interpolate
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from externals.checkpoint_files import load_strictly, read_checkpoint, renamed_encoder
from gaussians.stage.errors import InputError
from gaussians.stage.shape_checks import check_shape

_WHAT = "DiffSplat's estimator of elevations"
_SIZE = 224
_HEAD_WIDTH = 64
_CLASSES, _CLASS = 25, 2.0  # number and width of them, degrees
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours
ENCODER_NAMES = (
    "backbone",
    (
        ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
        ("cls_token", "embeddings.cls_token"),
        ("mask_token", "embeddings.mask_token"),
        ("register_tokens", "embeddings.register_tokens"),
        ("pos_embed", "embeddings.position_embeddings"),
        ("blocks.", "encoder.layer."),
        ("attn.proj.", "attention.o_proj."),
        ("ls1.gamma", "layer_scale1.lambda1"),
        ("ls2.gamma", "layer_scale2.lambda1"),
    ),
)
"""What the names of the encoder's tensors start with, and what becomes of their parts (``renamed_encoder``)."""


class ElevationEstimator(nn.Module):
    """An ``ElevationEstimator`` is DiffSplat's ElevEst: DINOv2 with registers (Darcet et al. 2024), and two heads."""

    def __init__(self, config: Dinov2WithRegistersConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.backbone = Dinov2WithRegistersModel(config)
        self.register_buffer("lower_bounds", torch.zeros(_CLASSES))
        self.cls_head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, _CLASSES))
        self.offset_head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))

    @classmethod
    def from_checkpoint(cls, path: Path, device: torch.device | str) -> "ElevationEstimator":
        """Read the published checkpoint, a folder or a file.

        Raises:
            InputError: it is missing, damaged or of another network.
        """
        tensors = renamed_encoder(read_checkpoint(path), *ENCODER_NAMES)
        with torch.device("meta"):
            network = cls.of_size(tensors, path)
        load_strictly(network, tensors, path, what=_WHAT)
        return network.float().to(device)

    @classmethod
    def of_size(cls, tensors: Mapping[str, torch.Tensor], path: Path) -> "ElevationEstimator":
        """Return a network of the size of given tensors, which for the published ones is that of DINOv2-B.

        Args:
            tensors: by the network's own names.
            path: their file, for messages.

        Raises:
            InputError: they are of another network.
        """
        positions = tensors.get("backbone.embeddings.position_embeddings")
        patches = tensors.get("backbone.embeddings.patch_embeddings.projection.weight")
        registers = tensors.get("backbone.embeddings.register_tokens")
        if positions is None or patches is None or registers is None or not (positions.ndim == registers.ndim == 3):
            raise InputError(f"{path}: not a checkpoint of {_WHAT}: it has no patches, positions or registers")
        width, patch = positions.shape[-1], patches.shape[-1]
        config = Dinov2WithRegistersConfig(
            hidden_size=width,
            num_hidden_layers=sum(name.endswith(".norm1.weight") for name in tensors),
            num_attention_heads=max(1, width // _HEAD_WIDTH),
            image_size=patch * math.isqrt(positions.shape[1] - 1),
            patch_size=patch,
            num_register_tokens=registers.shape[1],
        )
        return cls(config)

    @torch.inference_mode()
    def estimate(self, rgb: torch.Tensor) -> float:
        """Return how high above the object the camera stood, degrees, -10 to 40.

        Args:
            rgb: (3, H, W), 0 to 1, the object on white.
        """
        check_shape("rgb", rgb, 3, "H", "W")
        small = interpolate(rgb[None], size=(_SIZE, _SIZE), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(values).to(rgb)[:, None, None] for values in (_MEAN, _STD))
        features = self.backbone((small - mean) / std).last_hidden_state[:, 0]
        lowest = self.get_buffer("lower_bounds")[self.cls_head(features).argmax(-1)]
        # The network counts downwards from the horizon.
        return -float(lowest + self.offset_head(features)[:, 0].clamp(0, _CLASS))
