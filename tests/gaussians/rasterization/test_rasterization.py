"""``rasterize`` against closed forms on both devices, and against its plain-PyTorch twin on the CPU."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gaussians.cameras import Cameras, look_at
from gaussians.files.splats.ply import read_ply
from gaussians.rasterization import Rendered, rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from tests.gaussians.rasterization.rasterization_twin import rasterize_twin

WIDTH, HEIGHT, FOCAL = 41, 27, 50.0
# The pixel whose centre the optical axis meets.
ROW, COLUMN = 13, 20


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    return request.param


def camera(count: int = 1) -> Cameras:
    """``count`` equal cameras at the origin that look along z."""
    K = torch.tensor([[FOCAL, 0, COLUMN + 0.5], [0, FOCAL, ROW + 0.5], [0, 0, 1]])
    return Cameras(torch.eye(4).repeat(count, 1, 1), K.repeat(count, 1, 1), WIDTH, HEIGHT)


def balls(
    means: list[tuple[float, float, float]],
    opacities: list[float],
    colors: list[tuple[float, float, float]],
    size: float,
) -> Gaussians:
    count = len(means)
    return Gaussians(
        torch.tensor(means).view(-1, 3),
        torch.tensor(opacities),
        rgb_to_sh(torch.tensor(colors).view(-1, 3)),
        scales=torch.full((count, 3), size),
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
    )


def random_gaussians(count: int, degree: int, seed: int = 0) -> Gaussians:
    """Overlapping ellipsoids of 3 mm to 0.2 m within about a metre of the origin."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Gaussians(
        means=normal(count, 3) / 2,
        opacities=torch.rand(count, generator=generator),
        sh=normal(count, (degree + 1) ** 2, 3) * 0.3,
        scales=torch.exp(normal(count, 3) - 3.5),
        quaternions=normal(count, 4),
    )


def around(distances: list[float], width: int = 90, height: int = 70) -> Cameras:
    """Cameras at ``distances`` from the origin in different directions."""
    angles = torch.arange(len(distances)) * 2.0 + 0.3
    directions = torch.stack([angles.cos(), angles.sin(), 0.5 * (3 * angles).cos()], 1)
    directions = torch.nn.functional.normalize(directions, dim=1)
    return look_at(directions * torch.tensor(distances)[:, None], torch.zeros(3), width, height, 1.1 * width)


def assert_agrees_with_twin(gaussians: Gaussians, cameras: Cameras, **settings: float) -> None:
    """99.99 % of values within 1e-4, none beyond 2/255.

    Single precision alone stays within about 1e-5. Beyond that are pixels where a Gaussian's alpha is within
    rounding of the cut at 1/255 and is drawn by one of the two only. Depths count in units of the largest.
    """
    background = torch.tensor([0.2, 0.5, 1.0])
    drawn = rasterize(gaussians, cameras, background=background, depth="accumulated", **settings)
    rgb, depth, alpha = rasterize_twin(gaussians, cameras, background, **settings)
    scale = depth.max().clamp_min(1)
    differences = torch.cat(
        [(drawn.rgb - rgb).flatten(), ((drawn.depth - depth) / scale).flatten(), (drawn.alpha - alpha).flatten()]
    ).abs()
    assert (differences > 1e-4).double().mean() <= 1e-4
    assert differences.max() <= 2 / 255


def assert_same(a: Rendered, b: Rendered, tolerance: float = 0.0) -> None:
    for name in ("rgb", "depth", "alpha"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=tolerance, rtol=0)


def test_one_ball_has_a_gaussian_profile(device: str) -> None:
    size, z, opacity = 0.1, 2.0, 0.8
    drawn = rasterize(balls([(0, 0, z)], [opacity], [(1, 0.5, 0)], size).to(device), camera())
    variance = (FOCAL * size / z) ** 2 + 0.3
    y, x = torch.meshgrid(torch.arange(HEIGHT) - ROW, torch.arange(WIDTH) - COLUMN, indexing="ij")
    expected = opacity * torch.exp(-(x**2 + y**2) / (2 * variance))
    assert ((expected * 255 - 1).abs() > 1e-3).all()  # no pixel is so near the cut that rounding decides
    expected[expected < 1 / 255] = 0
    # Fast exponentials on the GPU are good to about 1e-6.
    torch.testing.assert_close(drawn.alpha[0].cpu(), expected, atol=5e-6, rtol=0)
    torch.testing.assert_close(drawn.rgb[0].cpu(), expected[..., None] * torch.tensor([1, 0.5, 0]), atol=5e-6, rtol=0)
    # Two sums that round differently, divided: on the GPU a few units in the last place.
    torch.testing.assert_close(drawn.depth[0].cpu(), z * (expected > 0), atol=5e-5, rtol=0)
    assert drawn.alpha[0, ROW, COLUMN].item() == pytest.approx(opacity, abs=1e-6)


