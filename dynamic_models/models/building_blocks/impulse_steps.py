"""Take the substeps in which bodies of ``ngff_impulses`` deform and bounce off walls and each other."""

from typing import NamedTuple

import torch
import warp as wp

from dynamic_models.models.building_blocks import contact_solver as solver
from dynamic_models.models.building_blocks import impulse_kernels as kernels
from dynamic_models.models.building_blocks.contact_solver import BASIS, Contacts, Properties, Response
from dynamic_models.models.building_blocks.elastic_modes import FUNCTIONS, MODES
from gaussians.stage.warp_runtime import as_array, launch


class Elasticity(NamedTuple):
    """An ``Elasticity`` says how deformation goes on in a substep.

    Springs follow the trapezoidal rule, which keeps their energy, and viscosity the implicit Euler rule.

    Attributes:
        shapes: (B, O, 27, 27), see ``ElasticModes``.
        yields: (B, O, 27), how much of a change of rate a mode takes.
        squared: (B, O, 27), its squared angular frequency, 1/s^2.
    """

    shapes: torch.Tensor
    yields: torch.Tensor
    squared: torch.Tensor

    def change(self, Z: torch.Tensor, Zdot: torch.Tensor, h: float) -> torch.Tensor:
        """Return Zdot (B, O, 9, 3) after ``h`` seconds without impulses."""
        amplitudes, rates = (
            (self.shapes.mT @ each.flatten(-2)[..., None])[..., 0] for each in (Z + h / 2 * Zdot, Zdot)
        )
        rates = self.yields * ((1 + h * h / 4 * self.squared) * rates - h * self.squared * amplitudes)
        return (self.shapes @ rates[..., None])[..., 0].unflatten(-1, (FUNCTIONS, 3))


class Meeting(NamedTuple):
    """A ``Meeting`` is all that stays in a step of what touches and how.

    Attributes:
        contacts, answers, properties, elasticity: see there.
        R: (B, O, 3, 3), body to world.
        kick: (B, O, 4, 3), what gravity and pushes change of the first rows of V in a substep.
    """

    contacts: Contacts
    answers: Response
    properties: Properties
    elasticity: Elasticity
    R: torch.Tensor
    kick: torch.Tensor


class Substeps(NamedTuple):
    """A ``Substeps`` says how a step is taken.

    Attributes:
        h: seconds of a substep.
        number: how many there are.
        sweeps: iterations that contacts are solved with, see ``solve``.
        thickness: of contacts, metres, see ``divide``.
    """

    h: float
    number: int
    sweeps: int
    thickness: float


