import torch

from gaussians.covariance import (
    covariance_from_scales,
    pack_covariance,
    scales_from_covariance,
    transform_covariance,
    unpack_covariance,
)
from gaussians.rotations import quaternion_to_matrix


def random_shapes(count: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales from 1 mm to 1 m, and quaternions of any length."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.exp(-7 * torch.rand(count, 3, generator=generator, dtype=torch.float64))
    return scales.to(dtype), torch.randn(count, 4, generator=generator, dtype=torch.float64).to(dtype)


def test_six_numbers_are_xx_xy_xz_yy_yz_zz():
    matrix = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]])
    assert pack_covariance(matrix).tolist() == [1, 2, 3, 4, 5, 6]
    assert torch.equal(unpack_covariance(pack_covariance(matrix)), matrix)


def test_covariance_of_scales_and_quaternions():
    scales, quaternions = random_shapes(100)
    rotations = quaternion_to_matrix(quaternions)
    expected = rotations @ torch.diag_embed(scales**2) @ rotations.mT
    torch.testing.assert_close(unpack_covariance(covariance_from_scales(scales, quaternions)), expected)


def test_scales_of_a_covariance_are_those_it_came_from():
    scales, quaternions = random_shapes(200)
    found, axes = scales_from_covariance(covariance_from_scales(scales, quaternions))
    # An eigenvalue is good to eps times the largest one, here up to 1e6 times larger.
    torch.testing.assert_close(found, scales.sort(-1).values, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        covariance_from_scales(found, axes), covariance_from_scales(scales, quaternions), rtol=0, atol=1e-13
    )


def test_scales_of_float32_covariances_describe_the_same_gaussian():
    scales, quaternions = random_shapes(200, torch.float32)
    covariances = covariance_from_scales(scales, quaternions)
    found, axes = scales_from_covariance(covariances)
    assert not found.isnan().any()
    size = scales.max(-1, keepdim=True).values ** 2
    # Ten float32 roundings of the largest entry.
    assert ((covariance_from_scales(found, axes) - covariances).abs() / size).max() < 1.2e-6


def test_flat_and_round_covariances_have_scales():
    covariances = torch.tensor([[1.0, 0, 0, 1, 0, 0], [4.0, 0, 0, 4, 0, 4], [0, 0, 0, 0, 0, 0]])
    scales, quaternions = scales_from_covariance(covariances)
    assert scales.tolist() == [[0, 1, 1], [2, 2, 2], [0, 0, 0]]
    torch.testing.assert_close(quaternions.norm(dim=-1), torch.ones(3))


def test_a_linear_map_moves_points_and_covariances_alike():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    points = torch.randn(1000, 3, generator=generator, dtype=torch.float64)
    # The sample covariance transforms exactly, however few the samples.
    before, after = torch.cov(points.T), torch.cov((points @ maps.T).T)
    torch.testing.assert_close(transform_covariance(pack_covariance(before), maps), pack_covariance(after))
