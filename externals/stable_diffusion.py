"""Load parts of Stable Diffusion from folders as they are published: denoisers, autoencoders and encoders of texts.

A part is built from its config.json without memory for its parameters, and takes those of its checkpoint, strictly.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch
from diffusers import AutoencoderKL, ModelMixin
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerBase,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from externals.checkpoint_files import load_strictly, read_checkpoint
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json

Tensors = dict[str, torch.Tensor]
Part = TypeVar("Part", bound=ModelMixin)
TextModel: TypeAlias = CLIPTextModel | CLIPTextModelWithProjection | T5EncoderModel

# What diffusers called the layers of an autoencoder's attention when Stable Diffusion was published.
_FORMER_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_T5_TOKENS = 256


def load_part(
    kind: type[Part],
    folder: Path,
    change: Callable[[Tensors], Tensors] = dict,
    config: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> Part:
    """Return a network of diffusers from its folder, in float32 on the CPU; float32 files stay mapped into memory.

    Args:
        kind: class of the network.
        folder: with config.json and the checkpoint, in one file or several.
        change: makes the network's tensors of those in the checkpoint.
        config: makes the network's settings of those in config.json.

    Raises:
        InputError: a file is missing, damaged or of another network.
    """
    network = build_part(kind, config(read_config(folder)), folder)
    load_strictly(network, change(read_checkpoint(folder)), folder)
    return network.float()


def build_part(kind: type[Part], config: Mapping[str, Any], path: Path) -> Part:
    """Return a network of diffusers on the meta device, which has shapes but no values.

    Args:
        config: settings; those that the class does not have are left out.
        path: where they are from, for messages.

    Raises:
        InputError: they make no such network.
    """
    known = inspect.signature(kind.__init__).parameters
    try:
        with torch.device("meta"):
            return kind(**{name: value for name, value in config.items() if name in known and name != "self"})
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise InputError(f"{path}: config.json describes no {kind.__name__}: {error}") from None


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json of a part.

    Raises:
        InputError: it is missing or holds no settings.
    """
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise InputError(f"{folder / 'config.json'}: expected an object with the network's settings")
    return config


def load_autoencoder(folder: Path) -> AutoencoderKL:
    """Return the autoencoder of pictures, whichever names its attention has in the file.

    Raises:
        InputError: a file is missing, damaged or of another network.
    """
    return load_part(AutoencoderKL, folder, rename_attention)


def rename_attention(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Return an autoencoder's tensors by the names that they have now."""
    return {".".join(_FORMER_NAMES.get(part, part) for part in name.split(".")): tensors[name] for name in tensors}


class TextEncoder:
    """A ``TextEncoder`` is a tokenizer and the network that embeds its tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, network: TextModel, length: int) -> None:
        self.network = network
        self._tokenizer = tokenizer
        self._length = length

    @classmethod
    def clip(cls, folder: Path, suffix: str = "", projection: bool = False) -> "TextEncoder":
        """Return CLIP's text encoder (Radford et al. 2021) from a folder of Stable Diffusion, on the CPU.

        Args:
            suffix: "_2" for the second one of a folder.
            projection: whether it embeds the text as a whole, too.

        Raises:
            InputError: a file is missing, damaged or of another network.
        """
        path = folder / f"text_encoder{suffix}"
        kind = CLIPTextModelWithProjection if projection else CLIPTextModel
        network = _build_text_model(kind, CLIPTextConfig, path)
        length = network.config.max_position_embeddings
        # Positions are counted, not learnt: old checkpoints hold them all the same.
        (network.text_model if projection else network).embeddings.position_ids = torch.arange(length)[None]
        tensors = read_checkpoint(path)
        if not projection:
            tensors = {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
        load_strictly(network, tensors, path, ("*position_ids",), "CLIP's text encoder")
        tokenizer = _read_tokenizer(CLIPTokenizer, folder / f"tokenizer{suffix}", network.config.vocab_size)
        return cls(tokenizer, network.float(), length)

    @classmethod
    def t5(cls, folder: Path) -> "TextEncoder":
        """Return the T5 encoder (Raffel et al. 2020) of Stable Diffusion 3.5 on the CPU, in bfloat16.

        Raises:
            InputError: a file is missing, damaged or of another network.
        """
        path = folder / "text_encoder_3"
        network = _build_text_model(T5EncoderModel, T5Config, path)
        tensors = read_checkpoint(path)
        if "shared.weight" in tensors:  # one table under two names, of which files hold one or both
            tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"]
        load_strictly(network, tensors, path, what="the T5 encoder")
        tokenizer = _read_tokenizer(T5TokenizerFast, folder / "tokenizer_3", network.config.vocab_size)
        return cls(tokenizer, network.to(torch.bfloat16), _T5_TOKENS)

    def __call__(self, texts: list[str], **options: Any) -> Any:
        """Return the network's output for texts, which are cut off, or filled up, to its number of tokens."""
        tokens = self._tokenizer(
            texts, padding="max_length", max_length=self._length, truncation=True, return_tensors="pt"
        ).input_ids
        return self.network(tokens.to(self.network.device), **options)


def _build_text_model(kind: type[TextModel], settings: type[CLIPTextConfig | T5Config], path: Path) -> Any:
    """Return a network of transformers on the meta device, as config.json in a folder describes it.

    Raises:
        InputError: there is none, or it describes no such network.
    """
    config = read_config(path)
    try:
        with torch.device("meta"):
            return kind(settings.from_dict(config))
    except Exception as error:  # transformers checks settings with exceptions of other libraries
        raise InputError(f"{path}: config.json describes no {kind.__name__}: {error}") from None


def _read_tokenizer(kind: type[PreTrainedTokenizerBase], folder: Path, words: int) -> PreTrainedTokenizerBase:
    """Return a tokenizer of at most ``words`` words.

    Raises:
        InputError: it is missing, damaged or has more.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder: expected a tokenizer")
    try:
        tokenizer = kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever transformers and tokenizers raise, exceptions of Rust among them
        raise InputError(f"{folder}: no tokenizer: {error}") from None
    if len(tokenizer) > words:
        raise InputError(f"{folder}: another network's tokenizer: {len(tokenizer)} words, of which {words} are known")
    return tokenizer
