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


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.array([0, 1, 2**32, 2**31]), "4294967296 in row 2"),
        (np.array([0, 2**31]), "2147483648 in row 1"),
        (np.array([-(2**31) - 1, 0]), "-2147483649 in row 0"),
        (np.array([2**64 - 1], np.uint64), "18446744073709551615 in row 0"),
        (np.array([1, 2**32 - 1], np.uint32), "4294967295 in row 1"),
    ],
)
def test_labels_that_32_bits_do_not_hold_are_refused_and_do_not_wrap(tmp_path, labels, found):
    np.save(tmp_path / "labels.npy", labels)
    with pytest.raises(InputError, match=rf"labels\.npy: expected labels of 32 bits, found {found}"):
        read_labels(tmp_path / "labels.npy")


@pytest.mark.parametrize("kind", ["i1", "u1", "<u2", ">i4", "<u4", ">i8", "<u8"])
def test_labels_of_every_type_of_whole_numbers_are_read(tmp_path, kind):
    labels = np.array([0, 100, 3, 0], kind)
    np.save(tmp_path / "labels.npy", labels)
    assert read_labels(tmp_path / "labels.npy").tolist() == [0, 100, 3, 0]
