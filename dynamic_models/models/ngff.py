"""Predict with a Neural Gaussian Force Field: bodies that deform, moved by forces that are learned where they touch.

    d q/dt = qdot      d qdot/dt = s_i            deformation, in the body's axes
    d x/dt = v         d v/dt = F_i / m_i + g     centre
    d R/dt = [omega] R d omega/dt = I_i^-1 (T_i - omega x I_i omega)

The state and its equations are those of arXiv 2602.00148. There a network gives the force between two objects from
codes of their shapes; here, as for surfaces in contact, a network gives an acceleration at each keypoint near a wall or
inside the reach of another object,

    a_p = (alpha + beta u_n + kappa d_n) n + gamma u_t / (1 + |u_t|) + tau d_t / (1 + |d_t|)
    (alpha, beta, kappa, gamma, tau) = f(u_n, d_n, |u_t|, |d_t|, nearness, share, materials)
    d d_p/dt = u [in reach] - (1 - nearness) d_p / T

with the surface's normal n, the relative velocity u, and the displacement d since the two met, like the springs of the
discrete element method (Cundall & Strack 1979). In the simulations that are learned, objects act on each other where
they share a grid node: their distance tells whether they do, the displacement since then how they bounce. All but n is
in units of typical sizes, and every term is bounded. F_i and T_i are the sums of these forces and of their moments. How
other objects lie to a point has no gradient, see ``contact.body_contact``.

An untrained network gives every contact the same damped spring and friction, from which training departs. Forces turn
with the scene, act at a place, and are equal and opposite with the objects' own masses and inertia tensors: momentum
and angular momentum are conserved in every collision, whatever the network says. ``ngff_published`` is the published
form, ``ngff_objects`` the same mended.
"""

from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import nn

from dynamic_models.contact.body_contact import body_contact, nearest_wall, spatial_order
from dynamic_models.data.scene_state import SceneState
from dynamic_models.models.building_blocks.body_frame import (
    centers,
    compose,
    phi_rate,
    product,
    split_motion,
    transform,
    turn,
)
from dynamic_models.models.building_blocks.described_objects import CONTEXT, describe_objects, thrice
from dynamic_models.models.building_blocks.integration import State
from dynamic_models.models.building_blocks.networks import StressNet, mlp, silent_linear
from dynamic_models.models.force_field import ForceField, ForceFieldSettings, body_points, limit
from dynamic_models.models.interface import Carry, NeedsRoom

# Typical sizes, by which the networks' inputs are divided.
_DEFORMATION = 0.01  # metres
_DEFORMATION_SPEED = 0.1  # metres per second
_SPEED = 1.0  # metres per second
_ACCELERATION = 50.0  # m/s^2, one unit of the contact networks' output
_STRESS = 10.0  # m/s^2
_LIMIT = 20.0  # largest output, in such units: 1000 m/s^2 stop any object within a frame
_DISPLACEMENT = 0.02  # metres, since a contact began

_FAST_SPIN = 30.0  # radians per second: from here on the gyroscopic torque is limited
_FEW = 4.0  # points: so many in touch act with half of the full force
_MEMORY = 0.04  # seconds, T of the module's docstring
_UNTRAINED = (0.0, -1.0, -0.5, -0.5, 0.0)  # alpha, beta, kappa, gamma, tau: damped springs and friction
_ROOM = 0.3  # share of all possible contacts that objects have which lie on the floor and on each other


class Objects(NamedTuple):
    """An ``Objects`` holds what never changes of a scene's objects, points in ``spatial_order``.

    Attributes:
        q0: (B, O, P, 3), undeformed points in the body's axes, metres.
        inertia: (B, O, 3, 3), inertia tensor over mass in these axes, m^2.
        inverse_inertia: (B, O, 3, 3), its inverse, 1/m^2.
        mass: (B, O), kg.
        volume: (B, O), volume that a point stands for, m^3.
        context: (B, O, 6), numbers that describe material and size to the networks.
        number: (B, O, 1), number of points, 1 for objects without any.
        mask: (B, O, P), which points exist.
        shares: (B, O, P), of the object's mass.
        places: (B, O, P, 3), the place of each of the scene's points in this order, three times.
        room: (R,), 1 to R for so many contacts, see ``NeedsRoom``.
    """

    q0: torch.Tensor
    inertia: torch.Tensor
    inverse_inertia: torch.Tensor
    mass: torch.Tensor
    volume: torch.Tensor
    context: torch.Tensor
    number: torch.Tensor
    mask: torch.Tensor
    shares: torch.Tensor
    places: torch.Tensor
    room: torch.Tensor


