"""Niantic's .spz of every version, against the definition of its bytes, written out Gaussian by Gaussian."""

import gzip
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from scipy.spatial.transform import Rotation

from gaussians.files.splats.spz import MAX_UNSTORED, read_spz, write_spz
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import sh_to_rgb
from gaussians.stage.errors import InputError
from tests.gaussians.samples import random_gaussians

COUNT = 5
FRACTIONAL_BITS = 12


def parts(version: int, degree: int, count: int = COUNT, seed: int = 0) -> list[bytes]:
    """The parts of a file, of random Gaussians."""
    random = np.random.default_rng(seed)
    coefficients = 3 * ((degree + 1) ** 2 - 1)
    widths = (9, 1, 3, 3, 3 if version < 3 else 4, coefficients)
    return [random.integers(0, 256, width * count, np.uint8).tobytes() for width in widths]


def encode(version: int, degree: int, held: list[bytes], count: int = COUNT, bits: int = FRACTIONAL_BITS) -> bytes:
    if version < 4:
        header = struct.pack("<4sIIBBBB", b"NGSP", version, count, degree, bits, 0, 0)
        return gzip.compress(header + b"".join(held), mtime=0)
    held = [part for part in held if part]
    streams = [zstandard.ZstdCompressor().compress(part) for part in held]
    header = struct.pack("<4sIIBBBBI12x", b"NGSP", version, count, degree, bits, 0, len(held), 32)
    table = b"".join(struct.pack("<QQ", len(s), len(part)) for s, part in zip(streams, held, strict=True))
    return header + table + b"".join(streams)


def write(path: Path, contents: bytes) -> Path:
    path.write_bytes(contents)
    return path


