"""Predict with a Neural Gaussian Force Field of impulses: elastic bodies whose contacts are solved for.

    d x/dt = v              d v/dt = g + sum J / m                                     centre
    d R/dt = [omega] R      d omega/dt = I^-1 (sum r x J - omega x I omega)            orientation
    d Z/dt = Zdot           d Zdot/dt = -(E / rho) K Z - nu K Zdot + sum f J / m       deformation, in the body's axes

Z are the amplitudes of the body's elastic modes, K their stiffness (``elastic_modes``). J are impulses at the points
that reach a wall or the surface of another object: with the relative velocity u there, such that at the end of a step

    u_n >= b      0 <= J_n      |J_t| <= mu J_n      |torque| <= d J_n

where b keeps surfaces out of each other, or lets them come off with the share e of the speed that they met with. Where
bodies touch is found once in a step; within it, impulses and deformation take several substeps, as stiff bodies bounce
off in milliseconds, in which they hardly move. A few sweeps of projected Jacobi iterations find the impulses
(``contact_solver``), as in the time stepping of Stewart & Trinkle (1996): every contact is answered by mass, inertia
and elasticity of both bodies. Impulses are equal and opposite at one place, so that momentum and angular momentum are
conserved, and no contact gives back more energy than it took.

What is learned: restitution e, friction mu, rolling friction d and how fast overlaps end, from what two objects are and
how their contact is on the whole (ContactNets, Pfrommer et al. 2020, learn as much of known shapes); and how much
stiffer and more viscous (nu) an object is than its material says. Surfaces, at which the simulated bodies touch, are
those of the keypoints (``contact.surfaces``); where they are has no gradient.
"""

from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from dynamic_models.contact.body_contact import nearest_wall, spatial_order
from dynamic_models.contact.surfaces import NO_GAP, surface_contact, surface_normals
from dynamic_models.data.scene_state import SceneState
from dynamic_models.models.building_blocks.body_frame import compose, split_motion, transform, turn
from dynamic_models.models.building_blocks.contact_solver import (
    Bodies,
    Contacts,
    Properties,
    Response,
    axis,
    divide,
    response,
    velocities,
)
from dynamic_models.models.building_blocks.described_objects import CONTEXT, describe_objects, thrice
from dynamic_models.models.building_blocks.elastic_modes import FUNCTIONS, MODES, ROTATIONS, ElasticModes, elastic_modes
from dynamic_models.models.building_blocks.impulse_steps import Elasticity, Meeting, Substeps, impulse_steps
from dynamic_models.models.building_blocks.integration import substeps
from dynamic_models.models.building_blocks.networks import mlp, silent_linear
from dynamic_models.models.force_field import Length, limit
from dynamic_models.models.interface import MAX_LAYERS, MAX_WIDTH, Carry, FrameModel
from gaussians.numbers import within

_FAST_SPIN = 30.0  # radians per second: from here on the gyroscopic torque is limited
_STIFFNESS = 1e5  # Pa, assumed for objects that nothing is known of
_NEIGHBOURHOOD, _REACH, _RADIUS = 2.0, 1.6, 0.4  # of normals, surfaces and sheets, over the distance of neighbours
_THICKNESS = 0.2  # of a contact, over the threshold: about half a cell
_MEMORY = 1.5  # seconds, in which deformations are forgotten that are not those of the modes
_GAP = 0.05  # metres: the largest gap that networks are told
_REST_SPEED = 0.05  # m/s
_LARGEST = 10.0  # output of networks


