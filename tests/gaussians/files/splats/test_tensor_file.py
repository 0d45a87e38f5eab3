from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gaussians.files.splats.tensor_file import read_tensor_file, read_tensor_splats
from gaussians.stage.errors import InputError
from tests.gaussians.samples import random_gaussians

COUNT = 5


def contents(degree: int = 1) -> dict[str, Any]:
    """Five Gaussians as reconstructions save them."""
    gaussians = random_gaussians(COUNT, degree)
    assert gaussians.scales is not None
    return {
        "means": gaussians.means,
        "scales": gaussians.scales.log(),
        "rotations": gaussians.quaternions,
        "opacities": gaussians.opacities.logit(),
        "harmonics": gaussians.sh,
        "covariances": torch.eye(3).expand(COUNT, 3, 3),
    }


def test_values_are_activated(tmp_path: Path) -> None:
    torch.save(contents() | {"labels": torch.tensor([2, 0, 1, 1, 0])}, tmp_path / "a.pt")
    expected, found = random_gaussians(COUNT, 1), read_tensor_file(tmp_path / "a.pt")
    assert found.scales is not None
    assert found.quaternions is not None
    assert found.labels is not None
    assert expected.scales is not None
    assert torch.equal(found.means, expected.means)
    assert torch.equal(found.sh, expected.sh)
    assert found.labels.tolist() == [2, 0, 1, 1, 0]
    # Through logarithm and logit and back.
    torch.testing.assert_close(found.scales, expected.scales)
    torch.testing.assert_close(found.opacities, expected.opacities)
    torch.testing.assert_close(found.quaternions.norm(dim=1), torch.ones(COUNT))
    torch.testing.assert_close(found.covariance(), expected.covariance())


@pytest.mark.parametrize(
    "change",
    [
        lambda c: {key: value[None] for key, value in c.items()},  # a leading 1
        lambda c: c | {"harmonics": c["harmonics"].mT},  # (N, 3, K)
        lambda c: c | {"opacities": c["opacities"][:, None]},  # (N, 1)
        lambda c: {key: value.double() for key, value in c.items()},
    ],
)
def test_other_layouts_are_the_same_gaussians(tmp_path: Path, change: Callable[[dict], dict]) -> None:
    torch.save(contents(), tmp_path / "a.pt")
    torch.save(change(contents()), tmp_path / "b.pt")
    a, b = read_tensor_file(tmp_path / "a.pt"), read_tensor_file(tmp_path / "b.pt")
    for name in ("means", "opacities", "sh", "scales", "quaternions"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name


def test_one_gaussian_with_degree_zero_alone(tmp_path: Path) -> None:
    one = {key: value[:1] for key, value in contents(0).items()}
    torch.save(one | {"harmonics": one["harmonics"][:, 0]}, tmp_path / "a.pt")
    assert read_tensor_file(tmp_path / "a.pt").sh.shape == (1, 1, 3)


def test_coefficients_beyond_degree_three_are_cut_off(tmp_path: Path) -> None:
    torch.save(contents() | {"harmonics": torch.rand(COUNT, 25, 3)}, tmp_path / "a.pt")
    assert read_tensor_file(tmp_path / "a.pt").sh.shape == (COUNT, 16, 3)


class Malice:
    """Pickles as a call of a function."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("pwned"),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": torch.rand(COUNT, 2)}, r"means: expected shape \(N, 3\), found \(5, 2\)"),
        ({"scales": torch.rand(4, 3)}, r"scales: expected shape \(5, 3\), found \(4, 3\)"),
        ({"rotations": torch.zeros(COUNT, 4)}, "rotations: expected a non-zero quaternion, found zero in row 0"),
        ({"opacities": torch.full((COUNT,), torch.nan)}, "opacities: expected finite values"),
        ({"means": torch.full((COUNT, 3), 1e300, dtype=torch.float64)}, "means: expected finite values"),
        ({"scales": torch.full((COUNT, 3), 100.0)}, "scales: expected logarithms of metres"),
        ({"harmonics": torch.rand(COUNT, 5, 3)}, r"harmonics: expected shape"),
        ({"labels": torch.rand(COUNT)}, "labels: expected 5 whole numbers"),
        ({"labels": "ball"}, "no tensor 'labels'"),
        ({"means": torch.rand(0, 3)}, "at least one Gaussian"),
        ({"extra": Malice()}, "expected a dictionary of tensors"),
    ],
)
def test_unusable_contents_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(contents() | change, "a.pt")
    with pytest.raises(InputError, match=rf"^a\.pt: .*{message}"):
        read_tensor_file("a.pt")
    assert not Path("pwned").exists()


@pytest.mark.parametrize("name", ["means", "scales", "rotations", "opacities", "harmonics"])
def test_missing_arrays_are_named(tmp_path: Path, name: str) -> None:
    torch.save({key: value for key, value in contents().items() if key != name}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=f"no tensor '{name}': found"):
        read_tensor_file(tmp_path / "a.pt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_tensor_file(tmp_path / "absent.pt")
    torch.save(torch.rand(3), tmp_path / "tensor.pt")
    with pytest.raises(InputError, match="expected a dictionary of tensors, found Tensor"):
        read_tensor_file(tmp_path / "tensor.pt")
    (tmp_path / "text.pt").write_text("no archive")
    with pytest.raises(InputError, match="expected a dictionary of tensors"):
        read_tensor_file(tmp_path / "text.pt")
    whole = (tmp_path / "tensor.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="expected a dictionary of tensors"):
        read_tensor_file(tmp_path / "cut.pt")


def test_labels_past_32_bits_are_refused_and_do_not_wrap(tmp_path: Path) -> None:
    torch.save(contents() | {"labels": torch.tensor([0, 1, 2**31, 0, 1])}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.pt: labels: expected labels of 32 bits, found 2147483648 in row 2"):
        read_tensor_file(tmp_path / "a.pt")


def test_infinities_with_a_meaning_are_read_and_broken_rows_left_out(tmp_path: Path) -> None:
    held = contents() | {"labels": torch.arange(COUNT)}
    held["opacities"][:2] = torch.tensor([torch.inf, -torch.inf])
    held["scales"][0, 2] = -torch.inf
    torch.save(held, tmp_path / "a.pt")
    found = read_tensor_file(tmp_path / "a.pt")
    assert found.scales is not None
    assert found.opacities[:2].tolist() == [1, 0]
    assert found.scales[0, 2] == 0
    held["means"][1, 0] = torch.nan
    held["rotations"][3] = 0
    torch.save(held, tmp_path / "a.pt")
    splats = read_tensor_splats(tmp_path / "a.pt")
    assert splats.rows.tolist() == [0, 2, 4]
    assert splats.gaussians.labels is not None
    assert splats.gaussians.labels.tolist() == [0, 2, 4]
    assert "2 of 5 rows are left out: means: expected finite values" in splats.notes[0]
    with pytest.raises(InputError, match=r"a\.pt: means: expected finite values, found .* in row 1"):
        read_tensor_file(tmp_path / "a.pt")
