"""Define the parts that attend: the blocks, DINOv2, and the decoders of the heads, with the checkpoint's names.

Products with weight matrices run in the type of the weights, all else in float32, whatever that type is.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

Rotary = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines (T, head width) of tokens' positions, as ``rotary_table`` gives them."""

_ROTARY_BASE = 100.0
PATCH = 14
"""Side of a patch, pixels."""


class Linear(nn.Linear):
    """A ``Linear`` is one that takes input of any type to its weights'."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.to(self.weight.dtype))


class Patches(nn.Conv2d):
    """A ``Patches`` makes a token of each patch, of a picture of any type that it takes to its weights'."""

    def __init__(self, width: int) -> None:
        super().__init__(3, width, PATCH, PATCH)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.to(self.weight.dtype)).float()


class LayerScale(nn.Module):
    """A ``LayerScale`` multiplies each channel by a learned factor (Touvron et al. 2021)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gamma * x


class Attention(nn.Module):
    """An ``Attention`` is multi-head self-attention, of normalised queries and keys if wanted."""

    def __init__(self, width: int, heads: int, norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)
        self.q_norm = nn.LayerNorm(width // heads) if norm else nn.Identity()
        self.k_norm = nn.LayerNorm(width // heads) if norm else nn.Identity()

    def forward(self, x: torch.Tensor, rotary: Rotary | None) -> torch.Tensor:
        """Return (B, T, width) for tokens (B, T, width)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, T, ·)
        q, k = self.q_norm(q.float()), self.k_norm(k.float())
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        attended = scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        return self.proj(attended.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A ``Block`` is a pre-norm transformer block (Vaswani et al. 2017): attention, then a network for each token."""

    def __init__(self, width: int, heads: int, scaled: bool, qk_norm: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, qk_norm)
        self.ls1 = LayerScale(width) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        layers = {"fc1": Linear(width, 4 * width), "gelu": nn.GELU(), "fc2": Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.ls2 = LayerScale(width) if scaled else nn.Identity()

    def forward(self, x: torch.Tensor, rotary: Rotary | None = None) -> torch.Tensor:
        """Return (B, T, width) float32 for the same."""
        x = x + self.ls1(self.attn(self.norm1(x), rotary))
        return x + self.ls2(self.mlp(self.norm2(x)))


class DinoV2(nn.Module):
    """A ``DinoV2`` is the encoder of each view alone: DINOv2 with registers, whose patch tokens go on."""

    def __init__(self, width: int, depth: int, heads: int, positions: int, registers: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, registers, width))
        self.patch_embed = nn.Sequential(OrderedDict(proj=Patches(width)))
        self.blocks = nn.ModuleList(Block(width, heads, scaled=True, qk_norm=False) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return tokens (N, P, width) of the patches of normalised images (N, 3, H, W), row by row."""
        patches = self.patch_embed(images)
        class_position, positions = self._positions(*patches.shape[-2:])
        tokens = patches.flatten(2).mT + positions
        first = torch.cat([self.cls_token + class_position, self.register_tokens], 1).expand(len(images), -1, -1)
        tokens = torch.cat([first, tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, first.shape[1] :]

    def _positions(self, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the position embeddings of the class token, and of a grid of patches (1, rows * columns, width)."""
        of_class, of_patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        side = round(of_patches.shape[1] ** 0.5)
        if (rows, columns) != (side, side):
            grid = of_patches.unflatten(1, (side, side)).permute(0, 3, 1, 2)
            grid = interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
            of_patches = grid.flatten(2).mT
        return of_class, of_patches


class TokenDecoder(nn.Module):
    """A ``TokenDecoder`` lets the tokens of each view attend to each other before a head reads them."""

    def __init__(self, width_in: int, width: int, width_out: int, depth: int, heads: int) -> None:
        super().__init__()
        self.projects = Linear(width_in, width)
        self.blocks = nn.ModuleList(Block(width, heads, scaled=False, qk_norm=False) for _ in range(depth))
        self.linear_out = Linear(width, width_out)

    def forward(self, tokens: torch.Tensor, rotary: Rotary) -> torch.Tensor:
        """Return (N, S, width_out) float32 for tokens (N, S, width_in)."""
        tokens = self.projects(tokens).float()
        for block in self.blocks:
            tokens = block(tokens, rotary)
        return self.linear_out(tokens).float()


def rotary_table(rows: int, columns: int, special: int, width: int, rounded: bool, device: torch.device) -> Rotary:
    """Return the rotary table of ``special`` tokens at (0, 0) and a grid of patches at (row + 1, column + 1).

    Half of the channels turn with the row, half with the column (Su et al. 2021, in two dimensions).

    Args:
        width: channels of a head.
        rounded: whether angles are rounded to bfloat16.
    """
    axes = (torch.arange(1.0, rows + 1, device=device), torch.arange(1.0, columns + 1, device=device))
    positions = torch.cat([torch.zeros(special, 2, device=device), torch.cartesian_prod(*axes)])
    frequencies = _ROTARY_BASE ** -(torch.arange(width // 4, device=device) * (4 / width))
    angles = positions[..., None] * frequencies
    if rounded:
        angles = angles.bfloat16()
    angles = torch.cat([angles, angles], -1).flatten(1)
    return angles.cos().float(), angles.sin().float()


def rotate(x: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """Return queries or keys (B, heads, T, width) turned by the angles of their positions."""
    cosines, sines = rotary
    first, second = x.unflatten(-1, (2, 2, -1)).unbind(-2)
    return x * cosines + torch.stack([-second, first], -2).flatten(-3) * sines
