"""Depths of cubes, shells and bowls inside each other, which are known."""

import math

import pytest
import torch

from dynamic_models.evaluation.penetration import Interior, penetration_depths
from gaussians.rotations import axis_rotation

SIDE, SPACING = 0.4, 0.02


def cube() -> torch.Tensor:
    """(9261, 3), a lattice with its centre at the origin."""
    line = torch.linspace(-SIDE / 2, SIDE / 2, round(SIDE / SPACING) + 1, dtype=torch.float64)
    return torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)


def shell() -> torch.Tensor:
    points = cube()
    return points[points.abs().amax(1) > SIDE / 2 - 1e-6]


def sphere(radius: float, count: int) -> torch.Tensor:
    """Points on a sphere on a Fibonacci lattice."""
    k = torch.arange(count, dtype=torch.float64) + 0.5
    z, angle = 1 - 2 * k / count, k * math.pi * (3 - math.sqrt(5))
    across = (1 - z * z).sqrt()
    return radius * torch.stack([across * angle.cos(), across * angle.sin(), z], -1)


def depth(a: torch.Tensor, b: torch.Tensor, shapes: tuple[torch.Tensor, torch.Tensor]) -> tuple[float, float]:
    """Depths in frame 0, where the objects are ``shapes``, and in frame 1, where they are at ``a`` and ``b``."""
    count = max(len(a), len(b))
    positions = torch.full((2, 2, count, 3), 9.0, dtype=torch.float64)  # what does not exist must not matter
    mask = torch.zeros(2, count, dtype=torch.bool)
    for i, (start, end) in enumerate(zip(shapes, (a, b), strict=True)):
        positions[0, i, : len(start)], positions[1, i, : len(end)] = start, end
        mask[i, : len(start)] = True
    before, after = penetration_depths(positions, mask, [Interior(points) for points in shapes]).tolist()
    return before, after


@pytest.mark.parametrize("make", [cube, shell])
@pytest.mark.parametrize("overlap", [0.0, 0.05, 0.1])
def test_cubes_that_overlap(make, overlap: float) -> None:  # type: ignore[no-untyped-def]
    """Whether a cube is full or hollow, its face is as deep in the other as they overlap."""
    start = make(), make() + torch.tensor([1.0, 0.0, 0.0])
    before, after = depth(start[0], make() + torch.tensor([SIDE - overlap, 0.0, 0.0]), start)
    assert before == 0
    assert after == pytest.approx(overlap, abs=Interior(make()).resolution / 2)


def test_depth_goes_with_the_object() -> None:
    """A cube that has turned and moved is as deep in another that has turned and moved."""
    start = shell(), shell() + torch.tensor([1.0, 0.0, 0.0])
    rotation = axis_rotation(1, 30).double() @ axis_rotation(2, 70).double()
    shift = torch.tensor([0.3, -0.2, 0.5])
    a, b = (points @ rotation.T + shift for points in (shell(), shell() + torch.tensor([SIDE - 0.1, 0.0, 0.0])))
    assert depth(a, b, start)[1] == pytest.approx(0.1, abs=Interior(shell()).resolution / 2)


def test_one_inside_the_other() -> None:
    """Of a small sphere in the middle of a large one, every point is as deep as the radii differ."""
    large, small = sphere(0.5, 4000), sphere(0.2, 1000)
    start = large, small + torch.tensor([0.0, 0.0, 2.0])
    assert depth(large, small, start)[1] == pytest.approx(0.3, abs=Interior(large).resolution / 2)


def test_a_bowl_has_no_inside_above_it() -> None:
    bowl = sphere(0.5, 6000)
    bowl = bowl[bowl[:, 2] < 0]
    ball = sphere(0.2, 1000)
    start = bowl, ball + torch.tensor([0.0, 0.0, 2.0])
    assert depth(bowl, ball + torch.tensor([0.0, 0.0, -0.15]), start)[1] == 0


def test_a_slab_that_was_bent_is_looked_into_where_it_is_now() -> None:
    """Half of a slab, 0.1 thick, is folded up by 90 degrees; a point halfway into the folded half is 0.05 deep, and one
    where that half was before is outside."""
    x, y, z = torch.meshgrid(
        torch.linspace(-1, 1, 81), torch.linspace(-0.3, 0.3, 25), torch.arange(3) * 0.05, indexing="ij"
    )
    slab = torch.stack([x, y, z], -1).reshape(-1, 3).double()
    folded = slab.clone()
    half = slab[:, 0] > 0
    folded[half] = torch.stack([-slab[half, 2], slab[half, 1], slab[half, 0]], -1)
    far = torch.tensor([[0.0, 5.0, 0.0]], dtype=torch.float64)
    for place, expected in (((-0.05, 0.0, 0.7), 0.05), ((0.7, 0.0, 0.05), 0.0)):
        point = torch.tensor([place], dtype=torch.float64)
        found = depth(folded, point, (slab, far))[1]
        # The fit turns the whole slab by some 45 degrees, which a nearest keypoint 0.025 away takes part in.
        assert found == pytest.approx(expected, abs=0.02)


def test_single_points_have_no_inside() -> None:
    positions = torch.zeros(3, 2, 1, 3, dtype=torch.float64)
    mask = torch.ones(2, 1, dtype=torch.bool)
    assert penetration_depths(positions, mask, [Interior(positions[0, i]) for i in range(2)]).tolist() == [0, 0, 0]
