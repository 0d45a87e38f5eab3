"""Predict by the published equations of Neural Gaussian Force Fields (arXiv 2602.00148), to compare others with.

    d q/dt = qdot      d qdot/dt = s_i            deformation, in the body's axes
    d x/dt = v         d v/dt = F_i / m + g       centre
    d a/dt = omega     d omega/dt = T_i / m       three angles, integrated as if they were a vector
    (F_i, T_i, L_i) = sum_j contact(i, j) W(f(z_i, z_i - z_j) * h(z_j)) + wall(i) B(z_i)

A point in the world is R(a) q + x with Euler angles a; z is the shape's code and a state (x, a, v, omega); contact is
1 nearer than the threshold and 0 beyond; nothing makes forces opposite, or tells what an object is made of.
``ngff_objects`` mends these points. Here only what would end a training is mended: padding enters neither a maximum
nor a mean, accelerations are limited softly (`ACCELERATION_LIMIT`), so that a rollout stays finite whatever the
networks say, and the last layers are zero-initialised, so that an untrained model is free flight.
"""

from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import nn

from dynamic_models.contact.body_contact import PairContact, WallContact, pair_contact, wall_contact
from dynamic_models.data.scene_state import SceneState, equal_shares
from dynamic_models.models.building_blocks.body_frame import inertia_over_mass, split_motion, transform, turn
from dynamic_models.models.building_blocks.integration import State
from dynamic_models.models.building_blocks.networks import PointEncoder, StressNet, block, mlp, silent_linear
from dynamic_models.models.force_field import ForceField, ForceFieldSettings, limit
from dynamic_models.models.interface import Carry
from gaussians.numbers import Positive
from gaussians.rotations import euler_xyz_to_matrix, matrix_to_euler_xyz

ACCELERATION_LIMIT = 50.0
"""The largest output of the networks: a force of 50 N, which is 500 m/s^2 with the published mass of 0.1 kg."""

_DEFORMATION = 0.01  # metres and metres per second: by these the stress network's inputs are divided


class NGFFPublishedSettings(ForceFieldSettings):
    """An ``NGFFPublishedSettings`` holds the settings of a force field, and the mass in its equations."""

    dynamic_model: Literal["ngff_published"] = "ngff_published"
    mass: Positive = 0.1
    """mass of every object, kg"""


