"""Predict with Pointformer: a transformer over all keypoints of a scene says where each goes next.

In every frame, for the points x of all objects together:

    tokens = L2 relu(L1 x)
    tokens = encoder(tokens)                post-norm, one head, feed-forward of the same width (Vaswani et al. 2017)
    x <- x + 0.1 M2 relu(M1 norm(tokens))

It sees positions alone: no velocities, no materials, not which point belongs to which object, and neither gravity nor
walls, which it has to learn from where things are. External forces are no input: the rigid velocity that they would
give an object in free space is added to the predicted motion, and stays.

The published code differs in two points: here is no dropout, which would be noise in every one of many frames, and the
last layer is zero-initialised, so that an untrained model stands still.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from dynamic_models.data.scene_state import SceneState
from dynamic_models.models.building_blocks.body_frame import angular_acceleration, centers, turned
from dynamic_models.models.building_blocks.exact_attention import exact_attention
from dynamic_models.models.building_blocks.networks import silent_linear
from dynamic_models.models.interface import MAX_LAYERS, MAX_WIDTH, Carry, FrameModel

_STEP = 0.1  # metres: one unit of output
_FLASH_WIDTH = 256  # the widest head that flash attention takes


class PointformerSettings(BaseModel):
    """A ``PointformerSettings`` is what must be known besides the weights to use a trained Pointformer."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    dynamic_model: Literal["pointformer"] = "pointformer"
    hidden_dim: int = Field(512, ge=1, le=MAX_WIDTH)
    """width of tokens and of the feed-forward blocks"""
    num_layers: int = Field(2, ge=1, le=MAX_LAYERS)
    """layers of the encoder"""


class Pointformer(FrameModel):
    """A ``Pointformer`` is the model that the module's docstring describes."""

    settings_type = PointformerSettings
    activation_limit = 8.0 * 2**30

    def __init__(self, settings: PointformerSettings) -> None:
        super().__init__(settings)
        h = settings.hidden_dim
        self.lift = nn.Linear(3, h)
        self.position = nn.Sequential(nn.ReLU(), nn.Linear(h, h))
        self.encoder = nn.ModuleList(EncoderLayer(h) for _ in range(settings.num_layers))
        self.head = nn.Sequential(nn.LayerNorm(h), nn.Linear(h, h), nn.ReLU(), silent_linear(h, 3))

    @property
    def expensive(self) -> Sequence[Any]:
        import torch.nn.attention.varlen

        return (
            torch.ops.dynamic_models.exact_attention.default,
            torch.ops.torch_attn._varlen_attn.default,
            torch.ops.aten._scaled_dot_product_efficient_attention.default,
        )

    def begin(self, scene: SceneState) -> Carry:
        """Return points, the velocity and angular velocity (B, O, 3) that external forces gave objects, and constants.

        The constants are the order (B, O P) that moves padding to the end, and where each scene and its padding begin
        (2 B + 1,), see ``attention``.
        """
        batch, objects, count = scene.mask.shape
        total = objects * count
        existing = scene.mask.flatten(1)
        order = (~existing).to(torch.uint8).argsort(dim=1, stable=True)
        starts = total * torch.arange(batch, device=order.device)
        edges = torch.stack([starts, starts + existing.sum(1)], 1).flatten()
        edges = torch.nn.functional.pad(edges, (0, 1), value=batch * total).int()
        still = torch.zeros_like(scene.points[:, :, 0])
        return scene.points * scene.mask[..., None], still, still, order, edges

    def points(self, carry: Carry) -> torch.Tensor:
        return carry[0]

    def step(self, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float) -> Carry:
        points, v, omega, order, edges = carry
        center = centers(points, scene.shares)
        arms = (points - center[..., None, :]) * scene.mask[..., None]
        dv = push[..., :3] * frame_dt
        domega = angular_acceleration(arms, scene.shares, push[..., 3:]) * frame_dt
        pushed = (center + (v + dv / 2) * frame_dt)[..., None, :]
        pushed = pushed + turned(arms, (omega + domega / 2) * frame_dt)

        by_order = order[..., None].expand(-1, -1, 3)
        moved = self.displacements(points.flatten(1, 2).gather(1, by_order), edges)
        moved = torch.zeros_like(moved).scatter(1, by_order, moved).view_as(points)
        return (pushed + moved) * scene.mask[..., None], v + dv, omega + domega, order, edges

    def displacements(self, points: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """Return the displacements (B, N, 3) in one frame, metres, of the points (B, N, 3) of whole scenes.

        Points that exist come first in each scene.
        """
        # Not in bfloat16, which rounds a position by some millimetres.
        with torch.autocast(points.device.type, enabled=False):
            tokens = self.lift(points)
        tokens = self.position(tokens)
        for layer in self.encoder:
            tokens = layer(tokens, edges)
        return _STEP * self.head(tokens).to(points)

    def activation_bytes(self, scene: SceneState, frame_dt: float) -> float:
        """Estimate some ten tensors for each layer and point."""
        return 40.0 * scene.mask.numel() * self.settings.hidden_dim * (self.settings.num_layers + 1)


class EncoderLayer(nn.Module):
    """An ``EncoderLayer`` is a ``torch.nn.TransformerEncoderLayer`` with one head, no dropout, and faster attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(tokens).chunk(3, -1)
        tokens = self.attention_norm(tokens + self.out(attention(q, k, v, edges)))
        return self.feed_forward_norm(tokens + self.feed_forward(tokens))


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Return softmax(q k^T / sqrt(h)) v within each scene; what padding gets is unspecified, but finite.

    Args:
        q, k, v: (B, N, h), in each scene padding last.
        edges: (2 B + 1,), int32: where in all B N rows each scene and the padding after it begin, and B N.
    """
    batch, total, width = q.shape
    if q.is_cuda and q.element_size() == 2 and width <= _FLASH_WIDTH and width % 8 == 0:
        from torch.nn.attention.varlen import varlen_attn

        # Padding counts as a scene of its own: no mask is read, and nothing computed for pairs of points and padding.
        q, k, v = (x.reshape(batch * total, 1, width) for x in (q, k, v))
        mixed = varlen_attn(q, k, v, edges, edges, total, total)
        assert isinstance(mixed, torch.Tensor)
        return mixed.view(batch, total, width)
    counts = edges[1::2] - edges[:-1:2]
    if q.is_cuda and q.dtype == torch.float32:
        return exact_attention(q, k, v, counts)[0]
    existing = torch.arange(total, device=q.device) < counts[:, None]
    q, k, v = (x[:, None] for x in (q, k, v))
    return scaled_dot_product_attention(q, k, v, existing[:, None, None])[:, 0]
