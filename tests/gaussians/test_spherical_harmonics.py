import math

import pytest
import torch
from scipy.special import sph_harm_y

from gaussians.rotations import quaternion_to_matrix
from gaussians.spherical_harmonics import degree_of, rgb_to_sh, rotate_sh, sample_directions, sh_basis, sh_to_rgb


def random_directions(count: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1).to(dtype)


def random_rotations(count: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return quaternion_to_matrix(torch.randn(count, 4, generator=generator, dtype=torch.float64)).to(dtype)


def real_harmonic(degree: int, order: int, directions: torch.Tensor) -> torch.Tensor:
    """The real harmonic from scipy's complex ones (which have the Condon-Shortley phase, as 3DGS has)."""
    x, y, z = directions.numpy().T
    polar, azimuth = torch.from_numpy(z).arccos().numpy(), torch.atan2(*map(torch.from_numpy, (y, x))).numpy()
    value = torch.from_numpy(sph_harm_y(degree, abs(order), polar, azimuth))
    if order == 0:
        return value.real
    return math.sqrt(2) * (value.real if order > 0 else value.imag)


@pytest.mark.parametrize("degree", range(4))
def test_basis_is_the_textbooks_in_the_order_of_m(degree):
    directions = random_directions(200)
    expected = [real_harmonic(band, m, directions) for band in range(degree + 1) for m in range(-band, band + 1)]
    # The constants are given to 16 digits.
    torch.testing.assert_close(sh_basis(directions, degree), torch.stack(expected, -1), rtol=0, atol=1e-13)


def test_constant_colour_looks_the_same_from_everywhere():
    rgb = torch.rand(10, 3, generator=torch.Generator().manual_seed(0))
    seen = sh_to_rgb(rgb_to_sh(rgb), random_directions(10, torch.float32))
    torch.testing.assert_close(seen, rgb, rtol=0, atol=1e-6)


def test_colours_are_clamped_at_black_but_not_at_white():
    sh = torch.tensor([[[-9.0, 0.0, 9.0]]])
    dark, grey, bright = sh_to_rgb(sh, torch.tensor([[0.0, 0.0, 1.0]]))[0].tolist()
    assert dark == 0
    assert grey == 0.5
    assert bright == pytest.approx(0.5 + 9 * 0.28209479177387814)


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("each", [False, True], ids=["one rotation", "one each"])
def test_rotated_coefficients_show_the_turned_function(degree, each):
    count = 50
    sh = torch.randn(count, (degree + 1) ** 2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rotations = random_rotations(count) if each else random_rotations(1)[0]
    directions = random_directions(count)
    unturned = (directions[:, None] @ rotations).squeeze(1)  # R^T d
    expected = torch.einsum("nk,nkc->nc", sh_basis(unturned, degree), sh)
    found = torch.einsum("nk,nkc->nc", sh_basis(directions, degree), rotate_sh(sh, rotations))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_rotation_in_float32_is_good_to_a_few_roundings():
    sh = torch.randn(500, 16, 3, generator=torch.Generator().manual_seed(3))
    rotations = random_rotations(500)
    exact = rotate_sh(sh.double(), rotations)
    # Coefficients up to 4, seven terms each, and a system of condition number about 3.
    torch.testing.assert_close(rotate_sh(sh, rotations.float()).double(), exact, rtol=0, atol=1e-5)


def test_rotations_compose_and_keep_the_power_of_each_band():
    sh = torch.randn(20, 16, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    a, b = random_rotations(2)
    torch.testing.assert_close(rotate_sh(rotate_sh(sh, b), a), rotate_sh(sh, a @ b), rtol=0, atol=1e-12)
    turned = rotate_sh(sh, a)
    for band in range(4):
        rows = slice(band**2, (band + 1) ** 2)
        torch.testing.assert_close(turned[:, rows].norm(dim=1), sh[:, rows].norm(dim=1))


def test_rotation_of_no_gaussians_is_none():
    assert rotate_sh(torch.zeros(0, 16, 3), torch.eye(3)).shape == (0, 16, 3)


def test_rotation_passes_gradients_to_coefficients_and_rotations():
    sh = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64, requires_grad=True)
    rotations = random_rotations(2).requires_grad_()
    assert torch.autograd.gradcheck(rotate_sh, (sh, rotations))


def test_what_is_kept_in_inference_mode_serves_gradients_later():
    sample_directions.cache_clear()
    with torch.inference_mode():
        rotate_sh(torch.zeros(1, 4, 3), torch.eye(3))
    rotations = random_rotations(1).requires_grad_()
    rotate_sh(torch.ones(1, 4, 3, dtype=torch.float64), rotations).sum().backward()
    assert rotations.grad is not None


@pytest.mark.parametrize(("count", "degree"), [(1, 0), (4, 1), (9, 2), (16, 3)])
def test_degree_of_coefficient_counts(count, degree):
    assert degree_of(count) == degree


@pytest.mark.parametrize("count", [0, 2, 3, 15, 25])
def test_other_counts_have_no_degree(count):
    with pytest.raises(ValueError, match=f"sh: expected 1, 4, 9 or 16 coefficients .* found {count}"):
        degree_of(count)
