"""Where a completed object goes: a bumpy one whose place, turn and scale are known."""

import pytest
import torch
from torch.nn.functional import normalize

from gaussians.cameras import look_at
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.rotations import rotation_exp
from videogen.reconstruction.alignment import Similarity
from videogen.reconstruction.completion.point_pairs import PointPairs
from videogen.reconstruction.completion.registration import register, umeyama
from videogen.reconstruction.completion.silhouettes import Silhouettes

TRUTH = Similarity(
    2.7,
    rotation_exp(torch.tensor([0.4, -1.9, 0.8], dtype=torch.float64)),
    torch.tensor([5.0, -2.0, 1.0], dtype=torch.float64),
)
COUNT = 4000


def bumpy(count: int = COUNT, seed: int = 0) -> Gaussians:
    """An object of no symmetry, about 1 across, in its own frame; its first half is what view 0 shows (z < 0)."""
    generator = torch.Generator().manual_seed(seed)
    directions = normalize(torch.randn(count, 3, generator=generator), dim=1)
    directions = directions[directions[:, 2].argsort()]
    x, y, z = directions.T
    radii = 0.3 + 0.08 * torch.sin(3 * x + 1) + 0.06 * torch.cos(4 * y - z) + 0.05 * x * y
    means = radii[:, None] * directions * torch.tensor([1.3, 0.9, 1.0])
    return Gaussians(
        means=means,
        opacities=torch.full((count,), 0.95),
        sh=torch.zeros(count, 1, 3),
        scales=torch.full((count, 3), 0.015),
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
    )


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def error(found: Similarity, points: torch.Tensor) -> float:
    """The largest distance of points from where they belong, of the object's size."""
    moved, expected = found.points(points.double()), TRUTH.points(points.double())
    return float((moved - expected).norm(dim=1).max() / (TRUTH.scale * 1.0))


def pictures(completed: Gaussians, truth: Similarity = TRUTH, views: int = 5, side: int = 64) -> Silhouettes:
    """What cameras around the object's true place show of it."""
    center = truth.translation.float()
    around = 6 * normalize(noise(views, 3, seed=3), dim=1)
    cameras = look_at(center + around, center, side, side, 1.6 * side)
    drawn = rasterize(truth.gaussians(completed), cameras).alpha > 0.5
    return Silhouettes(cameras, drawn, torch.zeros_like(drawn))


@pytest.mark.parametrize("share", [0.4, 0.75])
def test_place_is_exact_whatever_some_or_most_pairs_say(share: float) -> None:
    completed = bumpy()
    rows = torch.arange(COUNT // 2)
    points = TRUTH.points(completed.means[rows].double())
    wrong = torch.rand(len(rows), generator=torch.Generator().manual_seed(2)) < share
    points[wrong] += 2 * noise(int(wrong.sum()), 3).double()
    seen = points[~wrong]
    found = register(completed, PointPairs(completed.means[rows], points), seen, pictures(completed))
    assert found is not None
    assert error(found.similarity, completed.means) < 1e-9
    assert found.similarity.scale == pytest.approx(TRUTH.scale, rel=1e-9)
    assert found.inliers[~wrong].all()
    assert found.inliers[wrong].double().mean() < 0.1
    assert found.distance < 1e-5
    assert found.overlap is not None
    assert found.overlap > 0.99
    assert not found.doubts


def test_other_views_correct_what_the_first_one_says_of_depths() -> None:
    completed = bumpy()
    rows = torch.arange(COUNT // 2)
    flat = completed.means[rows] * torch.tensor([1.0, 1.0, 0.9])
    points = TRUTH.points(flat.double()) + 0.01 * noise(len(rows), 3).double()
    elsewhere = bumpy(seed=5).means.double()
    seen = TRUTH.points(elsewhere[torch.rand(COUNT, generator=torch.Generator().manual_seed(4)) < 0.6])
    floaters = TRUTH.translation + 2 * noise(len(seen) // 10, 3, seed=6).double()
    one_view = register(completed, PointPairs(completed.means[rows], points), points)
    assert one_view is not None
    assert error(one_view.similarity, completed.means) > 0.015
    seen = torch.cat([seen, floaters])
    for silhouettes in (None, pictures(completed)):
        all_views = register(completed, PointPairs(completed.means[rows], points), seen, silhouettes)
        assert all_views is not None
        assert error(all_views.similarity, completed.means) < 0.003
        assert all_views.distance < 0.001


def test_silhouettes_choose_the_pairs_where_other_views_are_wrong() -> None:
    completed = bumpy()
    rows = torch.arange(COUNT // 2)
    points = TRUTH.points(completed.means[rows].double())
    seen = TRUTH.points(1.1 * completed.means.double())
    pairs = PointPairs(completed.means[rows], points)
    misled, found = (register(completed, pairs, seen, shown) for shown in (None, pictures(completed)))
    assert misled is not None
    assert found is not None
    assert error(misled.similarity, completed.means) > 0.03
    assert error(found.similarity, completed.means) < 1e-5


def test_silhouettes_correct_what_all_points_have_wrong() -> None:
    completed = bumpy()
    rows = torch.arange(COUNT // 2)
    smaller = TRUTH.points(0.92 * completed.means.double())
    pairs = PointPairs(completed.means[rows], smaller[rows])
    points_alone = register(completed, pairs, smaller)
    found = register(completed, pairs, smaller, pictures(completed, views=3))
    assert points_alone is not None
    assert found is not None
    assert found.overlap is not None
    assert found.overlap > 0.95
    assert error(found.similarity, completed.means) < 0.6 * error(points_alone.similarity, completed.means)


def test_result_does_not_depend_on_the_unit_of_length() -> None:
    completed = bumpy()
    rows = torch.arange(COUNT // 2)
    points = TRUTH.points(completed.means[rows].double()) + 0.01 * noise(len(rows), 3).double()
    one, thousand = (
        register(completed, PointPairs(completed.means[rows], unit * points), unit * points) for unit in (1.0, 1000.0)
    )
    assert one is not None
    assert thousand is not None
    assert thousand.similarity.scale == pytest.approx(1000 * one.similarity.scale, rel=1e-9)
    assert thousand.residual == pytest.approx(one.residual, rel=1e-9)


def test_pairs_without_sense_give_no_place_or_a_doubtful_one() -> None:
    completed = bumpy()
    rows = torch.arange(COUNT // 2)
    points = TRUTH.translation + noise(len(rows), 3).double()
    found = register(completed, PointPairs(completed.means[rows], points), points, pictures(completed))
    assert found is None or len(found.doubts) == 2
    assert register(completed, PointPairs(completed.means[:5], points[:5]), points) is None
    assert register(completed, PointPairs(completed.means[rows], points), points[:0]) is None
    same = TRUTH.translation.expand(len(rows), 3)
    assert register(completed, PointPairs(completed.means[rows], same), same) is None


def test_weighted_similarity_ignores_points_without_weight() -> None:
    source = noise(3, 20, 3).double()
    scales, rotations = torch.tensor([0.5, 1.0, 30.0]).double(), rotation_exp(noise(3, 3, seed=2).double())
    shifts = noise(3, 3, seed=3).double()
    target = scales[:, None, None] * source @ rotations.mT + shifts[:, None]
    target[:, 15:] += 1
    weights = torch.rand(3, 20, generator=torch.Generator().manual_seed(0)).double()
    weights[:, 15:] = 0
    for found, expected in zip(umeyama(source, target, weights), (scales, rotations, shifts), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
