"""Predict with forces between whole objects, by the published equations (arXiv 2602.00148) but mended.

    d q/dt = qdot      d qdot/dt = s_i            deformation, in the body's axes
    d x/dt = v         d v/dt = F_i / m + g       centre
    d R/dt = [omega] R d omega/dt = T_i / m       orientation, omega and T in the world's axes
    (F_i, T_i, L_i) = sum_j contact(i, j) W(f(z_i, z_i - z_j) * h(z_j)) + wall(i) B(z_i)

``ngff_published`` has the equations as they are. This model derives from it, and differs in these points:

- Orientations are rotations, integrated on SO(3). The networks see them through the object's points, turned into the
  world's axes, not through three angles that jump.
- The wall network sees the distance to each wall, cut off at the contact threshold, instead of positions: what happens
  does not depend on where on the floor it happens. The pair network sees differences and the smallest distance.
- Forces between two objects are equal and opposite, and rise from zero at the contact threshold: an object that starts
  beside another, nearer than in any training scene, is not blown away.
- The stress network cannot move an object's centre: its mean over the points is subtracted.
"""

from functools import partial
from typing import Literal

import torch

from dynamic_models.contact.body_contact import pair_contact, wall_contact
from dynamic_models.data.scene_state import SceneState
from dynamic_models.models.building_blocks.body_frame import (
    centers,
    compose,
    inertia_over_mass,
    phi_rate,
    split_motion,
    turn,
)
from dynamic_models.models.building_blocks.integration import State
from dynamic_models.models.force_field import body_points, limit
from dynamic_models.models.interface import Carry
from dynamic_models.models.ngff_published import (
    ACCELERATION_LIMIT,
    NGFFPublished,
    NGFFPublishedSettings,
    contact_latents,
    turning_push,
)

# Typical sizes, by which the networks' inputs are divided.
_LENGTH = 0.25  # metres
_SPIN = 5.0  # radians per second
_DEFORMATION = 0.01  # metres
_DEFORMATION_SPEED = 0.1  # metres per second
# One unit of output: 10 m/s^2 with the published mass of 0.1 kg, and as much at the surface of an object.
_TORQUE = 10.0  # N m
_STRESS = 10.0  # m/s^2


class NGFFObjectsSettings(NGFFPublishedSettings):
    """An ``NGFFObjectsSettings`` holds the settings of the published model."""

    dynamic_model: Literal["ngff_objects"] = "ngff_objects"  # type: ignore[assignment]


class NGFFObjects(NGFFPublished):
    """An ``NGFFObjects`` is the force field that the module's docstring describes.

    Attributes:
        pair_inputs: how many numbers describe object i relative to j: x, v, omega and the gap.
        wall_inputs: how many numbers describe an object relative to the walls: five gaps, v, omega.
    """

    settings_type = NGFFObjectsSettings
    pair_inputs, wall_inputs = 10, 11

    def begin(self, scene: SceneState) -> Carry:
        """Return q, qdot, x, v, omega, R; and what never changes: q0 and the inverse inertia over mass (B, O, 3, 3),
        both in the body's axes."""
        body = split_motion(scene)
        inertia = inertia_over_mass(body.q0, scene.shares)
        return body.q, body.qdot, body.x, body.v, body.omega, body.R, body.q0, torch.linalg.inv(inertia)

    def points(self, carry: Carry) -> torch.Tensor:
        return body_points(carry)

    def step(self, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float) -> Carry:
        return self.step_bodies(partial(self._derivative, scene, push), carry, frame_dt)

    def _derivative(
        self, scene: SceneState, push: torch.Tensor, R0: torch.Tensor, constant: list[torch.Tensor], y: State
    ) -> State:
        """Return the rates of ``y``, see ``ForceField.step_bodies``."""
        q, qdot, x, v, phi, omega = y
        q0, inverse_inertia = constant
        R = compose(phi, R0)
        force, torque, latent = self._interactions(scene, R, q, x, v, omega)
        latent = tuple(turn(R.mT, part) for part in latent)
        features = torch.cat([(q - q0) / _DEFORMATION, qdot / _DEFORMATION_SPEED, *latent], -1)
        mask = scene.mask[..., None]
        stress = limit(self.stress(features, scene.mask).to(q), ACCELERATION_LIMIT) * mask
        stress = (stress - centers(stress, scene.shares)[..., None, :]) * mask
        acceleration = force / self.mass + push[..., :3] + scene.gravity[:, None]
        angular = _TORQUE * torque / self.mass + turning_push(R, inverse_inertia, push)
        return qdot, _STRESS * stress, v, acceleration, phi_rate(phi, omega), angular

    def _interactions(
        self, scene: SceneState, R: torch.Tensor, q: torch.Tensor, x: torch.Tensor, v: torch.Tensor, omega: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]:
        """Return force and torque (B, O, 3) on every object, in units of the networks, and ``contact_latents``."""
        mask, threshold = scene.mask, self.settings.threshold
        arms = turn(R, q)
        world = arms + x[..., None, :]
        shape = self.shape(arms / _LENGTH, mask)

        walls = wall_contact(world, mask, scene.walls, threshold)
        gaps = (walls.gaps / threshold).clamp_max(1)
        wall = limit(self.wall_outputs(shape, torch.cat([gaps, v, omega / _SPIN], -1)).to(q), ACCELERATION_LIMIT)
        wall = wall * walls.points.any(-1)[..., None]

        pairs = pair_contact(world, mask, threshold)
        relative = [(s[:, :, None] - s[:, None]) / scale for s, scale in ((x, _LENGTH), (v, 1.0), (omega, _SPIN))]
        gap = (pairs.gaps / threshold).clamp_max(1)[..., None]
        pair = self.pair_outputs(shape, torch.cat([*relative, gap], -1))
        pair = limit(pair.to(q), ACCELERATION_LIMIT) * (1 - gap)
        push = (pair[..., :3] - pair[..., :3].transpose(1, 2)) / 2  # action and reaction

        force = push.sum(2) + wall[..., :3]
        torque = pair[..., 3:6].sum(2) + wall[..., 3:6]
        return force, torque, contact_latents(pairs, pair, walls, wall)
