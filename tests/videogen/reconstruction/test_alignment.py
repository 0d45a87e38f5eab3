import pytest
import torch

from gaussians.cameras import Cameras, Orbit, look_at
from gaussians.rasterization.api import rasterize
from gaussians.representation import Gaussians
from gaussians.rotations import rotation_exp
from gaussians.stage.errors import InputError
from videogen.reconstruction.alignment import Similarity, align_cameras

ORBIT = Orbit((0.0, 0.0, -0.3), azimuth=120.0, elevation=20.0, radius=4.0)
VIEWS = [view for view in range(0, 100, 4) if view % 20 != 16]
TRUTH = Similarity(
    2.7, rotation_exp(torch.tensor([0.5, -1.2, 2.0], dtype=torch.float64)), torch.tensor([1.0, -2.0, 0.5]).double()
)


def with_poses(cameras: Cameras, rotations: torch.Tensor, centers: torch.Tensor) -> Cameras:
    viewmats = torch.eye(4, dtype=torch.float64).repeat(len(cameras), 1, 1)
    viewmats[:, :3, :3] = rotations
    viewmats[:, :3, 3] = -(rotations @ centers[..., None]).squeeze(-1)
    return Cameras(viewmats, cameras.Ks, cameras.width, cameras.height)


def estimated(known: Cameras, noise: float = 0.0, degrees: float = 0.0, outliers: int = 0, seed: int = 0) -> Cameras:
    """What a reconstruction in a frame of its own finds: noise on centres (share of their spread) and rotations."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    double = Cameras(known.viewmats.double(), known.Ks, known.width, known.height)
    found = TRUTH.inverse().cameras(double)
    centers, rotations = found.positions, found.viewmats[:, :3, :3]
    spread = (centers - centers.mean(0)).norm(dim=1).square().mean().sqrt()
    centers = centers + noise * spread * normal(len(found), 3)
    rotations = rotation_exp(torch.deg2rad(torch.tensor(degrees)) * normal(len(found), 3)) @ rotations
    centers[:outliers] = 3 * spread * normal(outliers, 3)
    rotations[:outliers] = rotation_exp(2 * normal(outliers, 3))
    return with_poses(known, rotations, centers)


def errors(found: Similarity) -> tuple[float, float, float]:
    """Of the scale and of where the objects are, as a share of the cameras' distance, and of the rotation, degrees."""
    difference = float((found.rotation - TRUTH.rotation).norm()) / 8**0.5
    target = torch.tensor([[0.0, 0.0, -0.3]], dtype=torch.float64)
    shift = float((found.points(TRUTH.inverse().points(target)) - target).norm()) / ORBIT.radius
    return abs(found.scale / TRUTH.scale - 1), shift, float(torch.rad2deg(2 * torch.asin(torch.tensor(difference))))


@pytest.mark.parametrize("outliers", [0, 3])
def test_a_similarity_is_recovered_exactly(outliers: int) -> None:
    known = ORBIT.cameras(VIEWS, 64)
    alignment = align_cameras(estimated(known, outliers=outliers), known)
    assert max(errors(alignment.similarity)) < 1e-5  # single precision of the known cameras
    assert (~alignment.inliers).nonzero().flatten().tolist() == list(range(outliers))
    assert alignment.residuals()["outliers"] == outliers
    assert len(alignment.notes(known)) == (outliers > 0)


@pytest.mark.parametrize("seed", range(5))
def test_perturbed_cameras_align_within_one_percent_and_one_degree(seed: int) -> None:
    """Noise of 1 % and 1 degree about each axis averages over 18 cameras; two more are grossly wrong."""
    known = ORBIT.cameras(VIEWS, 64)
    alignment = align_cameras(estimated(known, 0.01, 1.0, outliers=2, seed=seed), known)
    scale, shift, degrees = errors(alignment.similarity)
    assert scale < 0.01
    assert shift < 0.01
    assert degrees < 1
    assert not alignment.inliers[:2].any()
    residuals = alignment.residuals()
    assert 0.01 < residuals["center_rms_share"] < 0.03  # sqrt 3 times the noise along each axis
    assert 1 < residuals["angle_rms"] < 3


def test_cameras_on_a_line_align_by_their_orientations() -> None:
    places = torch.stack([torch.linspace(-1, 1, 6), torch.full((6,), -3.0), torch.full((6,), 1.0)], 1)
    known = look_at(places, torch.zeros(3), 64, 64, 96.0)
    alignment = align_cameras(estimated(known), known)
    assert max(errors(alignment.similarity)) < 1e-5
    assert [note[:30] for note in alignment.notes(known)] == ["the cameras stand on a line: t"]


def test_cameras_that_cannot_be_aligned_are_refused() -> None:
    known = ORBIT.cameras(VIEWS, 64)
    with pytest.raises(InputError, match=r"^known\.json: expected 3 cameras to align with, found 20"):
        align_cameras(known[:3], known, "known.json")
    with pytest.raises(InputError, match="expected at least 3 cameras to align with, found 2"):
        align_cameras(known[:2], known[:2])
    still = with_poses(known, known.viewmats[:, :3, :3].double(), torch.ones(len(known), 3, dtype=torch.float64))
    with pytest.raises(InputError, match="the estimated cameras stand in one place, which leaves the scale open"):
        align_cameras(still, known)
    shuffled = known[torch.randperm(len(known), generator=torch.Generator().manual_seed(0))]
    with pytest.raises(InputError, match=r"the estimated cameras do not fit the known ones: .* of 20 agree"):
        align_cameras(shuffled, known)


def test_similarities_compose_and_invert() -> None:
    points = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    other = Similarity(0.5, TRUTH.rotation.T @ TRUTH.rotation.T, torch.tensor([3.0, 1.0, 2.0]).double())
    assert torch.allclose((TRUTH @ other).points(points), TRUTH.points(other.points(points)))
    assert torch.allclose((TRUTH.inverse() @ TRUTH).points(points), points)
    assert torch.equal(Similarity.identity().points(points), points)


def test_moved_cameras_see_moved_gaussians_as_before() -> None:
    """Orientation, covariance and colour turn along: the picture stays, and depths grow by the scale."""
    generator = torch.Generator().manual_seed(0)
    count = 40
    gaussians = Gaussians(
        0.3 * torch.randn(count, 3, generator=generator),
        torch.rand(count, generator=generator),
        0.4 * torch.randn(count, 9, 3, generator=generator),
        0.02 + 0.1 * torch.rand(count, 3, generator=generator),
        torch.randn(count, 4, generator=generator),
    )
    cameras = ORBIT.cameras([0, 30], 48)
    before, after = (
        rasterize(g, c, background=torch.zeros(3))
        for g, c in ((gaussians, cameras), (TRUTH.gaussians(gaussians), TRUTH.cameras(cameras)))
    )
    assert before.rgb.max() > 0.3
    assert (before.rgb - after.rgb).abs().max() < 2e-3  # rounding moves the cut-off at faint borders
    # The filter that keeps Gaussians a pixel wide acts in the image, so that depths differ by the factor alone.
    assert torch.allclose(TRUTH.scale * before.depth, after.depth, atol=1e-2)
