"""Predict with a RigidFormer: a transformer over objects, which accelerates each of them at a few of its points.

After arXiv 2605.09196, as far as its text describes the model. Objects are rigid. In every frame:

    vertices   f_p = mlp(place, velocity and distances to the walls of point p, relative to its object's centre)
    anchors    g_a = mlp(sum_p w_ap f_p, f_a)      w_ap = exp(-|q_a - q_p|^2 / s^2), normalised over p
    objects    t_i = max over i's anchors of g_a, with i's material and size
               t = transformer(t)
    anchors    g_a = g_a + t_i;  g = attention of all anchors to each other;  acceleration alpha_a = head(g_a)

An object's anchors are its first keypoints, which are spread over it, as they are sampled farthest first; s is the
distance of an anchor to the nearest other one. Attention knows where things are by rotary embeddings (Su et al. 2021)
in three dimensions: queries and keys are turned by the mean of exp(i k . x) over an object's anchors at x, or by that
of one anchor. So the order of objects, or a move of all of them along the floor, changes nothing.

The accelerations of the anchors of an object are projected onto those that a rigid body can have, by least squares,
which is Kabsch's alignment of the moved anchors to first order in them; added to gravity, they move all points. An
untrained model is in free flight.
"""

import math
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from dynamic_models.contact.body_contact import wall_distances
from dynamic_models.data.scene_state import SceneState, equal_shares
from dynamic_models.models.building_blocks.body_frame import (
    angular_acceleration,
    centers,
    compose,
    inertia_over_mass,
    split_motion,
    turn,
)
from dynamic_models.models.building_blocks.networks import masked_max, mlp, silent_linear
from dynamic_models.models.force_field import limit
from dynamic_models.models.interface import MAX_LAYERS, MAX_WIDTH, Carry, FrameModel

# Typical sizes, by which the networks' inputs are divided.
_LENGTH = 0.1  # metres
_ACCELERATION = 50.0  # m/s^2, one unit of output
_LIMIT = 20.0  # largest output, in such units
_NEAR = 0.3  # metres: walls that are farther away are not seen
_WAVES = (0.1, 10.0)  # metres: the shortest and the longest wave of rotary embeddings
_ANCHORS = 32  # of every object
_DESCRIBED = 5  # numbers that describe an object


