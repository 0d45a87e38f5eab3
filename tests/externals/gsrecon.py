"""Run the published network that DiffSplat's autoencoder learnt from, as the source of test maps.

It is not needed to complete objects, so it is kept here: from pictures, normals and coordinates it predicts the twelve
channels that ``externals.diffsplat`` makes Gaussians of.
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.functional import normalize, scaled_dot_product_attention, silu

_HEADS = {"depth": 1, "rgb": 3, "scale": 3, "rotation": 4, "opacity": 1}
_EPS = 1e-5


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.q_norm, self.k_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q_norm(self.wq(tokens)), self.k_norm(self.wk(tokens)), self.wv(tokens))
        )
        return self.wo(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class _GatedMLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w1, self.w3 = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.w2(silu(self.w1(tokens)) * self.w3(tokens))


class _Block(nn.Module):
    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(width, eps=_EPS), nn.RMSNorm(width, eps=_EPS)
        self.attn = _Attention(width, heads)
        self.mlp = _GatedMLP(width, hidden)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class GSRecon(nn.Module):
    """A ``GSRecon`` is a transformer over the patches of all views, with one linear head for each kind of channel.

    Sizes are told from the checkpoint's shapes.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], heads: int) -> None:
        super().__init__()
        width, inputs = tensors["x_embedder.weight"].shape
        hidden = len(tensors["transformer.blocks.0.mlp.w1.weight"])
        blocks = len([name for name in tensors if name.endswith("attn.wq.weight")])
        self.patch = round((len(tensors["out_depth.weight"])) ** 0.5)
        self.x_embedder = nn.Linear(inputs, width)
        self.transformer = nn.ModuleDict({"blocks": nn.ModuleList(_Block(width, hidden, heads) for _ in range(blocks))})
        self.ln_out = nn.LayerNorm(width)
        for name, channels in _HEADS.items():
            self.add_module(f"out_{name}", nn.Linear(width, channels * self.patch**2, bias=False))
        self.load_state_dict(dict(tensors))

    def forward(self, images: torch.Tensor, plucker: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return maps (B, V, C, H, W) by their names, of images (B, V, 9, H, W), 0 to 1, and rays (B, V, 6, H, W)."""
        batch, views, _, height, width = images.shape
        rows, columns = height // self.patch, width // self.patch
        pixels = torch.cat([2 * images - 1, plucker], 2).unflatten(-2, (rows, -1)).unflatten(-1, (columns, -1))
        tokens = pixels.permute(0, 1, 3, 5, 4, 6, 2).reshape(batch, views * rows * columns, -1)
        tokens = self.x_embedder(tokens)
        for block in self.transformer["blocks"]:
            tokens = block(tokens)
        tokens = self.ln_out(tokens)
        maps = {}
        for name, channels in _HEADS.items():
            out = self.get_submodule(f"out_{name}")(tokens)
            out = out.reshape(batch, views, rows, columns, self.patch, self.patch, channels)
            maps[name] = out.permute(0, 1, 6, 2, 4, 3, 5).reshape(batch, views, channels, height, width)
        for name in ("depth", "rgb", "scale"):
            maps[name] = maps[name].sigmoid() * 2 - 1
        maps["rotation"] = normalize(maps["rotation"], dim=2)
        maps["opacity"] = (maps["opacity"] - 2).sigmoid() * 2 - 1
        return maps
