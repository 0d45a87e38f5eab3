import math

import torch

from gaussians.representation import Gaussians
from tools.viewer.picking import in_rectangle, picked_point
from tools.viewer.scene.poses import Eye


def plane(depth: float, opacity: float = 0.99) -> Gaussians:
    """Flat Gaussians all over [-1, 1]^2 at a depth along z."""
    line = torch.linspace(-1, 1, 41)
    x, y = torch.meshgrid(line, line, indexing="xy")
    means = torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), depth)], 1)
    count = len(means)
    return Gaussians(
        means=means,
        opacities=torch.full((count,), opacity),
        sh=torch.zeros(count, 1, 3),
        covariances=torch.tensor([2.5e-3, 0, 0, 2.5e-3, 0, 1e-8]).expand(count, 6).clone(),
    )


def test_a_ray_meets_the_first_surface() -> None:
    scene = Gaussians.cat([plane(3.0), plane(2.0)])
    origin, direction = torch.tensor([0.1, 0.2, 0.0]), torch.tensor([0.1, -0.05, 0.5])
    point = picked_point(scene, origin, direction)
    # Flat Gaussians give the exact depth, to their thickness of 0.1 mm.
    torch.testing.assert_close(point, torch.tensor([0.5, 0.0, 2.0]), atol=1e-3, rtol=0)


def test_a_ray_passes_what_is_faint_beside_or_behind() -> None:
    forward = torch.tensor([0.0, 0, 1])
    scene = Gaussians.cat([plane(2.0, opacity=0.005), plane(3.0)])
    torch.testing.assert_close(picked_point(scene, torch.zeros(3), forward), 3 * forward, atol=1e-3, rtol=0)
    assert picked_point(plane(2.0), torch.tensor([5.0, 0, 0]), forward) is None
    assert picked_point(plane(-2.0), torch.zeros(3), forward) is None
    assert picked_point(plane(2.0)[:0], torch.zeros(3), forward) is None


def test_a_rectangle_covers_what_it_shows() -> None:
    eye = Eye(torch.zeros(3), (1.0, 0.0, 0.0, 0.0), math.pi / 2, 1.0)
    points = torch.tensor([[0.0, 0, 1], [0.5, 0, 1], [-0.5, -0.5, 1], [0, 0, -1]])
    assert in_rectangle(points, eye, (0.4, 0.4), (0.8, 0.6)).tolist() == [True, True, False, False]
