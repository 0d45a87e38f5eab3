"""Put the network together, in the sizes that a checkpoint has."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from externals.pi3_splat.heads import CameraHead, FeatureHead, PixelGaussians, PixelHead
from externals.pi3_splat.transformer import PATCH, Block, DinoV2, Linear, Patches, TokenDecoder, rotary_table


@dataclass(frozen=True)
class Pi3Sizes:
    """A ``Pi3Sizes`` says how large the parts of the network are.

    Attributes:
        width, heads: of tokens, and of attention; the same in all parts.
        encoder_depth, decoder_depth, head_depth: blocks of DINOv2, of the decoder, and of the decoder of each head.
        positions, encoder_registers, registers: position embeddings and register tokens of DINOv2, and special tokens.
        camera_width: of the camera head.
        upsampling: widths of the three stages of convolutions.
        features: channels of each pixel.
        sh_degree: of the colours.
    """

    width: int = 1024
    heads: int = 16
    encoder_depth: int = 24
    decoder_depth: int = 36
    head_depth: int = 5
    positions: int = 1370
    encoder_registers: int = 4
    registers: int = 5
    camera_width: int = 512
    upsampling: tuple[int, int, int] = (512, 512, 256)
    features: int = 128
    sh_degree: int = 2

    @staticmethod
    def of(tensors: Mapping[str, torch.Tensor]) -> "Pi3Sizes":
        """Return the sizes of the network with these tensors.

        Raises:
            KeyError: one of those that tell is not there.
        """

        def size(name: str, axis: int = 0) -> int:
            return tensors[name].shape[axis]

        def depth(prefix: str) -> int:
            found = [re.match(rf"{re.escape(prefix)}\.(\d+)\.", name) for name in tensors]
            return 1 + max((int(match[1]) for match in found if match), default=-1)

        width = size("register_token", -1)
        upsampling = "feature_head.upsample_proj.model.{}.weight"
        return Pi3Sizes(
            width=width,
            heads=width // size("decoder.0.attn.q_norm.weight"),
            encoder_depth=depth("encoder.blocks"),
            decoder_depth=depth("decoder"),
            head_depth=depth("point_decoder.blocks"),
            positions=size("encoder.pos_embed", 1),
            encoder_registers=size("encoder.register_tokens", 1),
            registers=size("register_token", 2),
            camera_width=size("camera_decoder.linear_out.weight"),
            upsampling=(size(upsampling.format(0)), size(upsampling.format(5)), size(upsampling.format(10))),
            features=size("feature_head.conv_net.layers.0.0.weight"),
            sh_degree=round(((size("feature_head.down_proj.weight") - 8) / 3) ** 0.5) - 1,
        )


@dataclass(frozen=True)
class NetworkOutput:
    """A ``NetworkOutput`` holds what the heads give, as published.

    Attributes:
        local_points: (N, H, W, 3), in each camera's frame.
        confidence_logits: (N, H, W).
        camera_to_worlds: (N, 4, 4).
        gaussians: for each pixel.
    """

    local_points: torch.Tensor
    confidence_logits: torch.Tensor
    camera_to_worlds: torch.Tensor
    gaussians: PixelGaussians


class Pi3Network(nn.Module):
    """A ``Pi3Network`` is Pi3 with a head for Gaussians; its parameters have the checkpoint's names."""

    image_mean: torch.Tensor
    image_std: torch.Tensor

    def __init__(self, sizes: Pi3Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        width, heads = sizes.width, sizes.heads
        self.register_buffer("image_mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("image_std", torch.ones(1, 3, 1, 1))
        self.register_token = nn.Parameter(torch.zeros(1, 1, sizes.registers, width))
        self.encoder = DinoV2(width, sizes.encoder_depth, heads, sizes.positions, sizes.encoder_registers)
        self.decoder = nn.ModuleList(Block(width, heads, scaled=True, qk_norm=True) for _ in range(sizes.decoder_depth))

        def token_decoder(width_out: int) -> TokenDecoder:
            return TokenDecoder(2 * width, width, width_out, sizes.head_depth, heads)

        self.point_decoder, self.point_head = token_decoder(width), PixelHead(width, 3)
        self.conf_decoder, self.conf_head = token_decoder(width), PixelHead(width, 1)
        self.camera_decoder, self.camera_head = token_decoder(sizes.camera_width), CameraHead(sizes.camera_width)
        self.feature_decoder = token_decoder(width)
        self.feature_head = FeatureHead(width, sizes.upsampling, sizes.features, sizes.sh_degree)

    def multiply_in(self, dtype: torch.dtype) -> None:
        """Have weight matrices of attending parts, and products with them, in ``dtype``; heads stay in float32."""
        parts = (self.encoder, self.decoder, self.point_decoder, self.conf_decoder, self.camera_decoder)
        for part in (*parts, self.feature_decoder):
            for module in part.modules():
                if isinstance(module, Linear | Patches):
                    module.to(dtype)

    def forward(self, images: torch.Tensor, rounded_angles: bool = False) -> NetworkOutput:
        """Return what the heads give for images (N, 3, H, W), 0 to 1.

        Args:
            rounded_angles: whether to round rotary angles to bfloat16.
        """
        images = (images - self.image_mean) / self.image_std
        views, rows, columns = len(images), images.shape[-2] // PATCH, images.shape[-1] // PATCH
        special = self.sizes.registers
        head_width = self.sizes.width // self.sizes.heads
        rotary = rotary_table(rows, columns, special, head_width, rounded_angles, images.device)
        tokens = torch.cat([self.register_token[0].expand(views, -1, -1), self.encoder(images)], 1)
        tokens = self._decode(tokens, rotary)

        def of_patches(decoder: TokenDecoder) -> torch.Tensor:
            return decoder(tokens, rotary)[:, special:]

        raw = self.point_head(of_patches(self.point_decoder), rows, columns)
        depths = raw[..., 2:].exp()
        return NetworkOutput(
            local_points=torch.cat([raw[..., :2] * depths, depths], -1),
            confidence_logits=self.conf_head(of_patches(self.conf_decoder), rows, columns)[..., 0],
            camera_to_worlds=self.camera_head(of_patches(self.camera_decoder)),
            gaussians=self.feature_head(of_patches(self.feature_decoder), images),
        )

    def _decode(self, tokens: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Return tokens (N, S, 2 width) of the last two blocks, of which every second one attends over all views."""
        views = len(tokens)
        cosines, sines = rotary
        of_all = cosines.repeat(views, 1), sines.repeat(views, 1)
        last: list[torch.Tensor] = []
        for index, block in enumerate(self.decoder):
            if index % 2 == 0:
                tokens = block(tokens, rotary)
            else:
                tokens = block(tokens.reshape(1, -1, tokens.shape[-1]), of_all).view_as(tokens)
            last = [*last[-1:], tokens]
        return torch.cat(last, -1)
