"""Files of Gaussians by their contents and their names."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from gaussians.files.splats.ply import write_ply
from gaussians.files.splats.splat_formats import read_splats, write_splats
from gaussians.files.splats.splat_rows import CAPTURE_UP, UPRIGHT
from gaussians.files.storage_options import SPLAT_FORMATS, UP_AXES
from gaussians.stage.errors import InputError
from tests.gaussians.samples import random_gaussians


@pytest.mark.parametrize("axis", UP_AXES)
def test_upright_is_a_rotation_that_takes_the_axis_to_z(axis: str) -> None:
    R = UPRIGHT[axis]
    up = torch.zeros(3)
    up["xyz".index(axis[-1])] = -1.0 if axis.startswith("-") else 1.0
    assert (R @ up).tolist() == [0, 0, 1]
    assert torch.equal(R @ R.T, torch.eye(3))
    assert float(torch.det(R)) == 1


@pytest.mark.parametrize("kind", SPLAT_FORMATS)
@pytest.mark.parametrize("name", ["a", "a.bin", "a.ply"])
def test_contents_tell_the_format_whatever_the_name(tmp_path: Path, kind: str, name: str) -> None:
    gaussians = random_gaussians(40, 1)
    write_splats(tmp_path / name, gaussians, kind)
    splats = read_splats(tmp_path / name)
    read = splats.gaussians.transformed(rotation=UPRIGHT[splats.up or CAPTURE_UP])
    nearest = torch.cdist(gaussians.means, read.means).argmin(1)
    assert nearest.unique().numel() == 40
    # A compressed PLY rounds to 1/1023 of an extent of 6.
    torch.testing.assert_close(read.means[nearest], gaussians.means, rtol=0, atol=6 / 1023)
    torch.testing.assert_close(read.opacities[nearest], gaussians.opacities, rtol=0, atol=1 / 255)


def test_a_dictionary_of_tensors_and_a_splat_are_read(tmp_path: Path) -> None:
    gaussians = random_gaussians(3, 0)
    assert gaussians.scales is not None
    contents = {"means": gaussians.means, "scales": gaussians.scales.log(), "rotations": gaussians.quaternions}
    torch.save(contents | {"opacities": torch.zeros(3), "harmonics": gaussians.sh}, tmp_path / "a.pt")
    assert torch.equal(read_splats(tmp_path / "a.pt").gaussians.means, gaussians.means)
    np.full((2, 32), 60, np.uint8).tofile(tmp_path / "a.splat")
    assert len(read_splats(tmp_path / "a.splat").gaussians) == 2


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("a.ksplat", bytes(9), "a .ksplat: `npx @playcanvas/splat-transform a.ksplat out.ply` converts it"),
        ("a.sog", b"PK\x03\x04", "a .sog: `npx @playcanvas/splat-transform a.sog out.ply` converts it"),
        ("meta.json", b"{}", "meta.json of a SOG, `npx @playcanvas/splat-transform meta.json out.ply`"),
        ("a.glb", b"glTF", "a mesh holds no Gaussians: .*generate_objects --mesh a.glb"),
        ("a.ply", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS: `git lfs pull`"),
        ("a.ply", b"<html>", "not a PLY file"),
        ("a.ply", gzip.compress(b"ply\nformat ascii 1.0\nelement", mtime=0), "not a .spz file"),
        ("a.xyz", b"0 0 0", "points hold no Gaussians"),
        ("a", b"", "not a file of Gaussians: expected a PLY of 3D Gaussian Splatting"),
    ],
)
def test_other_formats_are_named_with_what_converts_them(
    tmp_path: Path, name: str, contents: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(InputError, match=message):
        read_splats(tmp_path / name)


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.ply: no such file"):
        read_splats(tmp_path / "none.ply")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_splats(tmp_path)


def test_a_plain_ply_has_no_upward_axis(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", random_gaussians(3, 0))
    assert read_splats(tmp_path / "a.ply").up is None
