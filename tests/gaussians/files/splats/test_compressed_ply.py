"""SuperSplat's compressed PLY, against the definition of its bits, written out number by number."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gaussians.files.splats.compressed_ply import write_compressed_ply
from gaussians.files.splats.ply import read_ply, read_ply_splats
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError
from tests.gaussians.samples import random_gaussians

C0 = 1 / (2 * math.sqrt(math.pi))


def chunk_names() -> list[str]:
    groups = (("x", "y", "z"), ("scale_x", "scale_y", "scale_z"), ("r", "g", "b"))
    return [f"{end}_{name}" for group in groups for end in ("min", "max") for name in group]


def encode(tables: dict[str, tuple[list[str], str, np.ndarray]]) -> bytes:
    """A binary PLY of tables: names of the columns, their type, and rows."""
    head, body = ["ply", "format binary_little_endian 1.0"], b""
    for name, (columns, kind, rows) in tables.items():
        head.append(f"element {name} {len(rows)}")
        head += [f"property {kind} {column}" for column in columns]
        body += rows.astype({"float": "<f4", "uint": "<u4", "uchar": "u1"}[kind]).tobytes()
    return "\n".join([*head, "end_header\n"]).encode() + body


def tables(count: int = 300, sh: int = 9, seed: int = 0) -> dict[str, tuple[list[str], str, np.ndarray]]:
    random = np.random.default_rng(seed)
    chunks = -(-count // 256)
    low = random.uniform(-5, 0, (chunks, 9))
    bounds = np.concatenate(
        [part for i in range(3) for part in (low[:, 3 * i : 3 * i + 3], low[:, 3 * i : 3 * i + 3] + 2)], 1
    )
    names = [f"packed_{key}" for key in ("position", "rotation", "scale", "color")]
    found = {
        "chunk": (chunk_names(), "float", bounds),
        "vertex": (names, "uint", random.integers(0, 2**32, (count, 4), np.uint32)),
    }
    if sh:
        found["sh"] = ([f"f_rest_{i}" for i in range(sh)], "uchar", random.integers(0, 256, (count, sh), np.uint8))
    return found


def write(path: Path, contents: bytes) -> Path:
    path.write_bytes(contents)
    return path


@pytest.mark.parametrize("colours", [True, False], ids=["bounds of colours", "no bounds of colours"])
def test_every_bit_has_its_meaning(tmp_path: Path, colours: bool) -> None:
    held = tables()
    names, kind, bounds = held["chunk"]
    if not colours:
        held["chunk"] = (names[:12], kind, bounds[:, :12])
    read = read_ply(write(tmp_path / "a.compressed.ply", encode(held)))
    assert read.scales is not None
    assert read.quaternions is not None
    words, bytes_of_sh = held["vertex"][2], held["sh"][2]
    for row in (0, 17, 255, 256, 299):
        own = dict(zip(names, bounds[row // 256].astype(np.float32).astype(np.float64), strict=True))
        position, rotation, scale, colour = (int(word) for word in words[row])
        for axis, (shift, bits) in enumerate(((21, 11), (11, 10), (0, 11))):
            letter, share = "xyz"[axis], (position >> shift) % 2**bits / (2**bits - 1)
            expected = own[f"min_{letter}"] + share * (own[f"max_{letter}"] - own[f"min_{letter}"])
            assert float(read.means[row, axis]) == pytest.approx(expected, abs=1e-6)
            share = (scale >> shift) % 2**bits / (2**bits - 1)
            expected = own[f"min_scale_{letter}"] + share * (own[f"max_scale_{letter}"] - own[f"min_scale_{letter}"])
            assert math.log(read.scales[row, axis]) == pytest.approx(expected, abs=1e-5)
        three = [((rotation >> shift) % 1024 / 1023 - 0.5) * math.sqrt(2) for shift in (20, 10, 0)]
        three.insert(rotation >> 30, math.sqrt(max(0, 1 - sum(number**2 for number in three))))
        unit = np.array(three) / np.linalg.norm(three)  # random bits may be longer than 1
        np.testing.assert_allclose(read.quaternions[row], unit, atol=1e-6)
        for channel, (shift, letter) in enumerate(((24, "r"), (16, "g"), (8, "b"))):
            value = (colour >> shift) % 256 / 255
            if colours:
                value = own[f"min_{letter}"] + value * (own[f"max_{letter}"] - own[f"min_{letter}"])
            assert float(read.sh[row, 0, channel]) == pytest.approx((value - 0.5) / C0, abs=1e-5)
            for k in range(3):
                byte = int(bytes_of_sh[row, 3 * channel + k])
                share = {0: 0.0, 255: 1.0}.get(byte, (byte + 0.5) / 256)
                assert float(read.sh[row, 1 + k, channel]) == pytest.approx(8 * share - 4, abs=1e-6)
        assert float(read.opacities[row]) == pytest.approx(colour % 256 / 255, abs=1e-7)


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("count", [1, 256, 700])
def test_what_is_written_is_read_back_to_rounding(tmp_path: Path, degree: int, count: int) -> None:
    gaussians = random_gaussians(count, degree)
    write_compressed_ply(tmp_path / "a.compressed.ply", gaussians, up="z")
    splats = read_ply_splats(tmp_path / "a.compressed.ply")
    assert splats.up == "z"
    read = splats.gaussians
    assert len(read) == count
    assert read.sh_degree == degree
    # The rows are in another order: match them by position. A tenth of a step of 1/1023 of the largest extent tells
    # apart what is at random places.
    nearest = torch.cdist(gaussians.means, read.means).argmin(1)
    assert nearest.unique().numel() == count
    read = read[nearest]
    extent = float((gaussians.means.amax(0) - gaussians.means.amin(0)).max())
    torch.testing.assert_close(read.means, gaussians.means, rtol=0, atol=extent / 1023 / 2 + 1e-6)
    torch.testing.assert_close(read.opacities, gaussians.opacities, rtol=0, atol=0.5 / 255 + 1e-6)
    scales, _ = gaussians.scales_and_quaternions()
    # Scales are from 0.1 to 1.1, whose logarithms span 2.4.
    torch.testing.assert_close(read.scales_and_quaternions()[0].log(), scales.log(), rtol=0, atol=2.4 / 1023 / 2 + 1e-6)
    dc = gaussians.sh[:, 0]
    extent = float(dc.max() - dc.min())
    torch.testing.assert_close(read.sh[:, 0], dc, rtol=0, atol=extent / 255 / 2 + 1e-5)
    torch.testing.assert_close(read.sh[:, 1:], gaussians.sh[:, 1:].clamp(-4, 4), rtol=0, atol=8 / 256 + 1e-5)
    # Three components are rounded by sqrt(2) / 1023 / 2 each, and the fourth follows from them.
    turn = (read.scales_and_quaternions()[1] * torch.nn.functional.normalize(gaussians.quaternions, dim=1)).sum(1).abs()
    assert float(turn.min()) > 1 - 1e-5


def test_extremes_are_written_too(tmp_path: Path) -> None:
    gaussians = Gaussians(
        torch.zeros(2, 3), torch.tensor([0.0, 1.0]), torch.zeros(2, 1, 3), torch.zeros(2, 3), torch.ones(2, 4)
    )
    write_compressed_ply(tmp_path / "a.ply", gaussians)
    read = read_ply(tmp_path / "a.ply")
    assert sorted(read.opacities.tolist()) == [0, 1]
    assert read.scales is not None
    assert float(read.scales.max()) < 1e-8


def test_a_chunk_without_finite_bounds_is_left_out(tmp_path: Path) -> None:
    held = tables()
    held["chunk"][2][1, 0] = np.nan
    path = write(tmp_path / "a.ply", encode(held))
    splats = read_ply_splats(path)
    assert splats.rows.tolist() == list(range(256))
    assert splats.notes[0].startswith("44 of 300 rows are left out: chunk's min_x to max_z: expected finite bounds")
    with pytest.raises(InputError, match=r"a\.ply: chunk's min_x to max_z: expected finite bounds"):
        read_ply(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda held: held.pop("chunk"), "no property 'min_x': expected a compressed PLY"),
        (lambda held: held.update(chunk=(*held["chunk"][:2], held["chunk"][2][:1])), "expected 2 chunks for 300"),
        (lambda held: held.update(sh=(*held["sh"][:2], held["sh"][2][:9])), "sh: expected 300 rows, found 9"),
        (lambda held: held.update(tables(sh=8)), "sh: expected f_rest_0 to f_rest_8, 23 or 44, found 8"),
        (lambda held: held.update(vertex=(["packed_position"], "uint", np.zeros((9, 1)))), "'packed_rotation'"),
        (lambda held: held.update(vertex=(*held["vertex"][:2], np.zeros((0, 4)))), "no vertices"),
    ],
    ids=["no chunks", "too few chunks", "too few coefficients", "odd coefficients", "no rotation", "no rows"],
)
def test_tables_that_do_not_fit_are_named(tmp_path: Path, change, message: str) -> None:
    held = tables()
    change(held)
    with pytest.raises(InputError, match=rf"a\.ply: .*{message}"):
        read_ply(write(tmp_path / "a.ply", encode(held)))