class NGFFPublished(ForceField):
    """An ``NGFFPublished`` is the model that the module's docstring describes.

    Attributes:
        pair_inputs: how many numbers describe object i relative to j: x, a, v, omega.
        wall_inputs: how many numbers describe an object relative to the walls: the same.
    """

    settings_type = NGFFPublishedSettings
    pair_inputs, wall_inputs = 12, 12

    def __init__(self, settings: NGFFPublishedSettings) -> None:
        super().__init__(settings)
        self.mass = settings.mass
        h, layers = settings.hidden_dim, settings.num_layers
        self.shape = PointEncoder(h, layers)
        self.pair_state = mlp(self.pair_inputs, h, layers)
        self.branch = mlp(2 * h, 2 * h, layers)
        self.trunk = mlp(h, 2 * h, layers)
        self.pair_head = nn.Sequential(block(2 * h, 2 * h), silent_linear(2 * h, 9))
        self.wall_state = mlp(self.wall_inputs, h, layers)
        self.wall_head = nn.Sequential(mlp(2 * h, 2 * h, layers), silent_linear(2 * h, 9))
        self.stress = StressNet(12, h)

    @property
    def blocks(self) -> float:
        return self.settings.num_layers + 7

    def begin(self, scene: SceneState) -> Carry:
        """Return q, qdot, x, v, a, omega; and what never changes: q0 and the inverse inertia over mass (B, O, 3, 3)."""
        shares = equal_shares(scene.mask)
        body = split_motion(replace(scene, shares=shares))
        inverse_inertia = torch.linalg.inv(inertia_over_mass(body.q0, shares))
        angles = matrix_to_euler_xyz(body.R).deg2rad()
        return body.q, body.qdot, body.x, body.v, angles, body.omega, body.q0, inverse_inertia

    def points(self, carry: Carry) -> torch.Tensor:
        q, _, x, _, angles, *_ = carry
        return turn(_rotation(angles), q) + x[..., None, :]

    def step(self, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float) -> Carry:
        *moving, q0, inverse_inertia = carry
        rates = partial(self._rates, scene, q0, inverse_inertia, push)
        return *self.integrate(rates, tuple(moving), frame_dt), q0, inverse_inertia

    def _rates(
        self, scene: SceneState, q0: torch.Tensor, inverse_inertia: torch.Tensor, push: torch.Tensor, y: State
    ) -> State:
        """Return the rates of q, qdot, x, v, a, omega."""
        q, qdot, x, v, angles, omega = y
        R = _rotation(angles)
        shape, world, threshold = self.shape(q, scene.mask), turn(R, q) + x[..., None, :], self.settings.threshold

        state = torch.cat([x, angles, v, omega], -1)
        pairs = pair_contact(world, scene.mask, threshold)
        pair = self.pair_outputs(shape, state[:, :, None] - state[:, None]).to(q)
        pair = limit(pair, ACCELERATION_LIMIT) * pairs.touching[..., None]

        walls = wall_contact(world, scene.mask, scene.walls, threshold)
        floor = torch.zeros_like(state)
        floor[..., 2] = scene.walls[:, 4:]
        wall = self.wall_outputs(shape, state - floor).to(q)
        wall = limit(wall, ACCELERATION_LIMIT) * walls.points.any(-1)[..., None]

        latents = [turn(R.mT, part) for part in contact_latents(pairs, pair, walls, wall)]
        features = torch.cat([(q - q0) / _DEFORMATION, qdot / _DEFORMATION, *latents], -1)
        stress = limit(self.stress(features, scene.mask).to(q), ACCELERATION_LIMIT) * scene.mask[..., None]
        force, torque = (pair.sum(2) + wall)[..., :6].split(3, -1)
        acceleration = force / self.mass + push[..., :3] + scene.gravity[:, None]
        angular = torque / self.mass + turning_push(R, inverse_inertia, push)
        return qdot, stress, v, acceleration, omega, angular

    def pair_outputs(self, shape: torch.Tensor, relative: torch.Tensor) -> torch.Tensor:
        """Return W(f(z_i, z_i - z_j) * h(z_j)), (B, O, O, 9): force, torque and latent of object i beside j.

        Args:
            shape: (B, O, h), codes of the objects' shapes.
            relative: (B, O, O, pair_inputs), the state of i relative to j.
        """
        embedding = self.pair_state(relative)
        own = shape[:, :, None].expand(-1, -1, shape.shape[1], -1)
        outputs: torch.Tensor = self.pair_head(
            self.branch(torch.cat([own, embedding], -1)) * self.trunk(shape)[:, None]
        )
        return outputs

    def wall_outputs(self, shape: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Return B(z_i), (B, O, 9): force, torque and latent of each object beside walls.

        Args:
            shape: (B, O, h), codes of the objects' shapes.
            state: (B, O, wall_inputs).
        """
        outputs: torch.Tensor = self.wall_head(torch.cat([shape, self.wall_state(state)], -1))
        return outputs


def contact_latents(
    pairs: PairContact, pair: torch.Tensor, walls: WallContact, wall: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the latents (B, O, P, 3) at points that touch other objects, and at points that touch walls.

    Args:
        pair: (B, O, O, 9), limited ``pair_outputs``.
        wall: (B, O, 9), limited ``wall_outputs``.
    """
    from_objects = (pairs.points[..., None] * pair[..., None, 6:]).sum(2)
    return from_objects, walls.points[..., None] * wall[:, :, None, 6:]


def turning_push(R: torch.Tensor, inverse_inertia: torch.Tensor, push: torch.Tensor) -> torch.Tensor:
    """Return the angular acceleration (B, O, 3), rad/s^2, in the world, that an external torque gives.

    Args:
        R: (B, O, 3, 3), body to world.
        inverse_inertia: (B, O, 3, 3), times mass, in the body's axes, 1/m^2.
        push: (B, O, 6), see ``FrameModel.step``.
    """
    return transform(R, transform(inverse_inertia, transform(R.mT, push[..., 3:])))


def _rotation(angles: torch.Tensor) -> torch.Tensor:
    """Return rotations (B, O, 3, 3) from radians; in full precision also under autocast."""
    with torch.autocast(angles.device.type, enabled=False):
        return euler_xyz_to_matrix(angles.rad2deg())
