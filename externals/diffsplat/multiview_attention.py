"""Let the stock denoisers of diffusers attend over all views of an object together.

That is the only change that DiffSplat (Lin et al. 2025) makes to their architecture: parameters keep their names and
shapes. Batches are object-major: the views of the first object, then those of the second.
"""

from typing import Any

import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0, JointAttnProcessor2_0


class MultiViewSelfAttention:
    """A ``MultiViewSelfAttention`` is a UNet's attention processor for the tokens of all views of an object."""

    def __init__(self, views: int) -> None:
        self._views = views
        self._joint = AttnProcessor2_0()

    def __call__(self, attn: Attention, hidden_states: torch.Tensor, **other: Any) -> torch.Tensor:
        """Return new tokens (B V, L, C) of tokens (B V, L, C)."""
        return self._joint(attn, _together(hidden_states, self._views), **other).reshape(hidden_states.shape)


class MultiViewJointAttention:
    """A ``MultiViewJointAttention`` is SD3's attention processor for all views of an object and one text."""

    def __init__(self, views: int) -> None:
        self._views = views
        self._joint = JointAttnProcessor2_0()

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Return new tokens (B V, L, C), and those of the text (B, S, C) if there are any; SD3 masks none."""
        tokens = _together(hidden_states, self._views)
        if encoder_hidden_states is None:
            return self._joint(attn, tokens).reshape(hidden_states.shape)
        tokens, text = self._joint(attn, tokens, encoder_hidden_states)
        return tokens.reshape(hidden_states.shape), text


def _together(tokens: torch.Tensor, views: int) -> torch.Tensor:
    return tokens.unflatten(0, (-1, views)).flatten(1, 2)


def attend_over_views(denoiser: UNet2DConditionModel | SD3Transformer2DModel, views: int) -> None:
    """Make a denoiser's self-attention span the ``views`` views of each object.

    A UNet then takes samples, timesteps and texts of B V views. SD3 takes samples of B V views, but the timesteps and
    texts of B objects: what they modulate of views is repeated for each view.
    """
    if isinstance(denoiser, SD3Transformer2DModel):
        denoiser.set_attn_processor(MultiViewJointAttention(views))
        for block in denoiser.transformer_blocks:
            block.norm1.register_forward_pre_hook(_repeat_embedding, with_kwargs=True)
        denoiser.norm_out.register_forward_pre_hook(_repeat_embedding, with_kwargs=True)
        return
    processors = denoiser.attn_processors
    denoiser.set_attn_processor(
        {name: MultiViewSelfAttention(views) if "attn1" in name else own for name, own in processors.items()}
    )


def _repeat_embedding(
    _: torch.nn.Module, arguments: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]
) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
    """Repeat the embedding (B, C) that modulates tokens (B V, L, C), whether it comes named or second."""
    tokens, *positional = arguments
    embedding = positional[0] if positional else named["emb"]
    repeated = embedding.repeat_interleave(len(tokens) // len(embedding), 0)
    return ((tokens, repeated), named) if positional else ((tokens,), {**named, "emb": repeated})
