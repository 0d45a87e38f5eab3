"""Solve for the impulses at points where elastic bodies touch walls or each other.

The velocity of a body's matter at r is basis . V with the basis (1, r, f) and V = (v, [omega]^T, Zdot), thirteen rows
of three numbers: of the centre, of the rotation, and of the nine functions of ``elastic_modes``. So an impulse at any
place changes V by response . sum of basis (x) impulse, and all contacts of a scene are one linear system.
"""

from typing import NamedTuple

import torch

from dynamic_models.models.building_blocks.body_frame import turn
from dynamic_models.models.building_blocks.elastic_modes import FUNCTIONS

BASIS = 4 + FUNCTIONS
OVER_RELAXED = 1.5  # bounds of the iteration are bounds: it converges with larger steps, and at 2.5 no more
SOFTNESS = 0.2  # how much a point yields, relative to all of its patch, so that points of a patch share its impulse
SLOW = 0.1  # m/s: slower contacts do not bounce
FASTEST_PARTING = 1.0  # m/s
FUZZ = 2e-3  # metres over which patches come into touch


class Bodies(NamedTuple):
    """A ``Bodies`` says how B scenes' objects answer to impulses.

    Attributes:
        R: (B, O, 3, 3), body to world.
        mass: (B, O), kg.
        inverse_inertia: (B, O, 3, 3), inverse inertia tensor times mass, body axes, 1/m^2.
        compliance: (B, O, 27, 27), change of Zdot, in the body's axes, by f (x) impulse over mass.
    """

    R: torch.Tensor
    mass: torch.Tensor
    inverse_inertia: torch.Tensor
    compliance: torch.Tensor


class Contacts(NamedTuple):
    """A ``Contacts`` holds M points of every scene that may touch something.

    A patch is all points of one object at one partner: a wall (0) or object j (1 + j).

    Attributes:
        normals: (B, M, 3), out of the partner.
        gaps: (B, M), metres.
        owner, partner: (B, M, O), 1 for the object that the point belongs to, and for the one that it may touch.
        own: (B, M, 13), basis at the point, of its object.
        theirs: (B, O, M, 13), of every object as if the point belonged to it.
        patch: (B, M, O (1 + O)), 1 for the patch of the point.
    """

    normals: torch.Tensor
    gaps: torch.Tensor
    owner: torch.Tensor
    partner: torch.Tensor
    own: torch.Tensor
    theirs: torch.Tensor
    patch: torch.Tensor


class Response(NamedTuple):
    """A ``Response`` says how velocities at M contacts answer to impulses there, as long as nothing moves much.

    Attributes:
        basis: (B, M, O 13), times all objects' V it is the velocity relative to the partner.
        normals: (B, M, 3), out of the partner.
        between: (B, M, O), 1 for the owner, -1 for the partner.
        bodies: (B, O, 39, 39), changes of V by sums of basis (x) impulse, both flattened.
        along, across: (B, M), bounds of what impulses along and across the normal feel, 1/kg.
        turning: (B, M), that of torques, 1/(kg m^2).
    """

    basis: torch.Tensor
    normals: torch.Tensor
    between: torch.Tensor
    bodies: torch.Tensor
    along: torch.Tensor
    across: torch.Tensor
    turning: torch.Tensor

    def velocities(self, V: torch.Tensor) -> torch.Tensor:
        """Return velocities (B, M, 3) relative to the partner."""
        return self.basis @ V.flatten(1, 2)

    def along_normals(self, V: torch.Tensor) -> torch.Tensor:
        """Return how fast points come off their partner, (B, M)."""
        return (self.velocities(V) * self.normals).sum(-1)


class Shares(NamedTuple):
    """A ``Shares`` says how the impulse of a patch is divided between its points, in all 1.

    Attributes:
        share: (B, M), part of its patch's impulse that a point takes.
        gaps: (B, M), metres: of points that are in touch, that of the lowest one of the patch.
        total: (B, O (1 + O)), how many points of each patch are in touch, 0 for patches that are not.
    """

    share: torch.Tensor
    gaps: torch.Tensor
    total: torch.Tensor


class Properties(NamedTuple):
    """A ``Properties`` holds what contacts are like, (B, M) each.

    Attributes:
        restitution: 0 to 1.
        friction: Coulomb's coefficient.
        recovery: part of an overlap that is undone in a step.
        rolling: lever arm of rolling friction, metres.
    """

    restitution: torch.Tensor
    friction: torch.Tensor
    recovery: torch.Tensor
    rolling: torch.Tensor


