"""Surfaces of points, against bodies whose surfaces are known."""

import torch

from dynamic_models.contact.surfaces import NO_GAP, surface_contact, surface_normals
from dynamic_models.data.farthest_points import farthest_point_sampling


def ball(count: int, radius: float = 0.2) -> torch.Tensor:
    """Keypoints (count, 3) of a solid ball, metres."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(8000, 3, generator=generator)
    distances = radius * torch.rand(8000, 1, generator=generator) ** (1 / 3)
    points = directions / directions.norm(dim=-1, keepdim=True) * distances
    return points[farthest_point_sampling(points, count)]


def test_normals_of_a_ball_point_outwards_at_its_surface_and_fade_inside() -> None:
    points = ball(500)[None, None]
    normals = surface_normals(points, torch.ones(1, 1, points.shape[2], dtype=torch.bool), torch.full((1, 1), 0.07))
    distance = points.norm(dim=-1)
    outer = distance > 0.195
    length = normals.norm(dim=-1)
    outward = (normals * points).sum(-1) / (distance * length).clamp_min(1e-9)
    assert outward[outer].mean() > 0.93  # points are 4 cm apart, and do not lie evenly
    assert length[outer].mean() > 0.5
    assert length[distance < 0.11].mean() < 0.2


def test_heights_over_a_ball_are_distances_from_its_surface() -> None:
    points = ball(500)
    mask = torch.ones(1, 2, len(points), dtype=torch.bool)
    radii = torch.full((1, 2), 0.055)
    probes = torch.randn(len(points), 3, generator=torch.Generator().manual_seed(0))
    heights = torch.linspace(-0.03, 0.03, len(points))
    probes = probes / probes.norm(dim=-1, keepdim=True) * (0.2 + heights)[:, None]
    world = torch.stack([points, probes])[None]
    normals = torch.cat([surface_normals(world[:, :1], mask[:, :1], torch.full((1, 1), 0.07)), 0 * world[:, 1:]], 1)
    found = surface_contact(world, normals, mask, radii, torch.full((1, 2), 0.015))
    # Points are 4 cm apart, and those just below the surface count as well: it lies some millimetres too deep.
    assert (found.gaps[0, 1] - heights)[heights.abs() < 0.01].abs().mean() < 0.008
    assert (found.gaps[0, 1] - heights).abs().mean() < 0.008
    outward = (found.normals[0, 1] * probes).sum(-1) / probes.norm(dim=-1)
    assert outward.mean() > 0.95
    assert (found.partner[0, 1] == torch.tensor([1.0, 0.0])).all()


def test_points_far_from_every_surface_have_no_partner() -> None:
    points = ball(100)
    world = torch.stack([points, points + 5])[None]
    mask = torch.ones(1, 2, len(points), dtype=torch.bool)
    found = surface_contact(world, 0 * world, mask, torch.full((1, 2), 0.1), torch.full((1, 2), 0.02))
    assert (found.gaps == NO_GAP).all()
    assert found.partner.abs().sum() == 0
