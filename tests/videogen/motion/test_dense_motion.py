from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gaussians.cameras import Orbit
from gaussians.covariance import transform_covariance
from gaussians.files.splats.ply import read_ply, write_ply
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.rotations import rotation_exp
from tests.videogen.motion.dense_motion_twin import moved
from videogen.motion.dense_motion import DenseMotion

# float32 rounding of a few hundred additions over coordinates of size 1.
ROUNDING = 2e-5


def cloud(count: int = 400, labels: int = 2, sh_count: int = 9, seed: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    means = torch.rand(count, 3, generator=generator) - 0.5
    label = torch.arange(count, dtype=torch.int32) % labels
    return Gaussians(
        means=means + 2.0 * label[:, None],
        opacities=torch.rand(count, generator=generator),
        sh=torch.randn(count, sh_count, 3, generator=generator),
        scales=0.01 + 0.05 * torch.rand(count, 3, generator=generator),
        quaternions=torch.randn(count, 4, generator=generator),
        labels=label,
    )


def keypoint_rows(gaussians: Gaussians, count: int) -> list[torch.Tensor]:
    assert gaussians.labels is not None
    return [(gaussians.labels == label).nonzero().squeeze(1)[:count] for label in range(2)]


def test_rigid_motion_moves_every_gaussian_like_its_transformed_ply() -> None:
    gaussians = cloud()
    rows = keypoint_rows(gaussians, 60)
    rotations = [rotation_exp(torch.tensor(v)) for v in ([0.3, -1.2, 2.0], [0.0, 0.0, 3.0])]
    translations = [torch.tensor([0.1, 0.2, -0.7]), torch.tensor([-1.0, 0.0, 0.5])]
    keypoints = [gaussians.means[r] @ R.T + t for r, R, t in zip(rows, rotations, translations, strict=True)]

    ((moved, turns),) = DenseMotion(gaussians, [0, 1], rows).turned_frames([points[None] for points in keypoints])

    for label in range(2):
        mine = gaussians.labels == label
        expected = gaussians[mine].transformed(rotations[label], translations[label])
        torch.testing.assert_close(turns[mine], rotations[label].expand(200, 3, 3), atol=ROUNDING, rtol=0)
        torch.testing.assert_close(moved.means[mine], expected.means, atol=ROUNDING, rtol=0)
        torch.testing.assert_close(moved.covariance()[mine], expected.covariance(), atol=ROUNDING, rtol=0)
        torch.testing.assert_close(moved.sh[mine], expected.sh, atol=50 * ROUNDING, rtol=0)


def test_rigidly_moved_object_is_drawn_like_its_transformed_ply(tmp_path: Path) -> None:
    original = replace(cloud(300, labels=1), labels=None)
    write_ply(tmp_path / "object.ply", original)
    rest = replace(read_ply(tmp_path / "object.ply"), labels=torch.zeros(300, dtype=torch.int32))
    R, t = rotation_exp(torch.tensor([0.4, 1.1, -0.8])), torch.tensor([0.2, -0.1, 0.3])
    write_ply(tmp_path / "turned.ply", original.transformed(R, t))
    rows = torch.arange(0, 300, 6)

    moved = DenseMotion(rest, [0], [rows]).at([rest.means[rows] @ R.T + t])
    cameras = Orbit((0.0, 0.0, 0.0), 30.0, 20.0, 3.0, delta_azimuth=90.0).cameras(range(4), 96)
    drawn = rasterize(moved, cameras)
    expected = rasterize(read_ply(tmp_path / "turned.ply"), cameras)

    # Where rounding moves a Gaussian across the cut at alpha 1/255, a value may differ by that much.
    difference = (drawn.rgb - expected.rgb).abs()
    assert expected.rgb.max() > 0.5
    assert difference.max() < 2 / 255
    assert (difference < 1e-4).float().mean() > 0.999


def test_linear_stretch_is_interpolated_with_its_gradient() -> None:
    gaussians = cloud(1200)
    rows = keypoint_rows(gaussians, 200)
    stretch = torch.tensor([[1.2, 0.1, 0.0], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]])  # symmetric: no rotation in it
    centers = [gaussians.means[r].mean(0) for r in rows]
    keypoints = [(gaussians.means[r] - c) @ stretch.T + c for r, c in zip(rows, centers, strict=True)]

    moved = DenseMotion(gaussians, [0, 1], rows).at(keypoints)

    for label in range(2):
        mine = gaussians.labels == label
        expected = (gaussians.means[mine] - centers[label]) @ stretch.T + centers[label]
        # The regularisation takes up to 1e-3 / (smallest share of the second moments) off the gradient of 0.2.
        torch.testing.assert_close(moved.means[mine], expected, atol=2e-3, rtol=0)
        covariances = transform_covariance(gaussians.covariance()[mine], stretch)
        torch.testing.assert_close(moved.covariance()[mine], covariances, atol=2e-4, rtol=0.05)