def impulse_steps(
    meeting: Meeting, substeps: Substeps, gaps: torch.Tensor, V: torch.Tensor, Z: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return V and Z after the substeps, and how far V moved everything, (B, O, 13, 3).

    Args:
        gaps: (B, M), metres, at the start.
        V: (B, O, 13, 3), see ``contact_solver``.
        Z: (B, O, 9, 3), amplitudes of deformation, body axes, metres.
    """
    if torch.is_grad_enabled() or V.dtype != torch.float32:
        return differentiable_steps(meeting, substeps, gaps, V, Z)
    contacts, answers = meeting.contacts, meeting.answers
    tensors = [
        *(contacts.owner, contacts.partner, contacts.own, contacts.theirs),
        *(answers.normals, answers.along, answers.across, answers.turning, answers.bodies),
        torch.stack([*meeting.properties]),
        *meeting.elasticity,
        *(meeting.R, meeting.kick),
    ]
    moved = fused_steps(tensors, list(map(float, substeps)), gaps, V, Z)
    return moved[0], moved[1], moved[2]


def differentiable_steps(
    meeting: Meeting, substeps: Substeps, gaps: torch.Tensor, V: torch.Tensor, Z: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Do what ``impulse_steps`` does, with gradients."""
    contacts, answers, properties, elasticity, R, kick = meeting
    h = substeps.h
    moved = torch.zeros_like(V)
    for _ in range(substeps.number):
        before = V
        gaps = gaps + h / 2 * answers.along_normals(before)
        rates = elasticity.change(Z, before[..., 4:, :] @ R, h)
        V = torch.cat([before[..., :4, :] + kick, rates @ R.mT], -2)
        contacts = contacts._replace(gaps=gaps)
        shares = solver.divide(contacts, h / 2 * answers.along_normals(V), substeps.thickness)
        V = solver.solve(answers, contacts, shares, properties, before, V, h, substeps.sweeps)
        gaps = gaps + h / 2 * answers.along_normals(V)
        drift = h / 2 * (before + V)
        Z, moved = Z + drift[..., 4:, :] @ R, moved + drift
    return V, Z, moved


@torch.library.custom_op("dynamic_models::impulse_steps", mutates_args=())
def fused_steps(
    tensors: list[torch.Tensor], substeps: list[float], gaps: torch.Tensor, V: torch.Tensor, Z: torch.Tensor
) -> list[torch.Tensor]:
    """Compute what ``impulse_steps`` returns in one kernel, in float32 and without gradients.

    Args:
        tensors: those of ``Meeting``, as ``impulse_steps`` lists them.
        substeps: the numbers of ``Substeps``.
    """
    owner, partner, own, theirs, normals, along, across, turning, bodies, alike, shapes, yields, squared, R, kick = (
        tensors
    )
    batch, count = V.shape[:2]
    touching_points = gaps.shape[1]
    constants = kernels.Constants()
    constants.h, constants.substeps, constants.sweeps = substeps[0], int(substeps[1]), int(substeps[2])
    constants.thickness, constants.fuzz = substeps[3], solver.FUZZ
    constants.softness, constants.over_relaxed = solver.SOFTNESS, solver.OVER_RELAXED
    constants.slow, constants.fastest_parting = solver.SLOW, solver.FASTEST_PARTING

    touching = kernels.Touching()
    has_partner = partner.sum(-1) > 0
    touching.owner = as_array(owner.argmax(-1).int(), wp.int32)
    touching.partner = as_array(partner.argmax(-1).int().masked_fill(~has_partner, -1), wp.int32)
    touching.own = as_array(own, wp.float32)
    touching.theirs = as_array((partner.mT[..., None] * theirs).sum(1), wp.float32)
    touching.normals = as_array(normals, wp.vec3)
    touching.along, touching.across, touching.turning = (as_array(e, wp.float32) for e in (along, across, turning))

    described = kernels.Alike()
    for name, values in zip(Properties._fields, alike, strict=True):
        setattr(described, name, as_array(values, wp.float32))

    deforming = kernels.Deforming()
    deforming.R, deforming.kick = as_array(R, wp.mat33), as_array(kick, wp.vec3)
    deforming.shapes, deforming.yields, deforming.squared, deforming.answers = (
        as_array(each, wp.float32) for each in (shapes, yields, squared, bodies)
    )

    def room(*shape: int, dtype: type = wp.float32) -> wp.array:
        """Return memory (B, *shape) of numbers or vectors."""
        three = (3,) if dtype is wp.vec3 else ()
        return as_array(torch.empty(batch, *shape, *three, device=V.device), dtype)

    scratch = kernels.Scratch()
    scratch.before, scratch.got = room(count, BASIS, dtype=wp.vec3), room(count, BASIS, dtype=wp.vec3)
    scratch.rates, scratch.modal = room(count, FUNCTIONS, dtype=wp.vec3), room(count, MODES)
    for name in ("total", "lowest"):
        setattr(scratch, name, room(count * (1 + count)))
    for name in ("earlier", "lift", "bound", "lacking", "rate", "yielding", "pressing"):
        setattr(scratch, name, room(touching_points))
    scratch.rubbing, scratch.twisting = room(touching_points, dtype=wp.vec3), room(touching_points, dtype=wp.vec3)

    threads = kernels.BLOCK if V.is_cuda else 1
    gaps, V, Z = (each.clone(memory_format=torch.contiguous_format) for each in (gaps, V, Z))
    moved = torch.zeros_like(V)
    arrays = [as_array(gaps, wp.float32), *(as_array(each, wp.vec3) for each in (V, Z, moved))]
    arguments = [constants, touching, described, deforming, scratch, threads, *arrays]
    launch(kernels.take_substeps, (batch, threads), arguments, V.device)
    return [V, Z, moved]


@fused_steps.register_fake
def _moved(_tensors: object, _substeps: object, _gaps: object, V: torch.Tensor, Z: torch.Tensor) -> list[torch.Tensor]:
    return [torch.empty_like(V), torch.empty_like(Z), torch.empty_like(V)]
