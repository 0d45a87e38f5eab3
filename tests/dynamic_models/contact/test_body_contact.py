"""Contact against PyTorch that looks at all pairs."""

import pytest
import torch

from dynamic_models.contact.body_contact import (
    body_contact,
    nearest_squared,
    pair_contact,
    spatial_order,
    wall_contact,
)

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def random_points() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    world = torch.rand(2, 4, 30, 3, generator=generator) * 0.4
    world += torch.rand(2, 4, 1, 3, generator=generator)
    mask = torch.rand(2, 4, 30, generator=generator) < 0.7
    mask[:, :, 0] = True
    mask[1, 3] = False
    return world, mask


def test_pairs_agree_with_brute_force() -> None:
    world, mask = random_points()
    threshold = 0.1
    found = pair_contact(world.double(), mask, threshold)
    for b in range(2):
        for i in range(4):
            for j in range(4):
                distances = torch.cdist(world[b, i].double(), world[b, j].double())
                distances = distances.masked_fill(~(mask[b, i][:, None] & mask[b, j]), torch.inf)
                if i == j:
                    distances[:] = torch.inf
                assert torch.equal(found.points[b, i, j], (distances < threshold).any(-1))
                assert found.touching[b, i, j] == (distances < threshold).any()
                if found.touching[b, i, j]:
                    torch.testing.assert_close(found.gaps[b, i, j], distances.amin(), rtol=1e-9, atol=1e-12)
    assert 0 < int(found.touching.sum()) < 2 * 4 * 3  # the scene has both


def test_pair_gap_has_the_gradient_of_the_smallest_distance() -> None:
    world, mask = random_points()
    world = world.double().requires_grad_()
    found = pair_contact(world, mask, 0.1)
    (gradient,) = torch.autograd.grad(found.gaps[found.touching].sum(), world)
    expected = torch.zeros_like(world)
    for b, i, j in found.touching.nonzero().tolist():
        a, c = world[b, i][mask[b, i]], world[b, j][mask[b, j]]
        # cdist would square and lose digits: take the distances by differences.
        smallest = (a[:, None] - c[None]).norm(dim=-1).amin()
        expected += torch.autograd.grad(smallest, world)[0]
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


def test_walls_by_hand() -> None:
    world = torch.tensor([[[[1.9, 0.0, 0.0], [0.0, -1.0, -0.9]], [[0.0, 0.0, 0.5], [9.0, 9.0, -9.0]]]])
    mask = torch.tensor([[[True, True], [True, False]]])
    walls = torch.tensor([[-1.94, 1.94, -1.94, 1.94, -0.94]])
    found = wall_contact(world, mask, walls, 0.05)
    expected = torch.tensor([[[1.94, 0.04, 0.94, 1.94, 0.04], [1.94, 1.94, 1.94, 1.94, 1.44]]])
    torch.testing.assert_close(found.gaps, expected)
    assert found.points.tolist() == [[[True, True], [False, False]]]


def scene(objects: int = 4, points: int = 150) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Places and velocities of blobs that overlap; some points and the last object do not exist."""
    generator = torch.Generator().manual_seed(0)
    world, velocities = torch.randn(2, 2, objects, points, 3, generator=generator)
    world = 0.1 * world
    world[..., 0] += 0.15 * torch.arange(objects)[:, None]
    mask = torch.rand(2, objects, points, generator=generator) < 0.9
    mask[:, -1] = False
    return world, velocities, mask


def squared_distances(world: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, O, O, P, P), infinite within an object and where one of two points does not exist."""
    squared = (world[:, :, None, :, None] - world[:, None, :, None]).square().sum(-1)
    itself = torch.eye(mask.shape[1], dtype=torch.bool)[None, :, :, None, None]
    return squared.masked_fill(itself | ~mask[:, :, None, :, None] | ~mask[:, None, :, None], torch.inf)


@pytest.mark.parametrize("device", DEVICES)
def test_what_touches_is_what_all_pairs_say(device: str) -> None:
    world, velocities, mask = scene()
    reach, volumes, centres = 0.08, torch.rand(2, 4) * 1e-5, world.mean(-2)
    arguments = (tensor.to(device) for tensor in (world, velocities, centres, mask, volumes))
    found = body_contact(*arguments, reach)
    tensors = found.nearness, found.normals, found.velocities, found.partner
    nearness, normals, speeds, partner = (tensor.cpu().double() for tensor in tensors)

    world, velocities = world.double(), velocities.double()
    kernel = (1 - squared_distances(world, mask) / reach**2).clamp_min(0)
    density = kernel.sum(-1) * volumes[:, None, :, None] / (4 * torch.pi / 15 * reach**3)
    nearest = density.argmax(2)
    touched = density.amax(2) > 0
    assert 0.1 < touched.double().mean() < 0.9
    torch.testing.assert_close(nearness, density.amax(2).clamp_max(4), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(partner, torch.nn.functional.one_hot(nearest, 4) * touched[..., None].double())
    for b, i, p in touched.nonzero().tolist():
        j = nearest[b, i, p]
        weights = kernel[b, i, j, p] / kernel[b, i, j, p].sum()
        away = world[b, i, p] - weights @ world[b, j]
        outwards = torch.nn.functional.normalize(world[b, i, p] - centres[b, j].double(), dim=-1)
        normal = torch.nn.functional.normalize(away + 0.1 * reach * outwards, dim=-1)
        torch.testing.assert_close(normals[b, i, p], normal, rtol=0, atol=1e-4)
        torch.testing.assert_close(speeds[b, i, p], weights @ velocities[b, j], rtol=1e-4, atol=1e-4)
    assert (normals[~touched] == 0).all()
    assert (speeds[~touched] == 0).all()


@pytest.mark.parametrize("device", DEVICES)
def test_nearest_points_are_those_of_all_distances(device: str) -> None:
    world, _, mask = scene()
    reach = 0.05
    found = nearest_squared(world.to(device), mask.to(device), reach).cpu()
    expected = squared_distances(world, mask).amin(-1)
    within = expected < reach**2
    assert 0.1 < within.float().mean() < 0.9
    torch.testing.assert_close(found[within], expected[within], rtol=1e-5, atol=1e-9)
    assert (found[~within] >= reach**2).all()
    assert found[expected.isinf()].isinf().all()


def test_neighbours_follow_each_other() -> None:
    """The boxes around chunks of a grid's points in this order are small, and every point is in one."""
    axis = torch.linspace(-0.2, 0.3, 16)
    grid = torch.cartesian_prod(axis, axis, axis)[torch.randperm(4096, generator=torch.Generator().manual_seed(0))]
    mask = torch.ones(1, 1, 4096, dtype=torch.bool)
    mask[..., ::5] = False
    order = spatial_order(grid[None, None], mask)[0, 0].long()
    assert torch.equal(order.sort().values, torch.arange(4096))
    count = int(mask.sum())
    assert mask[0, 0, order[:count]].all()
    chunks = grid[order[: count // 32 * 32]].view(-1, 32, 3)
    volumes = (chunks.amax(1) - chunks.amin(1)).prod(-1)
    assert volumes.mean() < 0.5**3 / 40


def test_single_and_missing_points_have_an_order() -> None:
    mask = torch.tensor([[[True, False], [False, False]]])
    assert spatial_order(torch.zeros(1, 2, 2, 3), mask).tolist() == [[[0, 1], [0, 1]]]
