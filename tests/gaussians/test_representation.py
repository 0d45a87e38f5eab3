import pytest
import torch

from gaussians.covariance import scales_from_covariance, transform_covariance, unpack_covariance
from gaussians.representation import Gaussians
from gaussians.rotations import quaternion_to_matrix, rotation_exp
from gaussians.spherical_harmonics import sh_to_rgb
from tests.gaussians.samples import random_gaussians


@pytest.mark.parametrize(
    ("field", "shape", "message"),
    [
        ("means", (5, 2), r"means: expected shape \(N, 3\), found \(5, 2\)"),
        ("opacities", (5, 1), r"opacities: expected shape \(5\), found \(5, 1\)"),
        ("opacities", (4,), r"opacities: expected shape \(5\), found \(4,\)"),
        ("sh", (5, 3), r"sh: expected shape \(5, K, 3\), found \(5, 3\)"),
        ("sh", (5, 5, 3), r"sh: expected 1, 4, 9 or 16 coefficients"),
        ("scales", (5,), r"scales: expected shape \(5, 3\), found \(5,\)"),
        ("quaternions", (5, 3), r"quaternions: expected shape \(5, 4\), found \(5, 3\)"),
        ("labels", (1, 5), r"labels: expected shape \(5\), found \(1, 5\)"),
    ],
)
def test_a_wrong_shape_is_named(field, shape, message):
    shapes = {"means": (5, 3), "opacities": (5,), "sh": (5, 4, 3), "scales": (5, 3), "quaternions": (5, 4)}
    with pytest.raises(ValueError, match=message):
        Gaussians(**{name: torch.ones(size) for name, size in (shapes | {field: shape}).items()})


@pytest.mark.parametrize(
    "held",
    [
        (),
        ("scales",),
        ("quaternions",),
        ("scales", "covariances"),
        ("quaternions", "covariances"),
        ("scales", "quaternions", "covariances"),
    ],
)
def test_the_shape_comes_in_exactly_one_form(held):
    forms = {"scales": torch.ones(5, 3), "quaternions": torch.ones(5, 4), "covariances": torch.ones(5, 6)}
    with pytest.raises(ValueError, match="expected either scales and quaternions or covariances"):
        Gaussians(torch.zeros(5, 3), torch.ones(5), torch.zeros(5, 1, 3), **{name: forms[name] for name in held})


def test_rows_are_taken_by_mask_index_and_slice():
    gaussians = random_gaussians(4, degree=2)
    mask = torch.tensor([False, True, False, True])
    for rows in (mask, torch.tensor([1, 3]), slice(1, 4, 2)):
        taken = gaussians[rows]
        assert len(taken) == 2
        for name in ("means", "opacities", "sh", "scales", "quaternions"):
            assert torch.equal(getattr(taken, name), getattr(gaussians, name)[[1, 3]])
    assert len(gaussians[torch.zeros(4, dtype=torch.bool)]) == 0


def test_both_forms_describe_the_same_gaussians():
    gaussians = random_gaussians(20, degree=2)
    as_covariances = gaussians.with_covariances()
    assert as_covariances.scales is None
    assert as_covariances.quaternions is None
    assert torch.equal(as_covariances.covariance(), gaussians.covariance())
    scales, _ = as_covariances.scales_and_quaternions()
    # float32, eigenvalues up to about 1.
    torch.testing.assert_close(scales, gaussians.scales.sort(-1).values, rtol=0, atol=1e-5)
    assert gaussians.scales_and_quaternions() == (gaussians.scales, gaussians.quaternions)


def test_degree_is_cut_off_or_filled_with_zeros():
    gaussians = random_gaussians(20, degree=2)
    assert torch.equal(gaussians.with_sh_degree(1).sh, gaussians.sh[:, :4])
    higher = gaussians.with_sh_degree(3)
    assert higher.sh_degree == 3
    assert torch.equal(higher.sh[:, :9], gaussians.sh)
    assert not higher.sh[:, 9:].any()