def test_an_ellipse_turned_about_the_axis_is_turned_in_the_image(device: str) -> None:
    sizes, z, angle = (0.2, 0.05), 2.0, math.radians(30)
    ball = balls([(0, 0, z)], [0.9], [(1, 1, 1)], 0.01)
    ellipse = replace(
        ball,
        scales=torch.tensor([[*sizes, 0.01]]),
        quaternions=torch.tensor([[math.cos(angle / 2), 0, 0, math.sin(angle / 2)]]),
    )
    drawn = rasterize(ellipse.to(device), camera())
    y, x = torch.meshgrid(torch.arange(HEIGHT) - ROW, torch.arange(WIDTH) - COLUMN, indexing="ij")
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    variances = [(FOCAL * size / z) ** 2 + 0.3 for size in sizes]
    expected = 0.9 * torch.exp(-(along**2 / variances[0] + across**2 / variances[1]) / 2)
    assert ((expected * 255 - 1).abs() > 1e-3).all()
    expected[expected < 1 / 255] = 0
    torch.testing.assert_close(drawn.alpha[0].cpu(), expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("near_first", [True, False])
def test_the_nearer_of_two_hides_the_farther(device: str, near_first: bool) -> None:
    near, far = ((0, 0, 2), 0.6, (1, 0, 0)), ((0, 0, 3), 0.7, (0, 1, 0))
    means, opacities, colors = zip(*((near, far) if near_first else (far, near)), strict=True)
    gaussians = balls(list(means), list(opacities), list(colors), 0.1).to(device)
    background = torch.tensor([0, 0, 1.0])
    accumulated = rasterize(gaussians, camera(), background=background, depth="accumulated")
    expected = rasterize(gaussians, camera(), background=background, depth="expected")
    alpha = 0.6 + 0.4 * 0.7
    rgb = torch.tensor([0.6, 0.4 * 0.7, 1 - alpha])
    torch.testing.assert_close(accumulated.rgb[0, ROW, COLUMN].cpu(), rgb, atol=1e-6, rtol=0)
    assert accumulated.alpha[0, ROW, COLUMN].item() == pytest.approx(alpha, abs=1e-6)
    assert accumulated.depth[0, ROW, COLUMN].item() == pytest.approx(0.6 * 2 + 0.4 * 0.7 * 3, abs=1e-5)
    assert expected.depth[0, ROW, COLUMN].item() == pytest.approx((0.6 * 2 + 0.4 * 0.7 * 3) / alpha, abs=1e-5)


def test_equal_depths_are_drawn_in_order_of_rows(device: str) -> None:
    gaussians = balls([(0, 0, 2)] * 2, [0.9, 0.9], [(1, 0, 0), (0, 1, 0)], 0.1).to(device)
    center = rasterize(gaussians, camera()).rgb[0, ROW, COLUMN].cpu()
    torch.testing.assert_close(center, torch.tensor([0.9, 0.09, 0]), atol=1e-6, rtol=0)


def test_opacity_is_capped(device: str) -> None:
    drawn = rasterize(balls([(0, 0, 2)], [1.0], [(1, 1, 1)], 0.1).to(device), camera())
    assert drawn.alpha.max().item() == pytest.approx(0.999, abs=1e-6)


def test_a_pixel_is_finished_before_its_transmittance_reaches_the_stop(device: str) -> None:
    # The first leaves 1e-3. The second would leave 1e-6, so it and all after it are left out, even the third, which
    # alone would leave enough.
    gaussians = balls([(0, 0, 2), (0, 0, 3), (0, 0, 4)], [1, 1, 0.5], [(1, 0, 0), (0, 1, 0), (0, 0, 1)], 0.1)
    center = rasterize(gaussians.to(device), camera()).rgb[0, ROW, COLUMN].cpu()
    torch.testing.assert_close(center, torch.tensor([0.999, 0, 0]), atol=1e-6, rtol=0)
    behind = rasterize(gaussians[torch.tensor([0, 2])].to(device), camera()).rgb[0, ROW, COLUMN].cpu()
    torch.testing.assert_close(behind, torch.tensor([0.999, 0, 0.0005]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("opacity", "visible"), [(0.99 / 255, False), (1.01 / 255, True), (0.0, False)])
def test_alpha_is_cut_off_at_one_255th(device: str, opacity: float, visible: bool) -> None:
    drawn = rasterize(balls([(0, 0, 2)], [opacity], [(1, 1, 1)], 0.1).to(device), camera())
    assert drawn.alpha.max().item() == pytest.approx(opacity if visible else 0.0, abs=1e-6)


def test_background_shows_where_alpha_is_missing(device: str) -> None:
    gaussians = balls([(0, 0, 2)], [0.8], [(1, 0.5, 0)], 0.1).to(device)
    black = rasterize(gaussians, camera())
    backgrounds = torch.tensor([[1.0, 1, 1], [0.2, 0.4, 0.6]])
    both = rasterize(gaussians, camera(2), background=backgrounds)
    for c in range(2):
        expected = black.rgb[0].cpu() + (1 - black.alpha[0].cpu())[..., None] * backgrounds[c]
        torch.testing.assert_close(both.rgb[c].cpu(), expected, atol=1e-6, rtol=0)
    assert_same(Rendered(black.rgb, both.depth[:1], both.alpha[:1]), black)


def test_color_depends_on_the_side_it_is_seen_from(device: str) -> None:
    # Degree 1, x: 0.4886 times minus the coefficient. Red is brighter from one side; green falls below 0 there.
    sh = torch.zeros(1, 4, 3)
    sh[0, 3] = torch.tensor([0.5, -2.0, 0.0])
    gaussians = replace(balls([(0, 0, 0)], [0.999], [(0.5, 0.5, 0.5)], 0.1), sh=sh).to(device)
    sides = look_at(torch.tensor([[2.0, 0, 0], [-2.0, 0, 0]]), torch.zeros(3), WIDTH, HEIGHT, FOCAL)
    drawn = rasterize(gaussians, sides)
    centers = (drawn.rgb / drawn.alpha[..., None])[:, HEIGHT // 2, WIDTH // 2].cpu()
    slope = 0.4886025119029199
    # Seen from +x the direction is -x.
    expected = torch.tensor([[0.5 + 0.5 * slope, 0, 0.5], [0.5 - 0.5 * slope, 0.5 + 2 * slope, 0.5]])
    torch.testing.assert_close(centers, expected, atol=1e-5, rtol=0)
    flat = rasterize(gaussians, sides, sh_degree=0)
    flat_centers = (flat.rgb / flat.alpha[..., None])[:, HEIGHT // 2, WIDTH // 2].cpu()
    torch.testing.assert_close(flat_centers, torch.full((2, 3), 0.5), atol=1e-5, rtol=0)


def test_radius_clip_leaves_out_the_small(device: str) -> None:
    size, z, opacity = 0.1, 2.0, 0.8
    gaussians = balls([(0, 0, z)], [opacity], [(1, 1, 1)], size).to(device)
    radius = math.ceil(math.sqrt(2 * math.log(255 * opacity) * ((FOCAL * size / z) ** 2 + 0.3)))
    whole = rasterize(gaussians, camera())
    assert_same(rasterize(gaussians, camera(), radius_clip=radius - 0.5), whole)
    assert rasterize(gaussians, camera(), radius_clip=radius).alpha.max() == 0


def test_planes_leave_out_what_is_not_between(device: str) -> None:
    gaussians = balls([(0, 0, 1), (0, 0, 2), (0, 0, 3)], [0.5] * 3, [(1, 0, 0), (0, 1, 0), (0, 0, 1)], 0.1)
    drawn = rasterize(gaussians.to(device), camera(), near_plane=1.5, far_plane=2.5)
    assert_same(drawn, rasterize(gaussians[1:2].to(device), camera()))


def test_no_gaussians_show_the_background(device: str) -> None:
    gaussians = random_gaussians(3, 1)[:0].to(device)
    drawn = rasterize(gaussians, camera(2), background=torch.tensor([0.1, 0.2, 0.3]))
    assert torch.equal(drawn.rgb.cpu(), torch.tensor([0.1, 0.2, 0.3]).expand(2, HEIGHT, WIDTH, 3))
    assert drawn.depth.shape == drawn.alpha.shape == (2, HEIGHT, WIDTH)
    assert not drawn.depth.any()
    assert not drawn.alpha.any()


@pytest.mark.parametrize("covariances", [False, True])
def test_what_cannot_be_drawn_changes_nothing(device: str, covariances: bool) -> None:
    good = random_gaussians(50, 1).transformed(translation=torch.tensor([0, 0, 3.0]))
    bad = random_gaussians(12, 1, seed=1).transformed(translation=torch.tensor([0, 0, 3.0]))
    good, bad = (part.with_covariances() if covariances else part for part in (good, bad))
    bad.means[0] = math.nan
    bad.means[1, 0] = math.inf
    bad.means[2, 2] = -math.inf
    bad.means[3, 2] = 0  # in the camera's plane
    bad.means[4, 2] = -3  # behind it
    bad.means[5, 0] = 1e30
    bad.means[6, 1] = math.nan
    bad.opacities[7] = 0
    bad.opacities[8] = math.nan
    shape = bad.covariances if bad.covariances is not None else bad.scales
    assert shape is not None
    shape[9] = math.nan
    shape[10] = math.inf
    bad.opacities[11] = -1
    mixed = Gaussians.cat([bad, good]).to(device)
    assert_same(rasterize(mixed, camera()), rasterize(good.to(device), camera()))


def test_labels_and_the_form_of_the_shape_do_not_matter() -> None:
    gaussians, cameras = random_gaussians(300, 2), around([3.0])
    plain = rasterize(gaussians, cameras)
    labelled = replace(gaussians, labels=torch.arange(300, dtype=torch.int32))
    assert_same(rasterize(labelled, cameras), plain)
    # Covariances are held in single precision; from scales they are computed in double.
    assert_same(rasterize(gaussians.with_covariances(), cameras), plain, tolerance=1e-5)


def test_the_order_of_rows_does_not_matter() -> None:
    gaussians, cameras = random_gaussians(300, 0), around([3.0])
    shuffled = gaussians[torch.randperm(300, generator=torch.Generator().manual_seed(0))]
    assert_same(rasterize(shuffled, cameras), rasterize(gaussians, cameras))


def test_every_camera_gets_the_image_it_gets_alone() -> None:
    gaussians, cameras = random_gaussians(300, 1), around([3.0, 1.0, 0.4])
    together = rasterize(gaussians, cameras)
    for c in range(3):
        alone = rasterize(gaussians, cameras[c : c + 1])
        assert_same(alone, Rendered(together.rgb[c : c + 1], together.depth[c : c + 1], together.alpha[c : c + 1]))


def test_the_number_of_threads_does_not_matter() -> None:
    gaussians, cameras = random_gaussians(300, 1), around([2.0])
    threads = torch.get_num_threads()
    try:
        images = []
        for count in (1, 3, 11):
            torch.set_num_threads(count)
            images.append(rasterize(gaussians, cameras))
    finally:
        torch.set_num_threads(threads)
    assert_same(images[1], images[0])
    assert_same(images[2], images[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"background": torch.zeros(4)}, r"background: expected shape \(3\), found \(4,\)"),
        ({"background": torch.zeros(3, 3)}, r"background: expected shape \(2, 3\), found \(3, 3\)"),
        ({"sh_degree": 2}, "sh_degree: expected 0 to 1, found 2"),
        ({"near_plane": 0.0}, "near_plane, far_plane: expected 0 < near < far"),
        ({"near_plane": 2.0, "far_plane": 1.0}, "near_plane, far_plane: expected 0 < near < far"),
        ({"backend": "gsplat"}, "backend: 'gsplat' draws on cuda, the Gaussians are on cpu"),
    ],
)
def test_unusable_arguments_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rasterize(random_gaussians(3, 1), camera(2), **settings)


def test_drawing_prints_nothing_on_stdout() -> None:
    program = (
        "import torch; from gaussians.cameras import look_at; from gaussians.rasterization import rasterize;"
        "from gaussians.representation import Gaussians;"
        "g = Gaussians(torch.zeros(1, 3), torch.ones(1), torch.ones(1, 1, 3), covariances=torch.ones(1, 6));"
        "rasterize(g, look_at(torch.ones(1, 3), torch.zeros(3), 8, 8, 8.0))"
    )
    root = Path(__file__).resolve().parents[3]
    finished = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert finished.stdout == ""


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("covariances", [False, True])
def test_random_gaussians_agree_with_the_twin(degree: int, covariances: bool) -> None:
    gaussians = random_gaussians(2000, degree, seed=degree)
    # From outside to amid them, where some are a few centimetres before the camera and larger than the image.
    cameras = around([3.0, 1.0, 0.2, 0.01])
    assert_agrees_with_twin(gaussians.with_covariances() if covariances else gaussians, cameras)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (16, 16), (17, 33), (64, 5), (5, 64)])
