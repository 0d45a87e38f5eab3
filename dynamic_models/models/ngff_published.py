"""Neural Gaussian Force Fields by the published equations as they are (arXiv 2602.00148), to measure others against.

    d q/dt = qdot      d qdot/dt = s_i            deformation, in the body's axes
    d x/dt = v         d v/dt = F_i / m + g       centre
    d a/dt = omega     d omega/dt = T_i / m       three angles, integrated as if they were a vector
    (F_i, T_i, L_i) = sum_j contact(i, j) W(f(z_i, z_i - z_j) * h(z_j)) + wall(i) B(z_i)

A point of the world is R(a) q + x with Euler angles a; z are the shape's code and a state (x, a, v, omega); contacts
are 1 nearer than the threshold and 0 beyond; nothing makes forces opposite, or tells what an object is made of.
``ngff_objects`` mends that one by one. Only what would end a training is mended here: padding enters no maximum,
accelerations are limited softly, and the last layers start at zero.
"""

from functools import partial
from typing import Literal

import torch

from dynamic_models.contact.body_contact import pair_contact, wall_contact
from dynamic_models.data.scene_state import SceneState
from dynamic_models.models.building_blocks.body_frame import inertia_over_mass, split_motion, transform, turn
from dynamic_models.models.building_blocks.integration import State
from dynamic_models.models.building_blocks.networks import mlp
from dynamic_models.models.force_field import limit
from dynamic_models.models.interface import Carry
from dynamic_models.models.ngff_objects import ACCELERATION_LIMIT, NGFFObjects, NGFFObjectsSettings
from gaussians.rotations import euler_xyz_to_matrix, matrix_to_euler_xyz

_DEFORMATION = 0.01  # metres and metres per second


class NGFFPublishedSettings(NGFFObjectsSettings):
    """The same."""

    dynamic_model: Literal["ngff_published"] = "ngff_published"  # type: ignore[assignment]


class NGFFPublished(NGFFObjects):
    """The model of the module's docstring."""

    def __init__(self, settings: NGFFPublishedSettings) -> None:
        super().__init__(settings)
        h, layers = settings.hidden_dim, settings.num_layers
        self.pair_state, self.wall_state = mlp(12, h, layers), mlp(12, h, layers)

    def begin(self, scene: SceneState) -> Carry:
        """q, qdot, x, v, a, omega; and what never changes: q0 and the inverse inertia over mass (B, O, 3, 3)."""
        body = split_motion(scene)
        inverse_inertia = torch.linalg.inv(inertia_over_mass(body.q0, scene.mask))
        angles = matrix_to_euler_xyz(body.R).deg2rad()
        return body.q, body.qdot, body.x, body.v, angles, body.omega, body.q0, inverse_inertia

    def points(self, carry: Carry) -> torch.Tensor:
        q, _, x, _, angles, *_ = carry
        return turn(_rotation(angles), q) + x[..., None, :]

    def step(self, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float) -> Carry:
        *moving, q0, inverse_inertia = carry
        rates = partial(self.rates, scene, q0, inverse_inertia, push)
        return *self.integrate(rates, tuple(moving), frame_dt), q0, inverse_inertia

    def rates(
        self, scene: SceneState, q0: torch.Tensor, inverse_inertia: torch.Tensor, push: torch.Tensor, y: State
    ) -> State:
        """Of q, qdot, x, v, a, omega."""
        q, qdot, x, v, angles, omega = y
        R = _rotation(angles)
        shape, world, threshold = self.shape(q, scene.mask), turn(R, q) + x[..., None, :], self.settings.threshold

        state = torch.cat([x, angles, v, omega], -1)
        pairs = pair_contact(world, scene.mask, threshold)
        embedding = self.pair_state(state[:, :, None] - state[:, None])
        own = shape[:, :, None].expand(-1, -1, shape.shape[1], -1)
        pair = self.pair_head(self.branch(torch.cat([own, embedding], -1)) * self.trunk(shape)[:, None])
        pair = limit(pair.to(q), ACCELERATION_LIMIT) * pairs.touching[..., None]

        walls = wall_contact(world, scene.mask, scene.walls, threshold)
        floor = torch.zeros_like(state)
        floor[..., 2] = scene.walls[:, 4:]
        wall = self.wall_head(torch.cat([shape, self.wall_state(state - floor)], -1))
        wall = limit(wall.to(q), ACCELERATION_LIMIT) * walls.points.any(-1)[..., None]

        from_objects = (pairs.points[..., None] * pair[..., None, 6:]).sum(2)
        from_walls = walls.points[..., None] * wall[:, :, None, 6:]
        latents = [turn(R.mT, part) for part in (from_objects, from_walls)]
        features = torch.cat([(q - q0) / _DEFORMATION, qdot / _DEFORMATION, *latents], -1)
        stress = limit(self.stress(features, scene.mask).to(q), ACCELERATION_LIMIT) * scene.mask[..., None]
        force, torque = (pair.sum(2) + wall)[..., :6].split(3, -1)
        turning = transform(R, transform(inverse_inertia, transform(R.mT, push[..., 3:])))
        acceleration = force / self.mass + push[..., :3] + scene.gravity[:, None]
        return qdot, stress, v, acceleration, omega, torque / self.mass + turning


def _rotation(angles: torch.Tensor) -> torch.Tensor:
    """(B, O, 3, 3) from radians; in full precision also under autocast."""
    with torch.autocast(angles.device.type, enabled=False):
        return euler_xyz_to_matrix(angles.rad2deg())
