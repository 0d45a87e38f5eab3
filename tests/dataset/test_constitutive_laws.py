"""Kernels' functions of a deformation gradient against PyTorch in double precision."""

import numpy as np
import pytest
import torch
import warp as wp

from dataset.mpm.constitutive_laws import LAWS
from dataset.mpm.kernels import vec6
from dataset.mpm.polar import polar_rotation as polar_in_kernel
from dataset.mpm.state import MPMState
from gaussians.covariance import transform_covariance
from gaussians.rotations import polar_rotation, quaternion_to_matrix

MU, LAM = 4e4, 6e4


def fixed_corotated(F: torch.Tensor) -> torch.Tensor:
    R, J = polar_rotation(F), torch.det(F)[:, None, None]
    return 2 * MU * (F - R) @ F.mT + LAM * (J - 1) * J * torch.eye(3, dtype=F.dtype)


TWINS = {"jelly": fixed_corotated}


def with_singular_values(values: list[float], count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(values) + count)
    U, V = (quaternion_to_matrix(torch.randn(count, 4, generator=generator, dtype=torch.float64)) for _ in range(2))
    return U @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ V.mT


def random_deformations(kind: str, count: int = 2000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 3, 3, generator=generator, dtype=torch.float64)
    match kind:
        case "small":
            return with_singular_values([1.0, 1.0, 1.0], count) @ (torch.eye(3) + 1e-3 * noise)
        case "moderate":
            return with_singular_values([1.0, 1.0, 1.0], count) @ (torch.eye(3) + 0.2 * noise.clamp(-1, 1))
        case "stretched":
            return with_singular_values([4.0, 1.0, 0.6], count)
        case "flattened":
            return with_singular_values([1.3, 0.9, 1e-3], count)
        case "inverted":
            return with_singular_values([1.4, 0.9, -0.5], count)
        case "identity":
            return torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    raise AssertionError(kind)


KINDS = ("small", "moderate", "stretched", "flattened", "inverted", "identity")


@wp.kernel
def rotations_of(F: wp.array(dtype=wp.mat33), R: wp.array(dtype=wp.mat33)):
    R[wp.tid()] = polar_in_kernel(F[wp.tid()])


def stress_kernel(law: wp.Function) -> wp.Kernel:
    @wp.kernel(module="unique")
    def kernel(F: wp.array(dtype=wp.mat33), mu: float, lam: float, tau: wp.array(dtype=wp.mat33)):
        tau[wp.tid()] = law(F[wp.tid()], mu, lam)

    return kernel


def on_device(F: torch.Tensor) -> wp.array:
    return wp.array(F.float().numpy(), dtype=wp.mat33, device="cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_polar_rotation(kind: str) -> None:
    F = random_deformations(kind)
    found = wp.empty(len(F), dtype=wp.mat33, device="cpu")
    wp.launch(rotations_of, len(F), [on_device(F), found], device="cpu")
    # Single precision; where the smallest singular value is near 0 or negative the rotation is that much less certain.
    np.testing.assert_allclose(found.numpy(), polar_rotation(F).numpy(), atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(LAWS))
def test_law_is_its_twin(name: str, kind: str) -> None:
    F = random_deformations(kind)
    expected = TWINS[name](F)
    found = wp.empty(len(F), dtype=wp.mat33, device="cpu")
    wp.launch(stress_kernel(LAWS[name]), len(F), [on_device(F), MU, LAM, found], device="cpu")
    # F is rounded to 6e-8; stresses differ by that, times the stiffness, (mu + lambda) |F|^2 and a few operations.
    scale = (MU + LAM) * float(F.square().sum((1, 2)).max())
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2e-6 * scale)


@pytest.mark.parametrize("name", list(LAWS))
def test_rest_and_rotations_are_free_of_stress(name: str) -> None:
    R = with_singular_values([1.0, 1.0, 1.0], 500)
    found = wp.empty(len(R), dtype=wp.mat33, device="cpu")
    wp.launch(stress_kernel(LAWS[name]), len(R), [on_device(R), MU, LAM, found], device="cpu")
    assert np.abs(found.numpy()).max() < 2e-6 * 3 * (MU + LAM)


def test_covariances_and_rotations_follow_the_deformation() -> None:
    F = random_deformations("moderate", 500).float()
    factors = 0.1 * torch.randn(500, 3, 3, generator=torch.Generator().manual_seed(1))
    covariances = transform_covariance(torch.tensor([1.0, 0, 0, 1, 0, 1]).expand(500, 6), factors)
    state = MPMState.at_rest(np.zeros((500, 3)))
    state.F.assign(F.numpy())
    deformed, rotations = state.deformed(wp.array(covariances.numpy(), dtype=vec6, device="cpu"))
    torch.testing.assert_close(deformed, transform_covariance(covariances, F), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(rotations, polar_rotation(F), atol=2e-5, rtol=0)
