import torch

from dynamic_models.contact.body_contact import pair_contact, wall_contact


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