class NGFFSettings(ForceFieldSettings):
    """An ``NGFFSettings`` holds the settings of a force field, and whether objects deform."""

    dynamic_model: Literal["ngff"] = "ngff"
    deformation: bool = True
    """whether objects deform, or stay as they are at the start"""


class NGFF(ForceField, NeedsRoom):
    """An ``NGFF`` is the force field that the module's docstring describes; on a GPU it ``NeedsRoom``.

    Attributes:
        room: the share of all possible contacts, two for every keypoint, that a step on a GPU computes.
        lacking, fixed_shapes: see ``NeedsRoom``.
    """

    settings_type = NGFFSettings

    def __init__(self, settings: NGFFSettings) -> None:
        super().__init__(settings)
        self.room = _ROOM
        self.lacking: torch.Tensor
        self.register_buffer("lacking", torch.zeros(()), persistent=False)
        h, layers = settings.hidden_dim, settings.num_layers
        head = silent_linear(h, 5)
        with torch.no_grad():
            head.bias.copy_(torch.tensor(_UNTRAINED))
        self.contact = nn.Sequential(mlp(7 + 2 * CONTEXT, h, layers), head)
        self.stress = StressNet(12 + CONTEXT, h) if settings.deformation else None

    @property
    def blocks(self) -> float:
        """Return how many layers a point goes through: those of contacts, which not every point has, and of stress."""
        return 2 * self.settings.num_layers * self.room + 6

    def possible(self, scene: SceneState) -> int:
        """Return the most contacts that there may be: two for every keypoint."""
        return 2 * scene.mask.numel()

    @torch.no_grad()
    def needed(self, scene: SceneState) -> torch.Tensor:
        """Return the share (B,) of each scene's possible contacts that are in touch."""
        carry, reach = self.begin(scene), self.settings.threshold
        objects, world = Objects(*carry[-len(Objects._fields) :]), body_points(carry)
        gaps, _ = nearest_wall(world, scene.walls)
        other = body_contact(world, torch.zeros_like(world), carry[2], objects.mask, objects.volume, reach)
        touching = torch.stack([(gaps < reach) & objects.mask, other.nearness > 0], 1)
        return touching.flatten(1).float().mean(1)

    def begin(self, scene: SceneState) -> Carry:
        """Return q, qdot, x, v, omega, R; displacements (2, B, O, P, 3), metres; and ``Objects``.

        Displacements are those since contact with a wall and with another object began.
        """
        body = split_motion(scene)
        described = describe_objects(scene, body.q0)
        order = spatial_order(body.q0, scene.mask)
        q, qdot, q0 = (points.gather(2, thrice(order)) for points in (body.q, body.qdot, body.q0))
        objects = Objects(
            q0,
            described.inertia,
            described.inverse_inertia,
            described.mass,
            described.spacing**3,
            described.context,
            described.number[..., None],
            scene.mask.gather(2, order),
            scene.shares.gather(2, order),
            thrice(order.argsort(-1)),
            self.places(scene),
        )
        still = qdot if self.stress is not None else torch.zeros_like(qdot)
        unmoved = torch.zeros_like(q).repeat(2, 1, 1, 1, 1)
        return q, still, body.x, body.v, body.omega, body.R, unmoved, *objects

    def points(self, carry: Carry) -> torch.Tensor:
        return body_points(carry).gather(2, Objects(*carry[-len(Objects._fields) :]).places)

    def step(self, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float) -> Carry:
        return self.step_bodies(partial(self._derivative, scene, push), carry, frame_dt, memories=1)

    def _derivative(
        self, scene: SceneState, push: torch.Tensor, R0: torch.Tensor, constant: list[torch.Tensor], y: State
    ) -> State:
        """Return the rates of ``y``, see ``ForceField.step_bodies``."""
        q, qdot, x, v, phi, omega, unmoved, displacements = y
        objects = Objects(*constant)
        R = compose(phi, R0)
        arms = turn(R, q)
        world = arms + x[..., None, :]
        velocities = v[..., None, :] + torch.linalg.cross(omega[..., None, :].expand_as(arms), arms) + turn(R, qdot)
        contacts, force, torque, rates = self._contacts(scene, objects, x, world, velocities, displacements)

        turning = transform(R.mT, omega)
        gyroscopic = torch.linalg.cross(turning, transform(objects.inertia, turning))
        # Limited, since explicit steps of it diverge where a body turns most of a revolution in a frame.
        gyroscopic = gyroscopic / (1 + (omega / _FAST_SPIN).square().sum(-1, keepdim=True))
        angular = transform(objects.inverse_inertia, transform(R.mT, torque + push[..., 3:]) - gyroscopic)
        return (
            qdot,
            self._stress(objects, q - objects.q0, qdot, turn(R.mT, contacts / _ACCELERATION)),
            v,
            force + push[..., :3] + scene.gravity[:, None],
            phi_rate(phi, omega),
            transform(R, angular),
            unmoved,
            rates,
        )

    def _contacts(
        self,
        scene: SceneState,
        objects: Objects,
        x: torch.Tensor,
        world: torch.Tensor,
        velocities: torch.Tensor,
        displacements: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what contacts with walls and with other objects do.

        What acts on one object acts the other way on the other.

        Returns:
            Accelerations (2, B, O, P, 3) at points, m/s^2; force and torque over mass (B, O, 3) on objects, m/s^2 and
            m^2/s^2; and the rates (2, B, O, P, 3) of the displacements, m/s.
        """
        mask, context, own_mass = objects.mask, objects.context, objects.mass[..., None]
        gaps, wall_normals = nearest_wall(world, scene.walls)
        at_walls = (1 - gaps / self.settings.threshold).clamp(0, 2) * mask
        other = body_contact(world, velocities, x, mask, objects.volume, self.settings.threshold)
        nearness = torch.stack([at_walls, other.nearness])
        normals = torch.stack([wall_normals, other.normals])
        relative = torch.stack([velocities, velocities - other.velocities])

        described = torch.cat([context, torch.ones_like(own_mass), own_mass], -1)
        partners = _of_partners(other.partner, described)
        other_mass = partners[..., -1]
        # Two bodies collide with their reduced mass; a wall's mass is infinite.
        reduced = torch.stack([own_mass.expand_as(other_mass), own_mass * other_mass / (own_mass + other_mass)])
        partners = torch.stack([torch.zeros_like(partners), partners])[..., :-1]
        own = context[:, :, None].expand(*nearness.shape, -1)
        touching = nearness.sum(-1, keepdim=True)
        share = 10 * touching / objects.number  # of the object's points that touch; a tenth counts as one
        moving = torch.cat([relative, displacements, nearness[..., None], share.expand_as(nearness)[..., None]], -1)
        local = self._local_acceleration(nearness, moving, torch.cat([normals, own, partners], -1), objects.room)

        weights = nearness / (touching + _FEW)
        forces = (reduced * weights)[..., None] * local  # N
        # Forces, and moments about the world's origin.
        wrenches = torch.cat([forces, torch.linalg.cross(world.expand_as(forces), forces)], -1)
        # What acts on a point of an object acts the other way on its partner.
        owner = torch.eye(mask.shape[1], dtype=world.dtype, device=world.device)[:, None]
        total = wrenches[0].sum(-2) + product((owner - other.partner).mT, wrenches[1]).sum(1)
        force, moment = (total / own_mass).chunk(2, -1)
        rates = _rate(nearness, relative, displacements)
        return local * nearness[..., None], force, moment - torch.linalg.cross(x, force), rates

    def _local_acceleration(
        self, nearness: torch.Tensor, moving: torch.Tensor, fixed: torch.Tensor, room: torch.Tensor
    ) -> torch.Tensor:
        """Return a_p of the module's docstring, (2, B, O, P, 3), m/s^2, at points in touch; elsewhere 0.

        Args:
            nearness: (2, B, O, P), 0 for points that do not touch.
            moving, fixed: (2, B, O, P, n), see ``_accelerations``.
            room: see ``Objects``.
        """
        touching = (nearness > 0).flatten()
        count = len(touching)
        if self.is_limited(nearness.device):
            rows, left_out = first_rows(touching, room)
            self.lacking.copy_(torch.maximum(self.lacking, left_out / count))
        else:
            rows = touching.nonzero().squeeze(1)
        taken = rows.clamp_max(count - 1)
        found = _accelerations(
            self.contact, *(entry.flatten(0, -2).index_select(0, taken) for entry in (moving, fixed))
        )
        return found.new_zeros(count + 1, 3).index_copy(0, rows, found)[:-1].view(*nearness.shape, 3)

    def _stress(
        self,
        objects: Objects,
        displacement: torch.Tensor,
        qdot: torch.Tensor,
        contacts: torch.Tensor,
    ) -> torch.Tensor:
        """Return accelerations of the deformation, (B, O, P, 3), m/s^2, that do not move the centre."""
        if self.stress is None:
            return torch.zeros_like(qdot)
        mask = objects.mask[..., None]
        own = objects.context[:, :, None].expand(*objects.mask.shape, -1)
        features = torch.cat([displacement / _DEFORMATION, qdot / _DEFORMATION_SPEED, *contacts, own], -1)
        stress = limit(self.stress(features, objects.mask).to(qdot), _LIMIT) * mask
        return _STRESS * (stress - centers(stress, objects.shares)[..., None, :]) * mask


def _of_partners(partner: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the values (B, O, P, k) of each point's ``partner`` (B, O, P, O), out of objects' ``values`` (B, O, k)."""
    return product(partner, values[:, None])


def first_rows(chosen: torch.Tensor, room: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return indices (R,) of the first true entries of ``chosen`` (N,), then N; and how many more entries are true.

    Neither waits for the device.

    Args:
        room: (R,), 1 to R.
    """
    number = chosen.cumsum(0)
    return torch.searchsorted(number, room), (number[-1] - len(room)).clamp_min(0)


def _accelerations(network: nn.Module, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
    """Return a_p of the module's docstring, (..., 3), m/s^2.

    Args:
        network: f of the module's docstring.
        moving: (..., 8), relative velocity, displacement, nearness and share.
        fixed: (..., 3 + n), what has no gradient: normal, own context, the partner's context, and whether there is one.
    """
    relative, displacements, numbers = moving.split((3, 3, 2), -1)
    normals, described = fixed[..., :3], fixed[..., 3:]
    vectors = torch.stack([relative / _SPEED, displacements / _DISPLACEMENT])
    along = (vectors * normals).sum(-1, keepdim=True)
    across = vectors - along * normals
    size = (across.square().sum(-1, keepdim=True) + 1e-8).sqrt()
    outputs = network(torch.cat([*along, *size, numbers, described], -1)).to(relative)
    normal = outputs[..., :1] + outputs[..., 1:2] * along[0] + outputs[..., 2:3] * along[1]
    normal, friction, shear = limit(torch.cat([normal, outputs[..., 3:]], -1), _LIMIT).split(1, -1)
    sliding, sheared = across / (1 + size)
    return _ACCELERATION * (normal * normals + friction * sliding + shear * sheared)


def _rate(nearness: torch.Tensor, relative: torch.Tensor, displacements: torch.Tensor) -> torch.Tensor:
    """Return the rates of displacements since contact began, m/s; those of points out of reach are forgotten."""
    near = nearness.clamp_max(1)[..., None]
    return torch.where(near > 0, relative, 0.0) - (1 - near) / _MEMORY * displacements