def velocities(v: torch.Tensor, omega: torch.Tensor, rates: torch.Tensor) -> torch.Tensor:
    """Return V, (B, O, 13, 3), of v and omega (B, O, 3) and Zdot (B, O, 9, 3) in world axes."""
    return torch.cat([v[..., None, :], cross_matrix(omega).mT, rates], -2)


def divide(contacts: Contacts, approach: torch.Tensor, thickness: float) -> Shares:
    """Divide the impulse of each patch between its points.

    Patches touch whose lowest point would be inside at the end of a step, and with it what is less than ``thickness``
    above that, in linear proportion: a body that is made of points has no smoother surface.

    Args:
        approach: (B, M), metres that points rise in the rest of the step.
        thickness: metres.
    """
    expected = (contacts.gaps + approach).detach()
    lowest = torch.where(contacts.patch > 0, expected[..., None], 1.0).amin(1)
    lowest = (contacts.patch @ lowest[..., None])[..., 0]
    lift = (expected - lowest).clamp(0, thickness)
    active = (0.5 - lowest / FUZZ).clamp(0, 1) * (1 - lift / thickness)
    total = (active[:, None] @ contacts.patch)[:, 0]
    share = active / (contacts.patch @ total[..., None]).clamp_min(1e-9)[..., 0]
    return Shares(share, contacts.gaps - lift, total)


def response(bodies: Bodies, contacts: Contacts) -> Response:
    """Return how velocities at contacts answer to impulses."""
    owned, partnered = contacts.owner.mT[..., None], contacts.partner.mT[..., None]
    basis = (owned * contacts.own[:, None] - partnered * contacts.theirs).movedim(1, 2).flatten(2)
    inverse = inverse_masses(bodies, contacts)
    return Response(basis, contacts.normals, contacts.owner - contacts.partner, _of_bodies(bodies), *inverse)


def solve(
    response: Response,
    contacts: Contacts,
    shares: Shares,
    properties: Properties,
    before: torch.Tensor,
    V: torch.Tensor,
    h: float,
    sweeps: int,
) -> torch.Tensor:
    """Return V (B, O, 13, 3) after the impulses of a step.

    They are found by projected Jacobi iterations. The step of one is that of a single patch, divided by the number of
    patches that touch the bodies. A patch alone gets what it needs; points of a patch share that.

    Args:
        before: (B, O, 13, 3), V at the start of the step.
        V: at its end without contacts.
        h: seconds that the step takes; the gaps of ``contacts`` are those in its middle.
        sweeps: number of iterations.
    """
    basis, normals, between = response.basis, response.normals, response.between
    batch, _, count = between.shape

    # How fast surfaces have to come off. The work of an impulse is that of the mean velocity of the step: surfaces that
    # come off no faster than they met, and ones that went apart and may come back as fast, gain no energy.
    free, earlier = response.along_normals(V), response.along_normals(before)
    met = torch.minimum(-earlier, -free).clamp_min(0)
    bounce = properties.restitution * met * met.square() / (met.square() + SLOW**2)
    parting = (-properties.recovery * shares.gaps / h).clamp(0, FASTEST_PARTING)
    bound = parting - torch.maximum(2 * shares.gaps / h, earlier).clamp_min(0)
    closing = (shares.gaps + h / 2 * free < 0) & (free < 0)
    bound = torch.where(closing, torch.maximum(bound, bounce), bound)
    lacking = (bound - free) * (shares.share > 0)

    touched = (shares.total > 0).to(V).view(batch, count, 1 + count)
    number = touched.sum(-1) + touched[..., 1:].sum(1)  # of patches on a body: its own, and those of others
    crowd = torch.maximum((contacts.owner * number[:, None]).amax(-1), (contacts.partner * number[:, None]).amax(-1))
    along, across, turning = response.along, response.across, response.turning
    rate = OVER_RELAXED * shares.share / crowd.clamp_min(1)
    yields = (shares.share / along).clamp_min(1e-9) / SOFTNESS
    along, across, turning = rate / along / (1 + SOFTNESS), rate / across, rate / turning

    pressing, rubbing, twisting = torch.zeros_like(free), torch.zeros_like(normals), torch.zeros_like(normals)
    for _ in range(sweeps):
        u = response.velocities(V)
        normal = (u * normals).sum(-1)
        pressed = (pressing + along * (bound - normal + SOFTNESS * lacking - pressing / yields)).clamp_min(0)
        rubbed = rubbing - across[..., None] * (u - normal[..., None] * normals)
        rubbed = _limited(rubbed, properties.friction * pressed)
        twisted = twisting - turning[..., None] * (between @ axis(V[..., 1:4, :].mT))
        twisted = _limited(twisted, properties.rolling * pressed)
        got = (basis.mT @ ((pressed - pressing)[..., None] * normals + rubbed - rubbing)).view(batch, count, BASIS, 3)
        torque = cross_matrix(between.mT @ (twisted - twisting)).mT / 2
        got = torch.cat([got[..., :1, :], got[..., 1:4, :] + torque, got[..., 4:, :]], -2)
        V = V + (response.bodies @ got.flatten(-2)[..., None]).view(batch, count, BASIS, 3)
        pressing, rubbing, twisting = pressed, rubbed, twisted
    return V