class RigidFormerSettings(BaseModel):
    """A ``RigidFormerSettings`` is what must be known besides the weights to use a trained RigidFormer."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    dynamic_model: Literal["rigidformer"] = "rigidformer"
    hidden_dim: int = Field(512, ge=2, le=MAX_WIDTH, multiple_of=2)
    """width of tokens and of the feed-forward blocks"""
    num_layers: int = Field(2, ge=1, le=MAX_LAYERS)
    """layers of the transformer over objects"""


class RigidFormer(FrameModel):
    """A ``RigidFormer`` is the model that the module's docstring describes."""

    settings_type = RigidFormerSettings
    activation_limit = 8.0 * 2**30

    def __init__(self, settings: RigidFormerSettings) -> None:
        super().__init__(settings)
        h = settings.hidden_dim
        self.lift = nn.Linear(11, h)
        self.vertices = nn.Sequential(nn.LayerNorm(h), nn.ReLU(inplace=True), *mlp(h, h, 1))
        self.pooled = mlp(2 * h, h, 2)
        self.described = nn.Linear(_DESCRIBED, h)
        self.objects = nn.ModuleList(RotaryLayer(h) for _ in range(settings.num_layers))
        self.whole = nn.Linear(h, h)
        self.anchors = RotaryLayer(h)
        self.head = nn.Sequential(nn.LayerNorm(h), nn.Linear(h, h), nn.ReLU(inplace=True), silent_linear(h, 3))

    def begin(self, scene: SceneState) -> Carry:
        """Return q, x, v, omega and R, see ``BodyState``; and what never changes, of n anchors.

        That are the weights of points around anchors, (B, O, n, P), and what describes objects, (B, O, 5).
        """
        body, mask, n = split_motion(scene), scene.mask, _ANCHORS
        q = body.q
        squared = (q[..., :n, None, :] - q[..., None, :, :]).square().sum(-1)
        itself = torch.eye(squared.shape[-2], squared.shape[-1], dtype=torch.bool, device=q.device)
        others = squared.masked_fill(itself | ~mask[..., None, :], torch.inf)[..., :n].amin(-1)
        widths = torch.where(others.isfinite(), others, _LENGTH**2).clamp_min(1e-8)
        weights = (-squared / widths[..., None]).exp() * mask[..., None, :]
        weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-12)
        E, _, density, mass = scene.materials.unbind(-1)
        radii = inertia_over_mass(q, scene.shares).diagonal(dim1=-2, dim2=-1).clamp_min(1e-12).sqrt()
        described = [(E.log10() - 5) / 1.5, (density.log10() - 2.7) / 0.5, mass.log10() - 1]
        described += [(radii / _LENGTH).log().mean(-1), radii.amin(-1) / radii.amax(-1).clamp_min(1e-6)]
        numbers = torch.stack(described, -1).nan_to_num(0.0, 0.0, 0.0).to(q)
        return q, body.x, body.v, body.omega, body.R, weights, numbers

    def points(self, carry: Carry) -> torch.Tensor:
        q, x, _, _, R, *_ = carry
        return turn(R, q) + x[..., None, :]

    def step(self, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float) -> Carry:
        q, x, v, omega, R, weights, numbers = carry
        mask = scene.mask
        arms = turn(R, q) * mask[..., None]
        own = mask[..., : weights.shape[-2]]
        each = equal_shares(own)
        alpha = self.accelerations(scene, arms, x, v, omega, weights, numbers) * own[..., None]

        # The rigid acceleration nearest to those of the anchors, about their own centre.
        anchors = arms[..., : own.shape[-1], :]
        middle = centers(anchors, each)
        levers = (anchors - middle[..., None, :]) * own[..., None]
        turning = centers(torch.linalg.cross(levers, alpha), each)
        angular = angular_acceleration(levers, each, turning)
        linear = centers(alpha, each) - torch.linalg.cross(angular, middle)
        linear = linear + push[..., :3] + scene.gravity[:, None]
        angular = angular + angular_acceleration(arms, scene.shares, push[..., 3:])

        x = x + (v + linear * (frame_dt / 2)) * frame_dt
        R = compose((omega + angular * (frame_dt / 2)) * frame_dt, R)
        return q, x, v + linear * frame_dt, omega + angular * frame_dt, R, weights, numbers

    def accelerations(
        self,
        scene: SceneState,
        arms: torch.Tensor,
        x: torch.Tensor,
        v: torch.Tensor,
        omega: torch.Tensor,
        weights: torch.Tensor,
        numbers: torch.Tensor,
    ) -> torch.Tensor:
        """Return the accelerations of the anchors, (B, O, n, 3), m/s^2, besides gravity's.

        Args:
            arms: (B, O, P, 3), points relative to their object's centre, world axes, metres; 0 where masked.
            x, v, omega: (B, O, 3), see ``BodyState``.
            weights, numbers: what ``begin`` returns last.
        """
        count = weights.shape[-2]
        world = arms + x[..., None, :]
        velocities = v[..., None, :] + torch.linalg.cross(omega[..., None, :].expand_as(arms), arms)
        gaps = (wall_distances(world, scene.walls) / _NEAR).clamp(-1, 1)
        # Not in bfloat16, which rounds a place by some millimetres.
        with torch.autocast(arms.device.type, enabled=False):
            vertices = self.lift(torch.cat([arms / _LENGTH, velocities, gaps], -1))
            places = world[..., :count, :]
            own = scene.mask[..., :count]
            of_anchors = rotations(places[..., None, :], own[..., None], vertices.shape[-1])
            of_objects = rotations(places, own, vertices.shape[-1])
        vertices = self.vertices(vertices)
        pooled = weights.to(vertices) @ vertices
        anchors = self.pooled(torch.cat([pooled, vertices[..., :count, :]], -1))
        objects = masked_max(anchors, own) + self.described(numbers)
        for layer in self.objects:
            objects = layer(objects, of_objects, scene.mask.any(-1))
        anchors = (anchors + self.whole(objects)[..., None, :]).flatten(1, 2)
        anchors = self.anchors(anchors, of_anchors.flatten(1, 2), own.flatten(1))
        return _ACCELERATION * limit(self.head(anchors).to(arms), _LIMIT).view(*own.shape, 3)

    def activation_bytes(self, scene: SceneState, frame_dt: float) -> float:
        """Estimate some eight tensors for each point, and as many for each anchor and layer."""
        points, anchors = scene.mask.numel(), scene.mask[..., :_ANCHORS].numel()
        return 32.0 * self.settings.hidden_dim * (points + 3 * anchors)


class RotaryLayer(nn.Module):
    """A ``RotaryLayer`` is a layer of a transformer, norms first, whose attention has rotary embeddings."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = 4 if width % 8 == 0 else 1
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, width)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: torch.Tensor, turns: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the tokens (B, N, h) after the layer.

        Args:
            turns: (B, N, h / 2, 2), what ``rotations`` returns.
            mask: (B, N), bool, which tokens exist.
        """
        q, k, v = self.qkv(self.norm(tokens)).chunk(3, -1)
        q, k = rotate(q, turns), rotate(k, turns)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v.to(q)))
        mixed = scaled_dot_product_attention(q, k, v, mask[:, None, None])
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + self.feed_forward(tokens)


def rotations(places: torch.Tensor, mask: torch.Tensor, width: int) -> torch.Tensor:
    """Return the mean of exp(i k . x) over points, real and imaginary part, (..., h / 2, 2), for each of h / 2 waves k.

    The waves go along one axis after the other, ever longer.

    Args:
        places: (..., n, 3), metres.
        mask: (..., n), which of the points exist.
        width: h.
    """
    number = torch.arange(width // 2, device=places.device)
    lengths = _WAVES[0] * (_WAVES[1] / _WAVES[0]) ** (number / max(1, width // 2 - 1))
    phases = places[..., number % 3] * (2 * math.pi / lengths.to(places))
    waves = torch.stack([phases.cos(), phases.sin()], -1) * mask[..., None, None]
    return waves.sum(-3) / mask.sum(-1)[..., None, None].clamp_min(1)


def rotate(numbers: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Multiply numbers (..., h), in pairs taken as complex, by ``turns`` (..., h / 2, 2)."""
    a, b = numbers.to(turns).unflatten(-1, (-1, 2)).unbind(-1)
    c, s = turns.unbind(-1)
    return torch.stack([a * c - b * s, a * s + b * c], -1).flatten(-2)
