"""Describe objects to networks: how heavy, how large and of what they are."""

from typing import NamedTuple

import torch

from dynamic_models.data.scene_state import SceneState
from dynamic_models.models.building_blocks.body_frame import inertia_over_mass

CONTEXT = 6
"""The numbers that describe an object to networks."""
_DENSITY = 500.0  # kg/m^3, assumed for objects that nothing is known of
_SAMPLED = 64  # points that a body's spacing is measured at


class DescribedObjects(NamedTuple):
    """A ``DescribedObjects`` says what B scenes' objects are like.

    Attributes:
        inertia: (B, O, 3, 3), inertia tensor over mass in the body's axes, m^2.
        inverse_inertia: (B, O, 3, 3), its inverse, 1/m^2.
        spacing: (B, O), mean distance of neighbouring points, metres.
        number: (B, O), number of points, 1 for objects without any.
        density: (B, O), kg/m^3, a typical one where it is unknown.
        mass: (B, O), kg, from that density where it is unknown.
        context: (B, O, 6), numbers of order one for networks: stiffness, density, mass, size, shape and spacing.
    """

    inertia: torch.Tensor
    inverse_inertia: torch.Tensor
    spacing: torch.Tensor
    number: torch.Tensor
    density: torch.Tensor
    mass: torch.Tensor
    context: torch.Tensor


def describe_objects(scene: SceneState, q0: torch.Tensor) -> DescribedObjects:
    """Describe the objects of a scene.

    Args:
        q0: (B, O, P, 3), their undeformed points in the body's axes, metres.
    """
    inertia = inertia_over_mass(q0, scene.shares)
    spacing = _spacing(q0, scene.mask)
    count = scene.mask.sum(-1).clamp_min(1)
    E, _, density, mass = scene.materials.unbind(-1)
    known = torch.where(density.isnan(), _DENSITY, density)
    mass = torch.where(mass.isnan(), known * count * spacing**3, mass).clamp_min(1e-6)
    radii = inertia.diagonal(dim1=-2, dim2=-1).clamp_min(1e-12).sqrt()  # of gyration
    context = [(E.log10() - 5) / 1.5, (density.log10() - 2.7) / 0.5, (mass.log10() - 1) / 1.0]
    context += [((radii / 0.15).log().mean(-1)), (radii.amin(-1) / radii.amax(-1).clamp_min(1e-6)), spacing / 0.03]
    described = torch.stack(context, -1).nan_to_num(0.0, 0.0, 0.0).to(q0)
    inverse = torch.linalg.inv_ex(inertia).inverse  # never singular; ``inv`` would wait for the device to check that
    return DescribedObjects(inertia, inverse, spacing, count, known, mass, described)


def thrice(rows: torch.Tensor) -> torch.Tensor:
    """Repeat indices (B, O, P) for three coordinates, (B, O, P, 3), as ``gather`` takes them."""
    return rows[..., None].expand(*rows.shape, 3)


def _spacing(points: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean distance (B, O) of some of an object's points to the nearest other one, metres."""
    some = points[..., :_SAMPLED, :]
    squared = (some[..., :, None, :] - points[..., None, :, :]).square().sum(-1)
    itself = torch.eye(some.shape[-2], points.shape[-2], dtype=torch.bool, device=points.device)
    nearest = squared.masked_fill(itself | ~mask[..., None, :], torch.inf).amin(-1).sqrt()
    counted = mask[..., :_SAMPLED] & nearest.isfinite()
    return (nearest.masked_fill(~counted, 0).sum(-1) / counted.sum(-1).clamp_min(1)).clamp_min(1e-4)