def inverse_masses(bodies: Bodies, contacts: Contacts) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return bounds of what impulses along and across the normal, 1/kg, and torques, 1/(kg m^2), feel, (B, M) each."""
    basis = torch.cat([contacts.own[:, None].expand_as(contacts.theirs), contacts.theirs], 2)
    sides = torch.cat([contacts.owner, contacts.partner], 1).mT  # (B, O, 2 M)
    normals = contacts.normals.repeat(1, 2, 1)[:, None].expand(-1, basis.shape[1], -1, -1)
    n, arms, functions = turn(bodies.R.mT, normals), turn(bodies.R.mT, basis[..., 1:4]), basis[..., 4:]
    lever = torch.linalg.cross(arms, n)
    trace = bodies.inverse_inertia.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None]
    turning = (lever * turn(bodies.inverse_inertia, lever)).sum(-1)
    turning_all = arms.square().sum(-1) * trace - (arms * turn(bodies.inverse_inertia, arms)).sum(-1)
    modes = (functions[..., :, None] * n[..., None, :]).flatten(-2)
    bending = (modes * (modes @ bodies.compliance)).sum(-1)
    summed = bodies.compliance.unflatten(-1, (FUNCTIONS, 3)).unflatten(-3, (FUNCTIONS, 3))
    bending_all = (functions * (functions @ summed.diagonal(dim1=-3, dim2=-1).sum(-1))).sum(-1)
    along, everything = 1 + turning + bending, 3 + turning_all + bending_all
    parts = torch.stack([along, everything - along, trace.expand_as(along)]) / bodies.mass[..., None]
    found = (parts * sides).sum(2).unflatten(2, (2, -1)).sum(2).clamp_min(1e-9)
    return found[0], found[1], found[2]


def _of_bodies(bodies: Bodies) -> torch.Tensor:
    """Return (B, O, 39, 39), changes of V by sums of basis (x) impulse, both flattened."""
    R, mass = bodies.R, bodies.mass
    epsilon = cross_matrix(torch.eye(3, dtype=R.dtype, device=R.device)).mT  # epsilon_fac
    inverse = R @ bodies.inverse_inertia @ R.mT
    # torque_e = epsilon_eij r_i J_j, and [omega]^T_ac = epsilon_fac omega_f
    turning = torch.einsum("fac,boef,eij->boacij", epsilon, inverse, epsilon).flatten(4).flatten(2, 3)
    bending = bodies.compliance.unflatten(-1, (FUNCTIONS, 3)).unflatten(-3, (FUNCTIONS, 3))
    bending = torch.einsum("boac,bokcld,bomd->bokalm", R, bending, R).flatten(4).flatten(2, 3)
    whole = torch.zeros(*mass.shape, 3 * BASIS, 3 * BASIS, dtype=R.dtype, device=R.device)
    whole[..., :3, :3] = torch.eye(3, dtype=R.dtype, device=R.device)
    whole[..., 3:12, 3:12] = turning
    whole[..., 12:, 12:] = bending
    return whole / mass[..., None, None]


def _limited(vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return vectors (..., 3) of which none is longer than ``lengths`` (...)."""
    size = (vectors.square().sum(-1) + 1e-20).sqrt()
    return vectors * (lengths / size).clamp_max(1)[..., None]


def cross_matrix(vectors: torch.Tensor) -> torch.Tensor:
    """Return [a] (..., 3, 3) with [a] b = a x b."""
    x, y, z = vectors.unbind(-1)
    none = torch.zeros_like(x)
    rows = [none, -z, y], [z, none, -x], [-y, x, none]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def axis(matrices: torch.Tensor) -> torch.Tensor:
    """Return the vectors (..., 3) of cross matrices (..., 3, 3)."""
    return torch.stack([matrices[..., 2, 1], matrices[..., 0, 2], matrices[..., 1, 0]], -1)