def test_images_of_any_size_agree_with_the_twin(width: int, height: int) -> None:
    assert_agrees_with_twin(random_gaussians(500, 0), around([2.0, 0.3], width, height))


def test_extreme_shapes_agree_with_the_twin() -> None:
    """Needles and discs from a micrometre to ten metres, opacities 0 and 1 among them."""
    generator = torch.Generator().manual_seed(5)
    scales = 10 ** (torch.rand(800, 3, generator=generator) * 7 - 6)
    opacities = (torch.rand(800, generator=generator) * 1.4 - 0.2).clamp(0, 1)
    gaussians = replace(random_gaussians(800, 0), scales=scales, opacities=opacities)
    assert_agrees_with_twin(gaussians, around([3.0, 1.0]))


def test_settings_agree_with_the_twin() -> None:
    gaussians, cameras = random_gaussians(500, 0), around([2.0])
    assert_agrees_with_twin(gaussians, cameras, near_plane=1.7, far_plane=2.6, radius_clip=4.0)


@pytest.mark.parametrize(("name", "up"), [("donut", (0.0, 0.0, 1.0)), ("playbot", (0.0, -1.0, 0.0))])
@pytest.mark.parametrize("distance", [0.7, 5.0])
def test_real_gaussians_agree_with_the_twin(
    real_data: Path, name: str, up: tuple[float, float, float], distance: float
) -> None:
    gaussians = read_ply(real_data / "gaussians" / f"{name}.ply")
    middle = gaussians.means.median(0).values
    radius = (gaussians.means - middle).norm(dim=1).median()
    positions = middle + distance * radius * torch.tensor([[0.7, 0.5 - up[1], 0.5], [-0.4, 0.3 - up[1], 0.8]])
    assert_agrees_with_twin(gaussians, look_at(positions, middle, 100, 75, 110.0, up))


