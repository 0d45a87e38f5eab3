"""Files of 32 bytes a Gaussian, against their definition."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gaussians.files.splats.splat_file import read_splat_file
from gaussians.stage.errors import InputError

ROW = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quaternion", "u1", 4)])


def rows(count: int = 4) -> np.ndarray:
    random = np.random.default_rng(0)
    found = np.zeros(count, ROW)
    found["position"], found["scale"] = random.normal(size=(count, 3)), random.uniform(0.01, 0.1, (count, 3))
    found["rgba"], found["quaternion"] = random.integers(0, 256, (count, 4)), random.integers(0, 256, (count, 4))
    return found


def test_values_are_those_of_the_bytes(tmp_path: Path) -> None:
    held = rows()
    held["rgba"][0] = (0, 51, 255, 255)
    held["quaternion"][0] = (255, 128, 128, 128)
    held["quaternion"][1] = (128, 0, 128, 128)
    held.tofile(tmp_path / "a.splat")
    read = read_splat_file(tmp_path / "a.splat").gaussians
    assert read.scales is not None
    assert read.quaternions is not None
    assert np.array_equal(read.means, held["position"])
    assert np.array_equal(read.scales, held["scale"])
    assert read.opacities[0] == 1
    rgb = read.sh[0, 0] / (2 * math.sqrt(math.pi)) + 0.5
    torch.testing.assert_close(rgb, torch.tensor([0.0, 0.2, 1.0]), rtol=0, atol=1e-6)
    assert read.quaternions[0].tolist() == [1, 0, 0, 0]
    assert read.quaternions[1].tolist() == [0, -1, 0, 0]
    torch.testing.assert_close(read.quaternions.norm(dim=1), torch.ones(4))


def test_broken_rows_are_left_out_or_named(tmp_path: Path) -> None:
    held = rows(6)
    held["position"][1, 2], held["scale"][2, 0], held["quaternion"][4] = np.inf, -1, 128
    held.tofile(tmp_path / "a.splat")
    splats = read_splat_file(tmp_path / "a.splat")
    assert splats.rows.tolist() == [0, 3, 5]
    assert splats.notes[0].startswith("3 of 6 rows are left out: position: expected finite values, found")
    with pytest.raises(InputError, match=r"a\.splat: position: expected finite values, found .* in row 1"):
        read_splat_file(tmp_path / "a.splat", keep_rows=True)


@pytest.mark.parametrize("size", [0, 31, 33, 3200 + 16])
def test_other_sizes_are_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "a.splat").write_bytes(bytes(size))
    with pytest.raises(InputError, match=rf"a\.splat: expected 32 bytes for each Gaussian, found {size} bytes"):
        read_splat_file(tmp_path / "a.splat")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.splat: no such file"):
        read_splat_file(tmp_path / "a.splat")