class Objects(NamedTuple):
    """An ``Objects`` holds what never changes of a scene's objects, points in ``spatial_order``.

    Attributes:
        q0: (B, O, P, 3), undeformed points in the body's axes, metres.
        normals: (B, O, P, 3), see ``surface_normals``.
        functions: (B, O, P, 9), those of the modes.
        spacing: (B, O), distance of neighbouring points, metres.
        inertia: (B, O, 3, 3), inertia tensor over mass in these axes, m^2.
        inverse_inertia: (B, O, 3, 3), its inverse, 1/m^2.
        mass: (B, O), kg.
        squared_speed: (B, O), Young's modulus over density, m^2/s^2.
        context: (B, O, 6), numbers that describe material and size to the networks.
        mask: (B, O, P), which points exist.
        places: (B, O, P, 3), the place of each of the scene's points in this order, three times.
        size, means, whitening, shapes, stiffness: see ``ElasticModes``.
    """

    q0: torch.Tensor
    normals: torch.Tensor
    functions: torch.Tensor
    spacing: torch.Tensor
    inertia: torch.Tensor
    inverse_inertia: torch.Tensor
    mass: torch.Tensor
    squared_speed: torch.Tensor
    context: torch.Tensor
    mask: torch.Tensor
    places: torch.Tensor
    size: torch.Tensor
    means: torch.Tensor
    whitening: torch.Tensor
    shapes: torch.Tensor
    stiffness: torch.Tensor

    @property
    def modes(self) -> ElasticModes:
        return ElasticModes(self.size, self.means, self.whitening, self.shapes, self.stiffness)


class Motion(NamedTuple):
    """A ``Motion`` is the state of a scene's objects.

    Attributes:
        rest: (B, O, P, 3), deformation that no mode has, body axes, metres.
        Z, Zdot: (B, O, 9, 3), amplitudes of deformation, body axes, metres, and their rates, m/s.
        x, v: (B, O, 3), centre, metres, and velocity, m/s.
        omega: (B, O, 3), angular velocity, world axes, rad/s.
        R: (B, O, 3, 3), body to world.
    """

    rest: torch.Tensor
    Z: torch.Tensor
    Zdot: torch.Tensor
    x: torch.Tensor
    v: torch.Tensor
    omega: torch.Tensor
    R: torch.Tensor

    def velocities(self) -> torch.Tensor:
        """Return V (B, O, 13, 3) of ``contact_solver``."""
        return velocities(self.v, self.omega, self.Zdot @ self.R.mT)


