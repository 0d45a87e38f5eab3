"""Dictionaries of tensors whose declared sizes are not to be trusted."""

import zipfile
from pathlib import Path

import pytest
import torch

from gaussians.files.torch_file import MAX_REPEATED, load_dictionary, tensor_of
from gaussians.stage.errors import InputError


def saved(folder: Path, tensor: torch.Tensor) -> Path:
    torch.save({"a": tensor}, folder / "a.pt")
    return folder / "a.pt"


def read(path: Path) -> torch.Tensor:
    return tensor_of(path, load_dictionary(path), "a")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(1).expand(MAX_REPEATED + 1), f"{MAX_REPEATED + 1} values declared, of which the file holds 1"),
        (torch.zeros(1).as_strided((10**9, 10**9), (0, 0)), "values declared, of which the file holds 1"),
        (torch.empty(10**9, 3, device="meta"), "expected real numbers in a dense tensor, found torch.float32 on meta"),
        (torch.zeros(3).to(torch.float8_e4m3fn), "expected real numbers in a dense tensor, found torch.float8_e4m3fn"),
        (torch.zeros(3, dtype=torch.complex64), "expected real numbers in a dense tensor"),
        (torch.zeros(3).to_sparse(), "expected real numbers in a dense tensor"),
    ],
    ids=["repeated", "overflowing", "meta", "float8", "complex", "sparse"],
)
def test_tensors_that_overwhelm_or_hold_no_numbers_are_refused(
    tmp_path: Path, tensor: torch.Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=rf"a\.pt: a: .*{message}"):
        read(saved(tmp_path, tensor))


def test_a_few_repeated_values_are_read(tmp_path: Path) -> None:
    assert torch.equal(read(saved(tmp_path, torch.tensor(0.5).expand(7))), torch.full((7,), 0.5))


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, torch.zeros(10**6))
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))
    assert (tmp_path / "b.pt").stat().st_size < 10**5
    with pytest.raises(InputError, match=r"b\.pt: .*expected an archive that is not compressed"):
        load_dictionary(tmp_path / "b.pt")


def test_an_archive_of_an_earlier_pytorch_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3.0)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert read(tmp_path / "a.pt").tolist() == [0, 1, 2]
