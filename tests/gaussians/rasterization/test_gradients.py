"""Gradients of ``rasterize`` on the CPU, against the plain-PyTorch twin, differences of drawings, and gsplat."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from gaussians.cameras import Cameras
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from tests.gaussians.rasterization.rasterization_twin import rasterize_twin
from tests.gaussians.rasterization.test_rasterization import around, balls, camera, random_gaussians

Images = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
BACKGROUND = torch.tensor([0.2, 0.5, 1.0])


def draw(gaussians: Gaussians, cameras: Cameras, background: torch.Tensor) -> Images:
    drawn = rasterize(gaussians, cameras, background=background, depth="accumulated")
    return drawn.rgb, drawn.depth, drawn.alpha


def gradients(
    draw: Callable[[Gaussians, Cameras, torch.Tensor], Images], gaussians: Gaussians, cameras: Cameras
) -> dict[str, torch.Tensor]:
    """Gradients of a seeded random combination of all images, by the name of what they are of."""
    names = [
        n
        for n in ("means", "opacities", "sh", "scales", "quaternions", "covariances")
        if getattr(gaussians, n) is not None
    ]
    leaves = {name: getattr(gaussians, name).detach().clone().requires_grad_() for name in names}
    leaves["background"] = BACKGROUND.to(gaussians.device).requires_grad_()
    scene = replace(gaussians, **{name: leaves[name] for name in names})
    images = draw(scene, cameras, leaves["background"])
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(image.shape, generator=generator).to(image) for image in images]
    loss = sum((weight * image).sum() for weight, image in zip(weights, images, strict=True))
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    """Differences count in units of the largest gradient of their kind."""
    for name, gradient in expected.items():
        difference = (found[name].cpu() - gradient.cpu()).abs().max() / gradient.abs().max()
        assert difference <= tolerance, f"{name}: {difference:.2g}"


@pytest.mark.parametrize("covariances", [False, True])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gradients_agree_with_the_twin(degree: int, covariances: bool) -> None:
    """To 1e-4: single precision alone gives up to 2e-5.

    The seeds leave no Gaussian's alpha within rounding of the cut in any pixel, where only one of the two draws it.
    """
    gaussians, cameras = random_gaussians(300, degree, seed=degree + 10), around([2.0, 3.0])
    gaussians = gaussians.with_covariances() if covariances else gaussians
    assert_close(gradients(draw, gaussians, cameras), gradients(rasterize_twin, gaussians, cameras), 1e-4)


def test_gradients_agree_with_the_twin_where_the_projection_is_held() -> None:
    """Some of the Gaussians are far outside the image, beside the camera."""
    gaussians, cameras = random_gaussians(300, 1, seed=3), around([0.5], 33, 50)
    assert_close(gradients(draw, gaussians, cameras), gradients(rasterize_twin, gaussians, cameras), 1e-4)


def test_the_gradient_of_one_ball_is_that_of_its_profile() -> None:
    """Of A = opacity exp(-d^2 / 2 v) at the pixel 3 to the right of its centre, v = (f s / z)^2 + 0.3."""
    focal, size, z, opacity, offset = 50.0, 0.1, 2.0, 0.8, 3
    ball = balls([(0, 0, z)], [opacity], [(1, 0.5, 0)], size)
    means, opacities, scales = (getattr(ball, name).requires_grad_() for name in ("means", "opacities", "scales"))
    rasterize(ball, camera()).alpha[0, 13, 20 + offset].backward()
    variance = (focal * size / z) ** 2 + 0.3
    alpha = opacity * math.exp(-(offset**2) / 2 / variance)
    assert opacities.grad.item() == pytest.approx(alpha / opacity, rel=1e-5)
    # A step of 1 along x moves the centre by f / z pixels; of scales only the first matters to this row.
    assert means.grad[0, 0].item() == pytest.approx(alpha * offset / variance * focal / z, rel=1e-5)
    by_variance = alpha * offset**2 / (2 * variance**2)
    assert scales.grad[0].tolist() == pytest.approx(
        [by_variance * 2 * size * (focal / z) ** 2, 0, 0], rel=1e-5, abs=1e-6
    )


def test_gradients_predict_how_images_change() -> None:
    """Along a random direction in all parameters at once, by central differences of drawings, to a tenth.

    The gradient leaves out that the edges of Gaussians move, where alpha is cut at 1/255.
    """
    gaussians, cameras = random_gaussians(50, 2, seed=5), around([2.5])
    names = ("means", "opacities", "sh", "scales", "quaternions")
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1, cameras.height, cameras.width, 3, generator=generator)
    # Smooth weights: at single pixels the edges' jumps would weigh more.
    weight = torch.nn.functional.avg_pool2d(weight.movedim(-1, 1), 15, 1, 7).movedim(1, -1)
    directions = {n: torch.randn(getattr(gaussians, n).shape, generator=generator) * 0.01 for n in names}

    def loss(step: float) -> torch.Tensor:
        moved = replace(gaussians, **{n: getattr(gaussians, n) + step * directions[n] for n in names})
        return (weight * rasterize(moved, cameras).rgb).sum()

    step = torch.zeros(1, requires_grad=True)
    loss(step).backward()
    assert step.grad.item() == pytest.approx((loss(0.05) - loss(-0.05)).item() / 0.1, rel=0.1)


def test_what_is_not_drawn_has_no_gradient() -> None:
    nan = float("nan")
    gaussians = balls([(0, 0, 2), (0, 0, -2), (nan, 0, 2), (0, 0, 3)], [0.5, 0.5, 0.5, 0.001], [(1, 1, 1)] * 4, 0.1)
    gaussians.quaternions[2] = 0
    for name, gradient in gradients(draw, gaussians, camera()).items():
        if name != "background":
            assert gradient[0].norm() > 0 or name == "quaternions", name  # a ball may be turned
            assert not gradient[1:].any(), name


def test_one_gradient_alone_may_be_asked_for() -> None:
    gaussians = random_gaussians(20, 1)
    sh = gaussians.sh.clone().requires_grad_()
    rasterize(replace(gaussians, sh=sh), around([3.0])).rgb.sum().backward()
    assert sh.grad.norm() > 0
    assert gaussians.means.grad is None


def test_the_number_of_threads_does_not_matter() -> None:
    gaussians, cameras = random_gaussians(300, 1), around([2.0])
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 5):
            torch.set_num_threads(count)
            found.append(gradients(draw, gaussians, cameras))
    finally:
        torch.set_num_threads(threads)
    for name, gradient in found[0].items():
        assert torch.equal(found[1][name], gradient), name


@pytest.mark.gpu
@pytest.mark.parametrize("covariances", [False, True])
def test_gradients_agree_with_gsplat(covariances: bool) -> None:
    """gsplat sums with atomics in single precision, and inverts covariances in it."""
    gaussians, cameras = random_gaussians(300, 2, seed=12), around([2.0, 3.0])
    gaussians = gaussians.with_covariances() if covariances else gaussians
    assert_close(gradients(draw, gaussians.to("cuda"), cameras), gradients(draw, gaussians, cameras), 2e-3)