class NGFFImpulsesSettings(BaseModel):
    """An ``NGFFImpulsesSettings`` holds the settings of the model."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    dynamic_model: Literal["ngff_impulses"] = "ngff_impulses"
    hidden_dim: int = Field(64, ge=1, le=MAX_WIDTH)
    """width of the networks"""
    num_layers: int = Field(2, ge=1, le=MAX_LAYERS)
    """depth of the networks"""
    threshold: Length = 0.1
    """three cells of the simulation, metres: contacts are a fifth of that thick"""
    step_size: Annotated[float, Field(gt=0), within(1e-6, 1e3)] = 1e-2
    """longest step, seconds"""
    substeps: int = Field(8, ge=1, le=1000)
    """parts of a step in which contacts are solved and objects deform"""
    sweeps: int = Field(2, ge=1, le=1000)
    """iterations that contacts are solved with in every substep"""
    contacts: int = Field(64, ge=1, le=2**16)
    """points for every object of a scene that contacts are solved at: those that come nearest to walls and surfaces"""


class NGFFImpulses(FrameModel):
    """An ``NGFFImpulses`` is the model that the module's docstring describes."""

    settings_type = NGFFImpulsesSettings

    def __init__(self, settings: NGFFImpulsesSettings) -> None:
        super().__init__(settings)
        h, layers = settings.hidden_dim, settings.num_layers
        self.contact = nn.Sequential(mlp(6 + 2 * CONTEXT, h, layers), silent_linear(h, 4))
        self.material = nn.Sequential(mlp(CONTEXT, h, layers), silent_linear(h, 2))
        # The logit of restitution, the logarithm of friction, the logit of recovery, the logarithm of rolling friction;
        # of walls and of objects; and how they change with the logarithms of the softer one's stiffness and of speed.
        self.typical = nn.Parameter(torch.tensor([[-2.0, -1.05, 2.0, -7.6], [-2.0, -1.2, 2.0, -9.0]]))
        walls, objects = [[2.0, 0.0, 0.0, 0.0], [0.0, -0.9, 0.0, -2.0]], [[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
        self.slopes = nn.Parameter(torch.tensor([walls, objects]))
        self.viscosity = nn.Parameter(torch.tensor(1.0))  # the logarithm of nu, m^2/s

    def begin(self, scene: SceneState) -> Carry:
        """Return ``Motion`` and ``Objects``."""
        body = split_motion(scene)
        described = describe_objects(scene, body.q0)
        E = scene.materials[..., 0]
        order = spatial_order(body.q0, scene.mask)
        q, qdot, q0 = (points.gather(2, thrice(order)) for points in (body.q, body.qdot, body.q0))
        mask = scene.mask.gather(2, order)
        shares = scene.shares.gather(2, order)
        modes = elastic_modes(q0, shares)
        functions = modes.functions(q0) * mask[..., None]
        Z, Zdot = ((functions * shares[..., None]).mT @ each for each in (q - q0, qdot))
        objects = Objects(
            q0,
            surface_normals(q0, mask, _NEIGHBOURHOOD * described.spacing),
            functions,
            described.spacing,
            described.inertia,
            described.inverse_inertia,
            described.mass,
            torch.where(E.isnan(), _STIFFNESS, E).clamp_min(1.0) / described.density.clamp_min(1e-3),
            described.context,
            mask,
            thrice(order.argsort(-1)),
            *modes,
        )
        motion = Motion((q - q0 - functions @ Z) * mask[..., None], Z, Zdot, body.x, body.v, body.omega, body.R)
        return *motion, *objects

    def points(self, carry: Carry) -> torch.Tensor:
        motion, objects = _taken_apart(carry)
        q = objects.q0 + objects.functions @ motion.Z + motion.rest
        return (turn(motion.R, q) + motion.x[..., None, :]).gather(2, objects.places)

    def activation_bytes(self, scene: SceneState, frame_dt: float) -> float:
        """Estimate what backpropagation through a ``step`` keeps: numbers a point, and numbers a contact and sweep."""
        batch, objects, points = scene.mask.shape
        solving = 40 * self.settings.substeps * (1 + self.settings.sweeps)
        contacts = min(self.settings.contacts, 2 * points) * (60 * objects + solving)
        return 4.0 * substeps(frame_dt, self.settings.step_size) * batch * objects * (200 * points + contacts)

    def step(self, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float) -> Carry:
        motion, objects = _taken_apart(carry)
        count = substeps(frame_dt, self.settings.step_size)
        material = limit(self.material(objects.context).to(objects.q0), _LARGEST)
        with torch.autocast(scene.points.device.type, enabled=False):
            for _ in range(count):
                motion = self._step(scene, objects, material, motion, push, frame_dt / count)
        return *motion, *objects

    def _step(
        self, scene: SceneState, objects: Objects, material: torch.Tensor, motion: Motion, push: torch.Tensor, h: float
    ) -> Motion:
        """Return the motion after a step, in whose middle contacts are found."""
        rest, Z, Zdot, x, v, omega, R = motion
        rest = rest * (1 - min(1.0, h / _MEMORY))
        turning = transform(R.mT, omega)
        gyroscopic = torch.linalg.cross(turning, transform(objects.inertia, turning))
        # Limited, since explicit steps of it diverge where a body turns most of a revolution in a frame.
        gyroscopic = gyroscopic / (1 + (omega / _FAST_SPIN).square().sum(-1, keepdim=True))
        angular = transform(objects.inverse_inertia, transform(R.mT, push[..., 3:]) - gyroscopic)
        middle = compose(h / 2 * omega, R)
        # What gravity and pushes add in a step, m/s and rad/s.
        linear, angular = h * (push[..., :3] + scene.gravity[:, None]), h * transform(middle, angular)

        halfway = Motion(rest, Z + h / 2 * Zdot, Zdot, x + h / 2 * v, v, omega, middle)
        contacts = self._contacts(scene, objects, halfway, h)
        substep = h / self.settings.substeps
        elasticity = _elasticity(objects, material, self.viscosity, substep)
        compliance = (objects.shapes * elasticity.yields[..., None, :]) @ objects.shapes.mT
        answers = response(Bodies(middle, objects.mass, objects.inverse_inertia, compliance), contacts)
        V = halfway.velocities()
        gaps = contacts.gaps - h / 2 * answers.along_normals(V)
        untouched = halfway._replace(v=v + linear, omega=omega + angular).velocities()
        properties = self._properties(objects, contacts, answers, untouched, h)

        kick = velocities(linear, angular, torch.zeros_like(Zdot))[..., :4, :] / self.settings.substeps
        meeting = Meeting(contacts, answers, properties, elasticity, middle, kick)
        substeps_taken = Substeps(substep, self.settings.substeps, self.settings.sweeps, self._thickness)
        V, Z, moved = impulse_steps(meeting, substeps_taken, gaps, V, Z)
        v, spin, Zdot = V.split((1, 3, FUNCTIONS), -2)
        turned = compose(axis(moved[..., 1:4, :].mT), R)
        return Motion(rest, Z, Zdot @ middle, x + moved[..., 0, :], v[..., 0, :], axis(spin.mT), turned)

    @property
    def _thickness(self) -> float:
        """How thick contacts are, metres."""
        return _THICKNESS * self.settings.threshold

    def _contacts(self, scene: SceneState, objects: Objects, motion: Motion, h: float) -> Contacts:
        """Return the points that come nearest to a wall or to another object's surface in half a step of ``h`` s."""
        _, Z, Zdot, x, v, omega, R = motion
        count, points = objects.mask.shape[1:]
        arms = turn(R, objects.q0 + objects.functions @ Z + motion.rest)
        world = arms + x[..., None, :]
        gaps, normals = nearest_wall(world, scene.walls)
        surfaces = turn(R, objects.normals)
        other = surface_contact(world, surfaces, objects.mask, _REACH * objects.spacing, _RADIUS * objects.spacing)

        # Relative velocities, of other objects without their deformation.
        own_speed = v[..., None, :] + torch.linalg.cross(omega[..., None, :].expand_as(arms), arms)
        own_speed = own_speed + objects.functions @ (Zdot @ R.mT)
        their_speed = other.partner @ (v - torch.linalg.cross(omega, x))[:, None]
        their_speed = their_speed + torch.linalg.cross(other.partner @ omega[:, None], world)
        reached = gaps + h / 2 * (own_speed * normals).sum(-1)
        others_reached = other.gaps + h / 2 * ((own_speed - their_speed) * other.normals).sum(-1)
        reached = torch.stack([reached, others_reached], 1).masked_fill(~objects.mask[:, None], NO_GAP).detach()
        number = min(self.settings.contacts * count, 2 * count * points)
        chosen = reached.flatten(1).topk(number, largest=False).indices  # (B, M)

        def taken(*values: torch.Tensor) -> torch.Tensor:
            """Return values (B, M, k) out of those at walls and at other objects, or of points, (B, O, P, k) each."""
            flat = torch.cat([each.flatten(1, 2) for each in values], 1)
            rows = chosen if len(values) > 1 else chosen % (count * points)
            return flat.gather(1, rows[..., None].expand(-1, -1, flat.shape[-1]))

        number_of_point = torch.arange(count, device=v.device)
        owner = (chosen[..., None] % (count * points) // points == number_of_point).to(v)
        partner = taken(torch.zeros_like(other.partner), other.partner)
        gaps = taken(gaps.masked_fill(~objects.mask, NO_GAP)[..., None], other.gaps[..., None])[..., 0]
        place = taken(world)
        own = torch.cat([torch.ones_like(place[..., :1]), taken(arms), taken(objects.functions)], -1)
        offsets = place[:, None] - x[:, :, None]  # (B, O, M, 3)
        # Deformation is that of a point inside the partner, however far off this point is.
        inside = objects.q0.abs().amax(-2)[..., None, :]
        functions = objects.modes.functions(turn(R.mT, offsets).clamp(-inside, inside))
        theirs = torch.cat([torch.ones_like(offsets[..., :1]), offsets, functions], -1)
        other_side = torch.cat([1 - partner.sum(-1, keepdim=True), partner], -1)  # (B, M, 1 + O)
        patch = (owner[..., None] * other_side[..., None, :]).flatten(2)
        return Contacts(taken(normals, other.normals), gaps, owner, partner, own, theirs, patch)

    def _properties(
        self, objects: Objects, contacts: Contacts, answers: Response, V: torch.Tensor, h: float
    ) -> Properties:
        """Return what the contacts of every patch are like.

        Args:
            V: (B, O, 13, 3), of bodies at the end of the step of ``h`` seconds, if they did not touch.
        """
        shares = divide(contacts, h / 2 * answers.along_normals(V), self._thickness)
        u = answers.velocities(V)
        along = (u * answers.normals).sum(-1)
        batch, count = objects.mask.shape[:2]
        shape = (batch, count, 1 + count, -1)
        sliding = (u.square().sum(-1) - along.square()).clamp_min(0)
        moving = torch.stack([along, sliding, contacts.gaps.clamp(-_GAP, _GAP)], -1)
        means = contacts.patch.mT @ (shares.share[..., None] * torch.cat([moving, contacts.normals], -1))
        along, sliding, gaps, normal = means.view(shape).split((1, 1, 1, 3), -1)
        flatness = (normal.square().sum(-1, keepdim=True) + 1e-12).sqrt()
        number = objects.mask.sum(-1).clamp_min(1)[:, :, None, None]
        size = 10 * shares.total.view(shape) / number  # a tenth of the points counts as one

        is_wall = (torch.arange(1 + count, device=u.device) == 0)[:, None]
        walls = is_wall.to(u).expand(*shape[:3], 1)
        partners = torch.cat([torch.zeros_like(objects.context[:, :1]), objects.context], 1)[
            :, None
        ]  # (B, 1, 1 + O, 6)
        own = objects.context[:, :, None]
        contexts = [own.expand(-1, -1, 1 + count, -1), partners.expand(shape)]
        features = [along, (sliding + 1e-6).sqrt(), gaps / _GAP, flatness, size, walls, *contexts]
        with torch.autocast(u.device.type, enabled=False):
            outputs = self.contact(torch.cat(features, -1))
        softest = torch.where(is_wall, own[..., :1], torch.minimum(own[..., :1], partners[..., :1]))
        speed = (along.abs() + _REST_SPEED).log()
        typical = torch.where(is_wall, *self.typical)
        by_softness, by_speed = (torch.where(is_wall, *slopes) for slopes in self.slopes.unbind(1))
        outputs = limit(outputs + typical + softest * by_softness + speed * by_speed, _LARGEST).flatten(1, 2)
        restitution, friction, recovery, rolling = (contacts.patch @ outputs).unbind(-1)
        return Properties(restitution.sigmoid(), friction.exp(), recovery.sigmoid(), rolling.exp())


def _taken_apart(carry: Carry) -> tuple[Motion, Objects]:
    count = len(Motion._fields)
    return Motion(*carry[:count]), Objects(*carry[count:])


def _elasticity(objects: Objects, material: torch.Tensor, viscosity: torch.Tensor, h: float) -> Elasticity:
    """Return how objects deform in steps of ``h`` seconds.

    Args:
        material: (B, O, 2), logarithms of how much stiffer and more viscous each is than its material says.
        viscosity: the logarithm of nu.
    """
    squared = objects.squared_speed[..., None] * material[..., :1].exp() * objects.stiffness
    damping = limit(viscosity + material[..., 1:], _LARGEST).exp() * objects.stiffness
    deforms = torch.arange(MODES, device=squared.device) >= ROTATIONS
    return Elasticity(objects.shapes, deforms / (1 + h * h / 4 * squared + h * damping), squared)
