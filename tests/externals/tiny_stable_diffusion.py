"""Write tiny networks as Stable Diffusion's folders have them, with made weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.externals.generation_targets import tensors_of, write_part
from tests.externals.synthetic_weights import make_weights

WIDTH = 32  # of embedded tokens
_WORDS = ("a", "red", "mug", "worst", "quality", ",")
VAE = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [8, 8, 8, 8],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
}


def weights_of(network: torch.nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    """Make tensors of a network's names and shapes."""
    shapes = {f"{prefix}{name}": tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return tensors_of(make_weights(shapes))


def write_network(folder: Path, kind: Any, config: Mapping[str, Any]) -> None:
    """Write a network of diffusers."""
    with torch.device("meta"):
        network = kind(**config)
    write_part(folder, config, weights_of(network))


def write_former_autoencoder(folder: Path, config: Mapping[str, Any]) -> None:
    """Write an autoencoder whose attention has the names of when Stable Diffusion 1.5 was published."""
    from diffusers import AutoencoderKL

    former = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    with torch.device("meta"):
        tensors = weights_of(AutoencoderKL(**config))
    for now, then in former.items():
        tensors = {name.replace(now, then): tensor for name, tensor in tensors.items()}
    write_part(folder, config, tensors)


def write_text_encoder(folder: Path, suffix: str = "", projection: bool = False) -> None:
    """Write CLIP's text encoder, whose tokenizer knows six words."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    words = [f"{word}</w>" for word in _WORDS]
    letters = sorted({letter for word in _WORDS for letter in (*word, f"{word[-1]}</w>")})
    vocabulary, merges = ["<|startoftext|>", "<|endoftext|>", *letters], []
    for word in words:  # each built from its letters, one merge after the other
        letters = [*word.removesuffix("</w>")]
        letters[-1] += "</w>"
        while len(letters) > 1:
            merges.append(f"{letters[0]} {letters[1]}")
            letters[:2] = ["".join(letters[:2])]
            vocabulary.append(letters[0])
    numbers = {token: k for k, token in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = folder / f"tokenizer{suffix}"
    tokenizer.mkdir(parents=True)
    (tokenizer / "vocab.json").write_text(json.dumps(numbers))
    (tokenizer / "merges.txt").write_text("\n".join(["#version: 0.2", *dict.fromkeys(merges)]))
    settings = CLIPTextConfig(
        vocab_size=len(numbers),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=WIDTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    with torch.device("meta"):
        network = CLIPTextModelWithProjection(settings) if projection else CLIPTextModel(settings)
    encoder = folder / f"text_encoder{suffix}"
    encoder.mkdir()
    (encoder / "config.json").write_text(json.dumps(settings.to_dict()))
    tensors = weights_of(network, "" if projection else "text_model.")
    tensors["text_model.embeddings.position_ids"] = torch.arange(settings.max_position_embeddings)[None]
    save_file(tensors, encoder / "model.safetensors")


def write_t5(folder: Path) -> None:
    """Write the T5 encoder of Stable Diffusion 3.5, whose tokenizer knows three words."""
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    words = [(f"\u2581{word}", -1.0) for word in _WORDS[:3]]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *words]
    T5TokenizerFast(vocab=vocabulary).save_pretrained(folder / "tokenizer_3")
    settings = T5Config(
        vocab_size=len(vocabulary) + 100,  # those of words to guess
        d_model=4096,
        d_kv=4,
        d_ff=8,
        num_layers=1,
        num_heads=1,
        feed_forward_proj="gated-gelu",
    )
    with torch.device("meta"):
        tensors = weights_of(T5EncoderModel(settings))
    del tensors["encoder.embed_tokens.weight"]  # which is shared.weight
    encoder = folder / "text_encoder_3"
    encoder.mkdir()
    (encoder / "config.json").write_text(json.dumps(settings.to_dict()))
    save_file(tensors, encoder / "model.safetensors")