@pytest.mark.parametrize("sh_count", [1, 4, 9, 16])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_deforming_objects_move_like_the_plain_twin_moves_them(sh_count: int, device: str) -> None:
    gaussians = cloud(1500, sh_count=sh_count)
    assert gaussians.labels is not None
    # Of different numbers of neighbours, in one table; the third object has no keypoints and stays.
    gaussians = replace(gaussians, labels=torch.where(torch.arange(1500) < 1400, gaussians.labels, 2))
    rows = [r[:count] for r, count in zip(keypoint_rows(gaussians, 200), (200, 12), strict=True)]
    generator = torch.Generator().manual_seed(3)
    frames = 70  # more than are prepared at once
    paths = []
    for r in rows:
        turns = rotation_exp(torch.randn(frames, 1, 3, generator=generator))
        noise = 0.02 * torch.randn(frames, len(r), 3, generator=generator)
        paths.append((turns @ gaussians.means[r][..., None]).squeeze(-1) + noise)

    found = list(DenseMotion(gaussians.to(device), [0, 1], rows).frames([path.to(device) for path in paths]))

    assert len(found) == frames
    for t in (0, 1, 63, 64, 69):
        mine = found[t].to("cpu")
        for label, r, path in zip((0, 1), rows, paths, strict=True):
            own = (gaussians.labels == label).nonzero().squeeze(1)
            expected = moved(gaussians, own, r, path[t])
            torch.testing.assert_close(mine.means[own], expected.means, atol=ROUNDING, rtol=0)
            scale = expected.covariance().abs().amax(1, keepdim=True)
            torch.testing.assert_close(
                mine.covariance()[own] / scale, expected.covariance() / scale, atol=ROUNDING, rtol=0
            )
            torch.testing.assert_close(mine.sh[own], expected.sh, atol=ROUNDING, rtol=0)
        still = gaussians.labels == 2
        assert torch.equal(mine.means[still], gaussians.means[still])
        assert torch.equal(mine.sh[still], gaussians.sh[still])


def test_gaussians_of_no_object_stay() -> None:
    gaussians = cloud()
    rows = keypoint_rows(gaussians, 50)
    moved = DenseMotion(gaussians, [1], rows[1:]).at([gaussians.means[rows[1]] + 1.0])
    still = gaussians.labels == 0
    assert torch.equal(moved.means[still], gaussians.means[still])
    torch.testing.assert_close(moved.means[~still], gaussians.means[~still] + 1.0, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_few_keypoints_carry_an_object_without_breaking_it(count: int) -> None:
    gaussians = cloud()
    rows = keypoint_rows(gaussians, count)
    shift = torch.tensor([0.5, -0.25, 1.0])
    moved = DenseMotion(gaussians, [0, 1], rows).at([gaussians.means[r] + shift for r in rows])
    assert moved.means.isfinite().all()
    assert moved.covariance().isfinite().all()
    if count >= 3:  # fewer points do not say how the object is turned
        torch.testing.assert_close(moved.means, gaussians.means + shift, atol=1e-4, rtol=0)


def test_coincident_keypoints_move_as_one() -> None:
    gaussians = cloud()
    rows = [r[:1].repeat(20) for r in keypoint_rows(gaussians, 1)]
    moved = DenseMotion(gaussians, [0, 1], rows).at([gaussians.means[r] + 1.0 for r in rows])
    assert moved.means.isfinite().all()
    assert moved.covariance().isfinite().all()


def test_frames_are_the_single_moments() -> None:
    gaussians = cloud()
    rows = keypoint_rows(gaussians, 50)
    path = [torch.stack([gaussians.means[r] + 0.1 * t for t in range(3)]) for r in rows]
    motion = DenseMotion(gaussians, [0, 1], rows)
    frames = list(motion.frames(path))
    assert len(frames) == 3
    assert torch.equal(frames[2].means, motion.at([p[2] for p in path]).means)