@pytest.mark.gpu
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("covariances", [False, True])
def test_cpu_and_gsplat_agree(degree: int, covariances: bool) -> None:
    """gsplat evaluates ellipses in single precision from the inverse covariance, which cancels for long ones."""
    gaussians, cameras = random_gaussians(2000, degree, seed=degree), around([3.0, 1.0, 0.2], 448, 300)
    gaussians = gaussians.with_covariances() if covariances else gaussians
    cpu = rasterize(gaussians, cameras, background=torch.ones(3))
    gpu = rasterize(gaussians.to("cuda"), cameras, background=torch.ones(3))
    for difference in ((cpu.rgb - gpu.rgb.cpu()).abs().amax(-1), (cpu.alpha - gpu.alpha.cpu()).abs()):
        assert difference.mean() < 1e-3
        assert (difference < 1 / 255).double().mean() >= 0.999


@pytest.mark.gpu
def test_gsplat_draws_any_number_of_cameras_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from gaussians.rasterization import cuda

    gaussians, cameras = random_gaussians(1000, 1).to("cuda"), around([3.0, 2.0, 1.0, 0.5, 0.2])
    whole = rasterize(gaussians, cameras)
    monkeypatch.setattr(cuda, "_gaussian_views", lambda device: 2000)
    assert_same(rasterize(gaussians, cameras), whole)


@pytest.mark.gpu
def test_gsplat_carries_gradients() -> None:
    gaussians = random_gaussians(100, 0).to("cuda")
    opacities = gaussians.opacities.clone().requires_grad_()
    rasterize(replace(gaussians, opacities=opacities), around([3.0])).alpha.sum().backward()
    assert opacities.grad is not None
    # More opacity never uncovers a pixel, and most Gaussians are seen.
    assert opacities.grad.sum() > 0
    assert opacities.grad.isfinite().all()
