import numpy as np
import pytest

from gaussians.files.labels import read_labels
from gaussians.stage.errors import InputError


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "not a readable .npy file"),
        (b"\x93NUMPY", "not a readable .npy file"),
        (b"no array", "not a readable .npy file"),
        (b"\x93NUMPY\x01\x00\x20\x00{'descr': '<i4'," + bytes(14) + b"\n", "not a readable .npy file"),
        (np.zeros((2, 2), np.int32), "expected one whole number for each Gaussian"),
        (np.zeros(3), "expected one whole number for each Gaussian"),
        (np.array([None, 1]), "not a readable .npy file"),
    ],
    ids=["empty", "magic only", "text", "torn header", "table", "floats", "pickle"],
)
def test_bad_labels_are_refused(tmp_path, contents, message):
    path = tmp_path / "labels.npy"
    if isinstance(contents, bytes):
        path.write_bytes(contents)
    else:
        np.save(path, contents, allow_pickle=True)
    with pytest.raises(InputError, match=rf"labels\.npy: {message}"):
        read_labels(path)


def test_labels_of_a_huge_declared_size_are_refused(tmp_path):
    path = tmp_path / "labels.npy"
    with path.open("wb") as file:
        header = {"descr": "<i4", "fortran_order": False, "shape": (10**15,)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(InputError, match=r"labels\.npy: not a readable"):
        read_labels(path)
