"""Backgrounds without floaters and holes."""

import torch

from gaussians.cameras import Orbit
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from videogen.reconstruction.completion.background import clean_background, close_ground

FLOOR = -0.9
CAMERAS = Orbit((0.0, 0.0, -0.7), azimuth=0.0, elevation=30.0, radius=2.5).cameras(range(0, 100, 12), 64)


def cloud(means: torch.Tensor, color: tuple[float, float, float], width: float, label: int = -1) -> Gaussians:
    return Gaussians(
        means=means,
        opacities=torch.full((len(means),), 0.95),
        sh=rgb_to_sh(torch.tensor(color)).repeat(len(means), 1, 1),
        scales=torch.full((len(means), 3), width),
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(len(means), 1),
        labels=torch.full((len(means),), label, dtype=torch.int32),
    )


def floor_with_hole(radius: float) -> Gaussians:
    axis = torch.linspace(-1.2, 1.2, 70)
    points = torch.cartesian_prod(axis, axis, torch.tensor([FLOOR]))
    return cloud(points[points[:, :2].norm(dim=1) > radius], (0.6, 0.3, 0.1), 0.02)


def ball(center: tuple[float, float, float], radius: float, count: int) -> torch.Tensor:
    directions = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    return torch.tensor(center) + radius * torch.nn.functional.normalize(directions, dim=1)


def test_floaters_go_and_the_hole_under_an_object_is_closed() -> None:
    floor = floor_with_hole(0.15)
    thing = cloud(ball((0, 0, FLOOR + 0.2), 0.2, 1500), (0.1, 0.2, 0.8), 0.012, 0)
    halo = cloud(ball((0, 0, FLOOR + 0.5), 0.03, 12), (0.9, 0.9, 0.9), 0.01)
    unseen = cloud(torch.tensor([[0.0, 0.0, FLOOR + 0.2], [0.0, 0.05, FLOOR + 0.25]]), (1, 0, 0), 0.02)
    background, counts = clean_background(Gaussians.cat([floor, thing, halo, unseen]), CAMERAS, FLOOR)
    assert counts["removed"] == len(halo) + len(unseen)
    assert len(background) == len(floor) + counts["added"]
    added = background[len(floor) :]
    assert added.means[:, :2].norm(dim=1).max() < 0.2
    assert torch.allclose(added.means[:, 2], torch.tensor(FLOOR), atol=1e-3)
    drawn = rasterize(background, Orbit((0.0, 0.0, FLOOR), 0.0, 80.0, 1.0).cameras([0], 32))
    middle = drawn.rgb[0, 12:20, 12:20].reshape(-1, 3)
    assert (middle - torch.tensor([0.6, 0.3, 0.1])).abs().max() < 0.1


def test_what_lies_at_the_edge_of_the_ground_is_no_hole() -> None:
    floor = floor_with_hole(0.0)
    half = floor[floor.means[:, 0] > 0]
    assert close_ground(half, ball((0, 0, FLOOR + 0.2), 0.2, 200), FLOOR) is None
    assert close_ground(floor, ball((0, 0, FLOOR + 0.2), 0.2, 200), FLOOR) is None
    assert close_ground(floor, torch.zeros(0, 3), FLOOR) is None
