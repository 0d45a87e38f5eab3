"""Predict with a GCN: a graph convolutional network over all keypoints of a scene says how their state changes.

In every frame the points x of all objects that are nearer than a radius are joined, and with their velocities v

    h <- relu(D^-1/2 (A + I) D^-1/2 h W + b)       layer by layer (Kipf & Welling 2017), h = (x, v) at first
    (x, v) <- (x, v) + h W' + b'

A + I is the graph with every point joined to itself, D its row sums. Every point that is near counts, without a largest
number of neighbours, so that the result does not depend on an order. The model sees no materials, not which point
belongs to which object, and neither gravity nor walls, which it has to learn from where things are. External forces
are no input: what they do to a rigid body within the frame is added to positions and velocities.

The published code differs in two points: here the last layer is zero-initialised, so that an untrained model stands
still, and changes are limited softly (`_CHANGE_LIMIT`), so that a rollout stays finite whatever the network says.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from dynamic_models.data.scene_state import SceneState
from dynamic_models.models.building_blocks.body_frame import angular_acceleration, centers
from dynamic_models.models.building_blocks.networks import silent_linear
from dynamic_models.models.building_blocks.radius_graph import radius_graph, sum_neighbours
from dynamic_models.models.force_field import Length
from dynamic_models.models.interface import MAX_LAYERS, MAX_WIDTH, Carry, FrameModel

_CHANGE_LIMIT = 50.0  # metres or metres per second in a frame: far more than any object changes


class GCNSettings(BaseModel):
    """A ``GCNSettings`` is what must be known besides the weights to use a trained GCN."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    dynamic_model: Literal["gcn"] = "gcn"
    hidden_dim: int = Field(512, ge=1, le=MAX_WIDTH)
    """numbers of each point in every hidden layer"""
    num_layers: int = Field(2, ge=1, le=MAX_LAYERS)
    """number of graph convolutions"""
    radius: Length = 0.1
    """distance below which points are neighbours, metres"""


class GCN(FrameModel):
    """A ``GCN`` is the model that the module's docstring describes."""

    settings_type = GCNSettings
    activation_limit = 8.0 * 2**30

    def __init__(self, settings: GCNSettings) -> None:
        super().__init__(settings)
        h, layers = settings.hidden_dim, settings.num_layers
        self.convolutions = nn.ModuleList(_glorot_linear(6 if i == 0 else h, h) for i in range(layers))
        self.head = silent_linear(h, 6)

    @property
    def expensive(self) -> Sequence[Any]:
        return (torch.ops.dynamic_models.sum_neighbours.default,)

    def begin(self, scene: SceneState) -> Carry:
        """Return the points and their velocities, (B, O, P, 3) each."""
        mask = scene.mask[..., None]
        return scene.points * mask, scene.velocities * mask

    def points(self, carry: Carry) -> torch.Tensor:
        return carry[0]

    def step(self, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float) -> Carry:
        points, velocities = carry
        mask = scene.mask[..., None]
        arms = (points - centers(points, scene.shares)[..., None, :]) * mask
        angular = angular_acceleration(arms, scene.shares, push[..., 3:])[..., None, :]
        pushed = push[..., None, :3] + torch.linalg.cross(angular.expand_as(arms), arms)

        changes = self.changes(points.flatten(1, 2), velocities.flatten(1, 2), scene.mask.flatten(1))
        moved, sped_up = (part.reshape(points.shape) for part in changes.split(3, -1))
        points = points + (moved + pushed * frame_dt**2 / 2) * mask
        return points, velocities + (sped_up + pushed * frame_dt) * mask

    def changes(self, points: torch.Tensor, velocities: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return how points and velocities (B, N, 3) of whole scenes change in one frame, (B, N, 6), m and m/s."""
        adjacency, degrees = radius_graph(points, mask, self.settings.radius)
        scale = degrees.clamp_min(1).rsqrt()[..., None]

        def summed(features: torch.Tensor) -> torch.Tensor:
            # Sums come before the linear map, as the first layer has few features; the product is the same.
            return scale * sum_neighbours(adjacency, scale.to(features.dtype) * features)

        lift, *convolutions = self.convolutions
        # Not in bfloat16, which rounds a position by some millimetres.
        with torch.autocast(points.device.type, enabled=False):
            features = lift(summed(torch.cat([points, velocities], -1))).relu()
        for linear in convolutions:
            features = linear(summed(features)).relu()
        return _CHANGE_LIMIT * torch.tanh(self.head(features).to(points) / _CHANGE_LIMIT)

    def activation_bytes(self, scene: SceneState, frame_dt: float) -> float:
        """Estimate the graph, of at least two bytes an entry, and some five tensors for each layer and point."""
        batch, objects, count = scene.mask.shape
        graph = batch * (objects * count) ** 2 * (2 if scene.points.is_cuda else scene.points.element_size())
        return graph + 20.0 * scene.mask.numel() * self.settings.hidden_dim * (self.settings.num_layers + 1)


def _glorot_linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer that is initialised as graph convolutions are."""
    linear = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
