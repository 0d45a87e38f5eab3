"""Embed what is to be generated, and what is not."""

from pathlib import Path

import torch
from torch.nn.functional import pad

from externals.diffsplat.denoising import TextEmbeddings
from externals.diffsplat.versions import Version
from externals.stable_diffusion import TextEncoder

_UNWANTED = "worst quality, normal quality, low quality, low res, blurry, ugly, disgusting"
_T5_TOKENS, _T5_WIDTH = 256, 4096


class PromptEmbedder:
    """A ``PromptEmbedder`` embeds prompts as a version's denoiser expects them.

    Attributes:
        encoders: CLIP's text encoder; for SD 3.5 its larger one, too.
        t5: for SD 3.5 the T5 encoder, on the CPU unless it is at work; without it, its tokens are zeros.
    """

    def __init__(self, encoders: list[TextEncoder], t5: TextEncoder | None) -> None:
        self.encoders = encoders
        self.t5 = t5

    @classmethod
    def from_folder(cls, base: Path, version: Version, t5: bool) -> "PromptEmbedder":
        """Return the encoders of a folder of Stable Diffusion, on the CPU.

        Raises:
            InputError: a file is missing, damaged or of another network.
        """
        if version == "sd15":
            return cls([TextEncoder.clip(base)], None)
        encoders = [TextEncoder.clip(base, suffix, projection=True) for suffix in ("", "_2")]
        return cls(encoders, TextEncoder.t5(base) if t5 else None)

    def embed(self, text: str) -> TextEmbeddings:
        """Return the embeddings of the negative prompt and of ``text``."""
        texts = [_UNWANTED, text]
        if len(self.encoders) == 1:
            return TextEmbeddings(self.encoders[0](texts).last_hidden_state)
        outputs = [encoder(texts, output_hidden_states=True) for encoder in self.encoders]
        tokens = torch.cat([output.hidden_states[-2] for output in outputs], -1)
        pooled = torch.cat([output.text_embeds for output in outputs], -1)
        more = self._t5_tokens(texts, tokens)
        return TextEmbeddings(torch.cat([pad(tokens, (0, more.shape[-1] - tokens.shape[-1])), more], 1), pooled)

    def _t5_tokens(self, texts: list[str], like: torch.Tensor) -> torch.Tensor:
        if self.t5 is None:
            return like.new_zeros(len(texts), _T5_TOKENS, _T5_WIDTH)
        self.t5.network.to(like.device)
        tokens = self.t5(texts).last_hidden_state.to(like)
        self.t5.network.to("cpu")
        return tokens
