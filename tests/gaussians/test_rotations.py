import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from gaussians.rotations import (
    axis_rotation,
    euler_xyz_to_matrix,
    matrix_to_euler_xyz,
    matrix_to_quaternion,
    multiply_quaternions,
    polar_rotation,
    quaternion_to_matrix,
    rotated,
    rotation_exp,
)

# A few roundings of numbers up to 1.
FLOAT64 = {"rtol": 0, "atol": 1e-14}
FLOAT32 = {"rtol": 0, "atol": 1e-6}


def random_quaternions(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, 4, generator=generator, dtype=torch.float64), dim=-1)


def scipy_matrices(quaternions: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(Rotation.from_quat(quaternions.numpy(), scalar_first=True).as_matrix())


def test_matrices_of_quaternions_are_scipys():
    quaternions = random_quaternions(100)
    torch.testing.assert_close(quaternion_to_matrix(quaternions), scipy_matrices(quaternions), **FLOAT64)


@pytest.mark.parametrize("length", [1e-9, 0.3, 1e9])
def test_the_length_of_a_quaternion_does_not_matter(length):
    quaternions = random_quaternions(10)
    torch.testing.assert_close(quaternion_to_matrix(quaternions * length), quaternion_to_matrix(quaternions), **FLOAT64)


def test_quaternions_of_matrices_are_canonical():
    quaternions = random_quaternions(1000)
    expected = torch.where(quaternions[:, :1] < 0, -quaternions, quaternions)
    torch.testing.assert_close(matrix_to_quaternion(quaternion_to_matrix(quaternions)), expected, **FLOAT64)


@pytest.mark.parametrize("axis", [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, -1, 1], [-1, 2, 3]])
@pytest.mark.parametrize("degrees", [0, 1e-3, 90, 179.999, 180, 180.001])
def test_quaternions_keep_their_precision_at_half_turns(axis, degrees):
    vector = torch.nn.functional.normalize(torch.tensor(axis, dtype=torch.float64), dim=0) * math.radians(degrees)
    matrix = rotation_exp(vector).float()
    torch.testing.assert_close(quaternion_to_matrix(matrix_to_quaternion(matrix)), matrix, **FLOAT32)


def test_quaternion_product_is_the_matrix_product():
    a, b = random_quaternions(50, seed=1), random_quaternions(50, seed=2)
    product = quaternion_to_matrix(multiply_quaternions(a, b))
    torch.testing.assert_close(product, quaternion_to_matrix(a) @ quaternion_to_matrix(b), **FLOAT64)


def test_exponential_is_scipys():
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(200, 3, generator=generator, dtype=torch.float64), dim=-1)
    vectors = directions * torch.logspace(-8, 1, 200, dtype=torch.float64)[:, None]
    expected = torch.from_numpy(Rotation.from_rotvec(vectors.numpy()).as_matrix())
    # Angles up to 10 rad lose one digit to the reduction of the argument.
    torch.testing.assert_close(rotation_exp(vectors), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-4, 9e-4, 1.1e-3, 0.1, 3.0])
def test_exponential_has_exact_derivatives(angle):
    vector = torch.tensor([0.6, -0.48, 0.64], dtype=torch.float64) * angle
    # gradcheck's own finite differences are good to about 1e-8 here.
    assert torch.autograd.gradcheck(rotation_exp, vector.requires_grad_(), atol=1e-7)


@pytest.mark.parametrize("angle", [1e-6, 9e-4, 1.1e-3, 1e-2, 0.1, 1.0, 3.0])
def test_exponential_keeps_its_derivatives_in_float32(angle):
    direction = torch.tensor([0.6, -0.48, 0.64], dtype=torch.float64)
    exact = torch.autograd.functional.jacobian(rotation_exp, direction * angle)
    found = torch.autograd.functional.jacobian(rotation_exp, (direction * angle).float())
    # A few float32 roundings of numbers up to 1; the naive 1 - cos is off by 1e-4 at small angles.
    torch.testing.assert_close(found, exact.float(), rtol=0, atol=3e-6)


def test_columns_turn_as_by_the_matrix():
    generator = torch.Generator().manual_seed(0)
    vectors, columns = torch.randn(7, 3, generator=generator), torch.randn(7, 3, 5, generator=generator)
    torch.testing.assert_close(rotated(columns, vectors), rotation_exp(vectors) @ columns)


def test_euler_angles_turn_about_fixed_axes():
    degrees = torch.rand(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 720 - 360
    expected = torch.from_numpy(Rotation.from_euler("xyz", degrees.numpy(), degrees=True).as_matrix())
    torch.testing.assert_close(euler_xyz_to_matrix(degrees), expected, **FLOAT64)


def test_euler_angles_of_a_matrix_are_those_it_was_made_of():
    degrees = torch.rand(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 178 - 89
    degrees[:, [0, 2]] *= 2
    # asin loses half of the digits near 90 degrees.
    torch.testing.assert_close(matrix_to_euler_xyz(euler_xyz_to_matrix(degrees)), degrees, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("axis", "turned"), [(0, [1.0, -3.0, 2.0]), (1, [3.0, 2.0, -1.0]), (2, [-2.0, 1.0, 3.0])], ids=["x", "y", "z"]
)
def test_quarter_turn_about_an_axis(axis, turned):
    vector = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(axis_rotation(axis, 90) @ vector, torch.tensor(turned), **FLOAT32)


def test_polar_rotation_of_a_stretched_rotation_is_the_rotation():
    rotations = quaternion_to_matrix(random_quaternions(50))
    root = torch.randn(50, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    stretch = root @ root.mT + torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(polar_rotation(rotations @ stretch), rotations, rtol=0, atol=1e-13)


def test_polar_rotation_of_what_is_not_finite_is_nan():
    matrices = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    matrices[0, 1, 2], matrices[2, 0, 0] = torch.nan, torch.inf
    found = polar_rotation(matrices)
    assert found[[0, 2]].isnan().all()
    torch.testing.assert_close(found[1], torch.eye(3, dtype=torch.float64))


def test_polar_rotation_of_a_reflection_is_the_nearest_proper_rotation():
    # diag(3, 2, -1) = I diag(3, 2, -1): the trace of R^T F is largest, 3 + 2 - 1, for R = I.
    matrix = torch.diag(torch.tensor([3.0, 2.0, -1.0]))
    torch.testing.assert_close(polar_rotation(matrix), torch.eye(3), **FLOAT32)


@pytest.mark.parametrize("values", [[1.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
def test_polar_rotation_of_a_flattened_matrix_is_still_a_rotation(values):
    matrix = torch.diag(torch.tensor(values))
    rotation = polar_rotation(matrix)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3), **FLOAT32)
    torch.testing.assert_close(torch.det(rotation), torch.tensor(1.0), **FLOAT32)


def test_polar_rotation_takes_single_matrices_and_batches_of_batches():
    matrices = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    rotations = polar_rotation(matrices)
    torch.testing.assert_close(rotations[1, 2], polar_rotation(matrices[1, 2]), **FLOAT32)


def test_polar_rotation_names_what_it_expects():
    with pytest.raises(ValueError, match=r"matrices: expected shape \(N, 3, 3\), found \(1, 2, 3\)"):
        polar_rotation(torch.zeros(2, 3))