@pytest.mark.parametrize("as_covariances", [False, True], ids=["scales", "covariances"])
def test_transformed_gaussians_look_the_same_to_a_transformed_camera(as_covariances):
    gaussians = random_gaussians(20, degree=3)
    if as_covariances:
        gaussians = gaussians.with_covariances()
    rotation, translation, scale = rotation_exp(torch.tensor([0.3, -1.2, 2.0])), torch.tensor([1.0, 2.0, 3.0]), 1.7
    moved = gaussians.transformed(rotation, translation, scale)
    # float32 roundings of values up to about 10.
    tolerance = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(moved.means, scale * gaussians.means @ rotation.T + translation, **tolerance)
    expected = transform_covariance(gaussians.covariance(), scale * rotation)
    torch.testing.assert_close(moved.covariance(), expected, **tolerance)
    eye = torch.tensor([0.5, -4.0, 1.0])
    turned_eye = scale * rotation @ eye + translation
    seen = sh_to_rgb(gaussians.sh, torch.nn.functional.normalize(gaussians.means - eye, dim=-1))
    turned = sh_to_rgb(moved.sh, torch.nn.functional.normalize(moved.means - turned_eye, dim=-1))
    torch.testing.assert_close(turned, seen, rtol=0, atol=5e-5)


def test_scaling_moves_log_scales_by_log_s():
    gaussians = random_gaussians(20, degree=2)
    scaled = gaussians.transformed(scale=0.25)
    assert torch.equal(scaled.scales, gaussians.scales * 0.25)
    assert torch.equal(scaled.means, gaussians.means * 0.25)
    assert torch.equal(scaled.sh, gaussians.sh)


def test_labels_and_opacities_survive_a_transformation():
    gaussians = random_gaussians(3, degree=2)
    labelled = Gaussians(**{**vars(gaussians), "labels": torch.tensor([2, 0, -1], dtype=torch.int32)})
    moved = labelled.transformed(torch.eye(3), torch.ones(3), 2.0)
    assert moved.labels.tolist() == [2, 0, -1]
    assert torch.equal(moved.opacities, gaussians.opacities)


def test_transformation_names_a_wrong_shape():
    with pytest.raises(ValueError, match=r"rotation: expected shape \(3, 3\), found \(4, 4\)"):
        random_gaussians(20, degree=2).transformed(torch.eye(4))
    with pytest.raises(ValueError, match=r"translation: expected shape \(3\), found \(1, 3\)"):
        random_gaussians(20, degree=2).transformed(translation=torch.zeros(1, 3))


def test_cat_keeps_scales_where_all_have_them():
    first, second = random_gaussians(3, degree=0), random_gaussians(4, degree=2, seed=1)
    both = Gaussians.cat([first, second])
    assert (len(both), both.sh_degree) == (7, 2)
    assert torch.equal(both.scales, torch.cat([first.scales, second.scales]))
    assert torch.equal(both.sh[:3], first.with_sh_degree(2).sh)
    assert both.labels is None


def test_cat_falls_back_to_covariances_and_marks_the_unlabelled():
    first, second = random_gaussians(2, degree=2), random_gaussians(3, degree=2, seed=1).with_covariances()
    second = Gaussians(**{**vars(second), "labels": torch.tensor([0, 1, 1], dtype=torch.int32)})
    both = Gaussians.cat([first, second])
    assert both.scales is None
    assert torch.equal(both.covariances, torch.cat([first.covariance(), second.covariances]))
    assert both.labels.tolist() == [-1, -1, 0, 1, 1]
    assert both.labels.dtype == torch.int32


def test_quaternions_of_a_covariance_are_a_proper_rotation():
    covariances = random_gaussians(100, degree=2).covariance()
    scales, quaternions = scales_from_covariance(covariances)
    rotations = quaternion_to_matrix(quaternions)
    rebuilt = rotations @ torch.diag_embed(scales**2) @ rotations.mT
    # float32, entries up to about 1.
    torch.testing.assert_close(rebuilt, unpack_covariance(covariances), rtol=0, atol=2e-6)
