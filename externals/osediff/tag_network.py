"""Tell a picture's tags: the part of RAM (Zhang et al. 2023) that does, with the adaptation DAPE merged in."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import gelu, relu, scaled_dot_product_attention
from transformers import SwinConfig, SwinModel
from transformers.initialization import no_init_weights

from externals.checkpoint_files import load_strictly, read_checkpoint, renamed_encoder
from gaussians.stage.errors import InputError

RAM, DAPE = "ram_swin_large_14m.pth", "DAPE.pth"
_HEADS = 4
_RANK, _SCALE = 8, 1 / 8  # of DAPE's adaptation
_WHAT = "RAM's tagging"
_PARTS = ("visual_encoder.", "image_proj.", "wordvec_proj.", "label_embed", "tagging_head.", "fc.")
"""What tags are told by; the checkpoint also has a network that writes captions."""
_DERIVED = ("relative_position_index", "attn_mask")
_SWIN = (
    ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
    ("patch_embed.norm.", "embeddings.norm."),
    ("layers.", "encoder.layers."),
    ("attn.proj.", "attention.o_proj."),
    ("attn.relative_position_bias_table", "attention.relative_position_bias.relative_position_bias_table"),
    ("norm1.", "layernorm_before."),
    ("norm2.", "layernorm_after."),
)
_ENCODER = "visual_encoder"
_DECODER = (
    ("tagging_head.encoder.layer.", "decoder."),
    ("crossattention.self.", ""),
    ("crossattention.output.dense.", "attended."),
    ("crossattention.output.LayerNorm.", "attended_norm."),
    ("intermediate.dense.", "wide."),
    ("output.dense.", "narrow."),
    ("output.LayerNorm.", "narrow_norm."),
)


class _DecoderLayer(nn.Module):
    """A ``_DecoderLayer`` lets the queries of tags look at a picture's tokens; they do not see each other."""

    def __init__(self, width: int, tokens: int, hidden: int) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(tokens, width), nn.Linear(tokens, width)
        self.attended, self.attended_norm = nn.Linear(width, width), nn.LayerNorm(width, eps=1e-12)
        self.wide, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.narrow_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, queries: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            part.unflatten(-1, (_HEADS, -1)).transpose(1, 2)
            for part in (self.query(queries), self.key(tokens), self.value(tokens))
        )
        attended = self.attended(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        queries = self.attended_norm(queries + attended)
        return self.narrow_norm(queries + self.narrow(gelu(self.wide(queries))))


class TagNetwork(nn.Module):
    """A ``TagNetwork`` is a Swin transformer (Liu et al. 2021) that encodes a picture, and a decoder of its tags."""

    def __init__(self, swin: SwinConfig, tags: int, tokens: int, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.visual_encoder = SwinModel(swin, add_pooling_layer=False)
        self.image_proj = nn.Linear(swin.hidden_size, tokens)
        self.label_embed = nn.Parameter(torch.empty(tags, tokens))
        self.wordvec_proj = nn.Linear(tokens, width)
        self.decoder = nn.ModuleList(_DecoderLayer(width, tokens, hidden) for _ in range(layers))
        self.fc = nn.Linear(width, 1)

    @classmethod
    def from_checkpoint(cls, root: Path) -> "TagNetwork":
        """Read ram_swin_large_14m.pth and DAPE.pth in a folder, onto the CPU.

        Raises:
            InputError: a file is missing, damaged or of another network.
        """
        path = root / RAM
        ram, dape = read_checkpoint(path, "model"), read_checkpoint(root / DAPE)
        network, tensors = cls.of_published(ram, dape, root)
        load_strictly(network, tensors, path, what=_WHAT)
        return network

    @classmethod
    def of_published(
        cls, ram: Mapping[str, torch.Tensor], dape: Mapping[str, torch.Tensor], root: Path
    ) -> tuple["TagNetwork", dict[str, torch.Tensor]]:
        """Return a network of the size of published tensors, without values, and the tensors by its own names.

        Args:
            ram: RAM's, of which those that write captions are left out.
            dape: those that take their place or adapt them.
            root: folder of their files, for messages.

        Raises:
            InputError: they are of another network.
        """
        tensors = _network_tensors(_adapted(_own(ram) | _own(dape), root))
        # The positions in windows are not in the checkpoint: they are computed as the network is built.
        with no_init_weights():
            return _empty_network(tensors, root / RAM), tensors

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the tokens (B, 1 + T, C) of normalised pictures (B, 3, H, W): their mean, then each."""
        tokens = self.visual_encoder(pictures).last_hidden_state
        return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)

    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the tokens as the decoder sees them."""
        return self.image_proj(tokens)

    def decode(self, projected: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, K) of the tags."""
        queries = relu(self.wordvec_proj(self.label_embed)).expand(len(projected), -1, -1)
        for layer in self.decoder:
            queries = layer(queries, projected)
        return self.fc(queries)[..., 0]


def _own(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors that tags are told by, by one name each, without what is computed anyway."""
    named = {name.replace("vision_multi.", "tagging_head."): tensor for name, tensor in tensors.items()}
    return {name: named[name] for name in named if name.startswith(_PARTS) and not name.endswith(_DERIVED)}


def _adapted(tensors: Mapping[str, torch.Tensor], root: Path) -> dict[str, torch.Tensor]:
    """Return the tensors with DAPE's adaptation of low rank merged in.

    Raises:
        InputError: matrices of it or what they adapt are missing, or they do not fit.
    """
    merged = {name: tensor for name, tensor in tensors.items() if ".lora_" not in name}
    adapted = {name.rpartition(".lora_")[0] for name in tensors if ".lora_" in name}
    for module in adapted:
        down, up = tensors.get(f"{module}.lora_A"), tensors.get(f"{module}.lora_B")
        weight = merged.get(f"{module}.weight")
        if weight is None or weight.ndim != 2:
            raise InputError(f"{root / RAM}: not a checkpoint of {_WHAT}: no matrix {module}.weight")
        if down is None or up is None:
            raise InputError(f"{root / DAPE}: not DAPE's adaptation of RAM: {module} is incomplete")
        weight = weight.float().clone()
        try:
            if module.endswith(".qkv"):  # queries and values have matrices of their own, keys have none
                width = len(weight) // 3
                weight[:width] += _SCALE * up[:width].float() @ down[:_RANK].float()
                weight[2 * width :] += _SCALE * up[width:].float() @ down[_RANK:].float()
            else:
                weight += _SCALE * up.float() @ down.float()
        except RuntimeError:
            raise InputError(f"{root / DAPE}: not DAPE's adaptation of RAM: {module} is of another shape") from None
        merged[f"{module}.weight"] = weight
    return merged


def _network_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return published tensors by the names of ``TagNetwork``, with the encoder's queries, keys and values apart."""
    named = {}
    for name, tensor in tensors.items():
        if not name.startswith(_ENCODER + "."):
            for old, new in _DECODER:
                name = name.replace(old, new)
        named[name] = tensor
    return renamed_encoder(named, _ENCODER, _SWIN)


def _empty_network(tensors: Mapping[str, torch.Tensor], path: Path) -> TagNetwork:
    """Return a network without values of the size that its tensors have.

    Raises:
        InputError: they are not of such a network.
    """
    try:
        patches = tensors["visual_encoder.embeddings.patch_embeddings.projection.weight"]
        tables = [
            tensors[name]
            for name in sorted(tensors)
            if name.endswith(".blocks.0.attention.relative_position_bias.relative_position_bias_table")
        ]
        depths = [
            sum(
                name.startswith(f"visual_encoder.encoder.layers.{stage}.") and name.endswith(".layernorm_before.weight")
                for name in tensors
            )
            for stage in range(len(tables))
        ]
        window = (math.isqrt(len(tables[0])) + 1) // 2
        patch = patches.shape[-1]
        swin = SwinConfig(
            image_size=patch * window * 2 ** (len(tables) - 1),
            patch_size=patch,
            embed_dim=len(patches),
            depths=depths,
            num_heads=[table.shape[1] for table in tables],
            window_size=window,
        )
        hidden, width = tensors["decoder.0.wide.weight"].shape
        layers = sum(name.endswith(".wide.weight") for name in tensors)
        tags, tokens = tensors["label_embed"].shape
        return TagNetwork(swin, tags, tokens, width, hidden, layers)
    except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a checkpoint of {_WHAT}: {type(error).__name__}: {error}") from None