@pytest.mark.parametrize("degree", range(5))
@pytest.mark.parametrize("version", [2, 3, 4])
def test_every_byte_has_its_meaning(tmp_path: Path, version: int, degree: int) -> None:
    held = parts(version, degree)
    read = read_spz(write(tmp_path / "a.spz", encode(version, degree, held))).gaussians
    assert read.scales is not None
    assert read.quaternions is not None
    assert read.sh_degree == min(degree, 3)
    positions, alphas, colours, scales, quaternions, further = held
    stored = np.zeros((COUNT, (degree + 1) ** 2, 3))
    for i in range(COUNT):
        xyz = [int.from_bytes(positions[9 * i + 3 * a : 9 * i + 3 * a + 3], "little", signed=True) for a in range(3)]
        # y up and z back in the file; y down and z forward here.
        expected = np.array(xyz) / 2**FRACTIONAL_BITS * [1, -1, -1]
        np.testing.assert_allclose(read.means[i], expected, rtol=1e-6)
        assert float(read.opacities[i]) == pytest.approx(alphas[i] / 255, abs=1e-7)
        logarithms = [scales[3 * i + a] / 16 - 10 for a in range(3)]
        np.testing.assert_allclose(read.scales[i].log(), logarithms, atol=1e-5)
        if version == 2:
            x, y, z = (quaternions[3 * i + a] / 127.5 - 1 for a in range(3))
            unit = np.array([x, y, z, math.sqrt(max(0, 1 - x * x - y * y - z * z))])
        else:
            word = int.from_bytes(quaternions[4 * i : 4 * i + 4], "little")
            signs_and_sizes = [word >> shift & 1023 for shift in (20, 10, 0)]
            three = [(-1.0 if f >= 512 else 1.0) * (f % 512) / 511 / math.sqrt(2) for f in signs_and_sizes]
            three.insert(word >> 30, math.sqrt(max(0, 1 - sum(number**2 for number in three))))
            unit = np.array(three)
        # Turning a half about x before and after the rotation is what turning y and z over does to it.
        half = Rotation.from_euler("x", 180, degrees=True)
        expected_turn = half * Rotation.from_quat(unit) * half
        w, x, y, z = read.quaternions[i].tolist()
        assert (expected_turn.inv() * Rotation.from_quat([x, y, z, w])).magnitude() < 1e-6
        stored[i, 0] = [(colours[3 * i + c] / 255 - 0.5) / 0.15 for c in range(3)]
        for k in range((degree + 1) ** 2 - 1):
            at = 3 * (i * ((degree + 1) ** 2 - 1) + k)
            stored[i, 1 + k] = [(further[at + c] - 128) / 128 for c in range(3)]
    # The colour in a direction is that of the stored coefficients in the turned direction.
    direction = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.8]]), dim=1).expand(COUNT, 3)
    kept = torch.from_numpy(stored[:, :16].astype(np.float32))
    expected_rgb = sh_to_rgb(kept, direction * torch.tensor([1.0, -1, -1]))
    torch.testing.assert_close(sh_to_rgb(read.sh, direction), expected_rgb, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_what_is_written_is_read_back_to_rounding(tmp_path: Path, degree: int, size: float) -> None:
    gaussians = random_gaussians(50, degree).transformed(scale=size)
    gaussians = Gaussians(**{**vars(gaussians), "sh": gaussians.sh / 4})
    assert gaussians.scales is not None
    write_spz(tmp_path / "a.spz", gaussians)
    read = read_spz(tmp_path / "a.spz").gaussians
    assert read.scales is not None
    assert read.quaternions is not None
    # 23 bits, of which up to one is not used, for the largest coordinate.
    largest = float(gaussians.means.abs().max())
    torch.testing.assert_close(read.means, gaussians.means, rtol=0, atol=max(largest / 2**22, 2.0**-24) / 2)
    torch.testing.assert_close(read.opacities, gaussians.opacities, rtol=0, atol=0.5 / 255 + 1e-6)
    logarithms = gaussians.scales.log().clamp(-10, 255 / 16 - 10)
    torch.testing.assert_close(read.scales.log(), logarithms, rtol=0, atol=1 / 32 + 1e-5)
    torch.testing.assert_close(read.sh[:, 0], gaussians.sh[:, 0], rtol=0, atol=0.5 / 255 / 0.15 + 1e-5)
    # A byte for each coefficient; the turn of a band mixes up to seven of them.
    torch.testing.assert_close(read.sh[:, 1:], gaussians.sh[:, 1:].clamp(-1, 1), rtol=0, atol=0.5 / 128 * 7)
    turn = (read.quaternions * torch.nn.functional.normalize(gaussians.quaternions, dim=1)).sum(1).abs()
    assert float(turn.min()) > 1 - 1e-5


def test_gaussians_of_covariances_are_written_too(tmp_path: Path) -> None:
    gaussians = random_gaussians(20, 1)
    write_spz(tmp_path / "a.spz", gaussians.with_covariances())
    read = read_spz(tmp_path / "a.spz").gaussians
    # Scales of up to 1.1 are off by 1/32 of themselves, so their squares by a bit over 1/16.
    torch.testing.assert_close(read.covariance(), gaussians.covariance(), rtol=0, atol=1.21 / 14)


def test_a_file_that_unpacks_to_far_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    count = MAX_UNSTORED // 20 + 1
    header = struct.pack("<4sIIBBBB", b"NGSP", 3, count, 0, FRACTIONAL_BITS, 0, 0)
    path = write(tmp_path / "bomb.spz", gzip.compress(header + bytes(1000), mtime=0))
    with pytest.raises(InputError, match=rf"bomb\.spz: {count} Gaussians declared, which take \d+ bytes"):
        read_spz(path)
    # Streams that hold more than they declare.
    held = parts(4, 0)
    contents = bytearray(encode(4, 0, [bytes(10**8), *held[1:]]))
    contents[40:48] = struct.pack("<Q", len(held[0]))
    with pytest.raises(InputError, match=r"bomb\.spz: positions: expected a frame of 45 bytes"):
        read_spz(write(path, bytes(contents)))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "not a .spz file"),
        (b"ply\n", "not a .spz file"),
        (gzip.compress(b"ply\nformat", mtime=0), "no header"),
        (gzip.compress(b"ply\nformat ascii 1.0\n", mtime=0), "expected 'NGSP', found b'ply"),
        (encode(1, 0, parts(1, 0)), "version: expected 2 or 3 with this compression, found 1"),
        (encode(5, 0, parts(4, 0)), "version: expected 4 with this compression, found 5"),
        (encode(3, 5, parts(3, 4)), "expected SH coefficients of degree 0 to 4, found 5"),
        (encode(3, 0, parts(3, 0), bits=25), "expected at most 24 fractional bits, found 25"),
        (encode(3, 0, parts(3, 0), count=0), "no Gaussians"),
        (encode(3, 0, parts(3, 0), count=6), "truncated .spz: 6 Gaussians declared, which take 120 bytes"),
        (encode(3, 0, parts(3, 0))[:-20], "truncated .spz"),
        (encode(4, 0, parts(4, 0))[:-20], "scales: expected 15 bytes|quaternions: expected 20 bytes"),
        (encode(4, 0, parts(4, 0))[:40], "truncated or damaged .spz"),
        (encode(4, 1, parts(4, 0)), "expected 6 streams, found 5"),
    ],
)
def test_bad_files_are_refused_in_words(tmp_path: Path, contents: bytes, message: str) -> None:
    with pytest.raises(InputError, match=rf"bad\.spz: .*({message})"):
        read_spz(write(tmp_path / "bad.spz", contents))
