from collections.abc import Callable

import pytest
import torch

from dynamic_models.data.farthest_points import farthest_point_sampling


def plain(points: torch.Tensor, count: int) -> list[int]:
    """In float32, looking at all points each time."""

    def squared_distances(place: torch.Tensor) -> torch.Tensor:
        x, y, z = ((points - place) ** 2).unbind(1)
        return x + y + z

    chosen = [int(squared_distances(points.double().mean(0).float()).argmax())]
    nearest = torch.full((len(points),), torch.inf)
    while len(chosen) < min(count, len(points)):
        nearest = torch.minimum(nearest, squared_distances(points[chosen[-1]]))
        chosen.append(int((nearest == nearest.max()).nonzero()[0]))  # the first of equals
    return chosen


def random(count: int) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0))


def lattice(count: int) -> torch.Tensor:
    """Full of ties, in no order."""
    side = round(count ** (1 / 3))
    points = 0.01 * torch.cartesian_prod(*3 * [torch.arange(side, dtype=torch.float32)])
    return points[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))]


def sheet(count: int) -> torch.Tensor:
    """Points in a plane: most cells are empty."""
    return random(count) * torch.tensor([1.0, 1.0, 0.0])


def twins(count: int) -> torch.Tensor:
    return random(count // 4).repeat(4, 1)


@pytest.mark.parametrize("points", [random, lattice, sheet, twins])
@pytest.mark.parametrize("count", [30, 2000])
def test_points_are_those_of_looking_at_all(points: Callable[[int], torch.Tensor], count: int) -> None:
    cloud = points(count)
    # Also more than there are distinct ones, where only the order decides.
    for number in (1, 20, 600):
        assert farthest_point_sampling(cloud, number).tolist() == plain(cloud, number)


@pytest.mark.parametrize(("n", "count", "expected"), [(0, 5, 0), (1, 5, 1), (7, 5, 5), (5, 5, 5)])
def test_sampling_gives_as_many_distinct_points_as_there_are(n: int, count: int, expected: int) -> None:
    chosen = farthest_point_sampling(torch.rand(n, 3), count)
    assert len(chosen.unique()) == len(chosen) == expected


def test_fewer_keypoints_are_the_first_of_more() -> None:
    points = torch.rand(300, 3)
    assert farthest_point_sampling(points, 20).tolist() == farthest_point_sampling(points, 60)[:20].tolist()


def test_every_next_point_is_farthest_in_float64_too() -> None:
    points = random(500)
    chosen = farthest_point_sampling(points, 40)
    distances = torch.cdist(points.double(), points[chosen].double())
    for i in range(1, 40):
        nearest = distances[:, :i].amin(1)
        assert float(nearest[chosen[i]]) == pytest.approx(float(nearest.max()), rel=1e-6)  # float32 rounding
