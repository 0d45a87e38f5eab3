"""Read and write Niantic's .spz: about 20 bytes a Gaussian, and three for each further SH coefficient, compressed.

After a header come, of all Gaussians one after the other: positions (three numbers of 24 bits, fixed point),
opacities, colours, logarithms of scales, quaternions and further SH coefficients, a byte for each number. Versions 2
and 3 compress all of it with gzip; version 4 compresses each part with Zstandard. Since version 3 a quaternion is the
three smallest of its numbers in ten bits each; before it is its x, y and z in a byte each. The axes are those of
OpenGL (x right, y up, z back); here y and z are turned over, to x right, y down, z forward, as in the PLY files that
.spz files are made from.
"""

import gzip
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import zstandard

from gaussians.files.splats.smallest_three import from_smallest_three, smallest_three
from gaussians.files.splats.splat_rows import RowChecks, Splats
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import MAX_DEGREE
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError

GZIP_MAGIC, SPZ_MAGIC = b"\x1f\x8b", b"NGSP"
"""How .spz files begin: versions 2 and 3, and version 4."""
MAX_UNSTORED = 32 * 2**20
"""The number of bytes that a file may unpack to however small it is."""
MAX_RATIO = 50
"""How many times as large as the file what it unpacks to may be."""

_HEADER = struct.Struct("<4sIIBBBB")  # magic, version, points, degree, fractional bits, flags, streams
_TABLE_OFFSET = struct.Struct("<I")
_STREAM = struct.Struct("<QQ")  # compressed and unpacked bytes
_HEADER_BYTES_OF_4 = 32
_MAX_DEGREE = 4
_COLOUR = 0.15  # bytes, over 255, for each unit of a coefficient of degree 0
_LOWEST_LOG_SCALE, _LOG_SCALE_STEP = -10.0, 1 / 16
_MAX_FRACTIONAL_BITS = 24
_TURNED_OVER = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


@dataclass(frozen=True)
class _Header:
    """A ``_Header`` says what a file's parts hold.

    Attributes:
        version: 2, 3 or 4.
        count: number of Gaussians.
        degree: degree of the SH coefficients.
        fractional_bits: bits of a position after the point.
    """

    version: int
    count: int
    degree: int
    fractional_bits: int

    @property
    def parts(self) -> dict[str, int]:
        """Return the bytes of each part, in the order of the file."""
        quaternion = 3 if self.version < 3 else 4
        widths = {"positions": 9, "alphas": 1, "colours": 3, "scales": 3, "quaternions": quaternion}
        return {name: width * self.count for name, width in widths.items()} | {"sh": self.further * 3 * self.count}

    @property
    def further(self) -> int:
        """Return the number of coefficients beyond degree 0."""
        return (self.degree + 1) ** 2 - 1


def read_spz(path: str | Path, keep_rows: bool = False) -> Splats:
    """Read a .spz file of version 2, 3 or 4; coefficients of degree 4 are cut off.

    Args:
        keep_rows: whether a row that holds no Gaussian is an error; otherwise it is left out.

    Raises:
        InputError: the file is missing, damaged, of another version, or unpacks to far more than it holds.
    """
    path = Path(path)
    try:
        contents = path.read_bytes()
        if contents[:2] == GZIP_MAGIC:
            header, packed = _unpacked_gzip(path, contents)
        elif contents[:4] == SPZ_MAGIC:
            header, packed = _unpacked_streams(path, contents)
        else:
            raise InputError(f"{path}: not a .spz file: expected it to begin with gzip's mark or 'NGSP'")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (zlib.error, zstandard.ZstdError, struct.error, EOFError) as error:
        raise InputError(f"{path}: truncated or damaged .spz: {error}") from None
    return _gaussians(path, header, packed, keep_rows)


def _unpacked_gzip(path: Path, contents: bytes) -> tuple[_Header, dict[str, np.ndarray]]:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    head = unpacker.decompress(contents, _HEADER.size)
    if len(head) < _HEADER.size:
        raise InputError(f"{path}: truncated or damaged .spz: no header in {len(contents)} bytes")
    header, _ = _checked_header(path, head, (2, 3), len(contents))
    size = sum(header.parts.values())
    body = unpacker.decompress(unpacker.unconsumed_tail, size) if size else b""
    if len(body) < size:
        raise InputError(f"{path}: truncated .spz: {header.count} Gaussians declared, which take {size} bytes")
    packed, place = {}, 0
    for name, width in header.parts.items():
        packed[name] = np.frombuffer(body, np.uint8, width, place)
        place += width
    return header, packed


def _unpacked_streams(path: Path, contents: bytes) -> tuple[_Header, dict[str, np.ndarray]]:
    header, streams = _checked_header(path, contents, (4,), len(contents))
    (place,) = _TABLE_OFFSET.unpack_from(contents, _HEADER.size)
    parts = {name: size for name, size in header.parts.items() if size}
    if streams != len(parts):
        raise InputError(f"{path}: expected {len(parts)} streams, found {streams}")
    start = place + streams * _STREAM.size
    packed = dict.fromkeys(header.parts, np.zeros(0, np.uint8))
    for i, (name, size) in enumerate(parts.items()):
        compressed, declared = _STREAM.unpack_from(contents, place + i * _STREAM.size)
        if declared != size or start + compressed > len(contents):
            raise InputError(f"{path}: {name}: expected {size} bytes, found {declared} declared in {len(contents)}")
        stream = contents[start : start + compressed]
        if not 0 <= zstandard.frame_content_size(stream) <= size:
            raise InputError(f"{path}: {name}: expected a frame of {size} bytes")
        unpacked = zstandard.ZstdDecompressor().decompress(stream, max_output_size=size)
        if len(unpacked) != size:
            raise InputError(f"{path}: {name}: expected {size} bytes, found {len(unpacked)}")
        packed[name] = np.frombuffer(unpacked, np.uint8)
        start += compressed
    return header, packed


def _checked_header(path: Path, head: bytes, versions: tuple[int, ...], size: int) -> tuple[_Header, int]:
    """Return the header and the number of streams."""
    magic, version, count, degree, fractional_bits, _, streams = _HEADER.unpack_from(head)
    if magic != SPZ_MAGIC:
        raise InputError(f"{path}: not a .spz file: expected 'NGSP', found {magic!r}")
    if version not in versions:
        expected = " or ".join(map(str, versions))
        raise InputError(f"{path}: version: expected {expected} with this compression, found {version}")
    if degree > _MAX_DEGREE:
        raise InputError(f"{path}: expected SH coefficients of degree 0 to {_MAX_DEGREE}, found {degree}")
    if fractional_bits > _MAX_FRACTIONAL_BITS:
        raise InputError(f"{path}: expected at most {_MAX_FRACTIONAL_BITS} fractional bits, found {fractional_bits}")
    if count == 0:
        raise InputError(f"{path}: no Gaussians: expected at least one")
    header = _Header(version, count, degree, fractional_bits)
    if (unpacked := sum(header.parts.values())) > max(MAX_UNSTORED, MAX_RATIO * size):
        raise InputError(f"{path}: {count} Gaussians declared, which take {unpacked} bytes, in a file of {size}")
    return header, streams


def _gaussians(path: Path, header: _Header, packed: dict[str, np.ndarray], keep_rows: bool) -> Splats:
    count = header.count
    bytes_of_positions = packed["positions"].reshape(-1, 3).astype(np.int32)
    fixed = bytes_of_positions @ np.array([1, 2**8, 2**16], np.int32)
    fixed = np.where(fixed >= 2**23, fixed - 2**24, fixed).reshape(count, 3)
    numbers = packed["quaternions"].reshape(count, -1)
    xyzw = _quaternions_of_xyz(numbers) if header.version < 3 else _quaternions_of_words(numbers)
    colours = (packed["colours"].astype(np.float32) / 255 - 0.5) / _COLOUR
    further = (packed["sh"].astype(np.float32) - 128) / 128
    sh = np.concatenate([colours.reshape(count, 1, 3), further.reshape(count, header.further, 3)], 1)
    scales = np.exp(packed["scales"].astype(np.float32) * _LOG_SCALE_STEP + _LOWEST_LOG_SCALE)
    gaussians = Gaussians(
        means=torch.from_numpy((fixed / 2.0**header.fractional_bits).astype(np.float32)),
        opacities=torch.from_numpy(packed["alphas"].astype(np.float32) / 255),
        sh=torch.from_numpy(sh[:, : (MAX_DEGREE + 1) ** 2]).contiguous(),
        scales=torch.from_numpy(scales.reshape(count, 3)),
        quaternions=torch.from_numpy(np.roll(xyzw, 1, 1).astype(np.float32)),
    )
    return RowChecks(path, count, keep_rows).splats(_turned_over(gaussians))


def _turned_over(gaussians: Gaussians) -> Gaussians:
    """Return Gaussians with y and z turned over, in the world and in their own axes, which changes no shape."""
    turned = gaussians.transformed(rotation=_TURNED_OVER)
    _, quaternions = gaussians.scales_and_quaternions()
    return replace(turned, quaternions=quaternions * torch.tensor([1.0, 1.0, -1.0, -1.0]))


def _quaternions_of_xyz(numbers: np.ndarray) -> np.ndarray:
    """Return quaternions (N, 4) xyzw from x, y and z (N, 3), -1 to 1 in a byte; w is positive."""
    xyz = numbers / 127.5 - 1
    return np.concatenate([xyz, np.sqrt(np.maximum(1 - (xyz**2).sum(1, keepdims=True), 0))], 1)


def _quaternions_of_words(numbers: np.ndarray) -> np.ndarray:
    """Return quaternions (N, 4) xyzw from words (N, 4) bytes: which is largest, and sign and size of the others."""
    words = np.ascontiguousarray(numbers).view("<u4").squeeze(1)
    fields = np.stack([words >> shift & 1023 for shift in (20, 10, 0)], 1)
    smaller = (fields & 511) / 511 / np.sqrt(2) * np.where(fields & 512, -1, 1)
    return from_smallest_three(smaller, words >> 30)


def write_spz(path: str | Path, gaussians: Gaussians) -> None:
    """Write a .spz file of version 3, which most programs read, atomically.

    Positions are rounded to at most a 4,000,000th of the largest coordinate, scales by up to 3 %, opacities, colours
    and coefficients (-1 to 1) to a byte.

    Args:
        gaussians: the Gaussians, x right, y down and z forward, as PLY files of captures have them.

    Raises:
        InputError: the file cannot be written.
    """
    scales, quaternions = gaussians.to("cpu").as_float32().scales_and_quaternions()
    gaussians = replace(gaussians.to("cpu").as_float32(), scales=scales, quaternions=quaternions, covariances=None)
    gaussians = _turned_over(gaussians)
    scales, quaternions = gaussians.scales_and_quaternions()
    largest = max(float(gaussians.means.abs().max()) if len(gaussians) else 0.0, 2.0**-20)
    fractional_bits = int(np.clip(23 - np.ceil(np.log2(largest * (1 + 2**-22))), 0, _MAX_FRACTIONAL_BITS))
    means = gaussians.means.double().numpy()
    fixed = np.rint(means * 2.0**fractional_bits).clip(-(2**23), 2**23 - 1).astype("<i4")
    smaller, place = smallest_three(np.roll(quaternions.double().numpy(), -1, 1))
    sizes = np.rint(np.abs(smaller) * np.sqrt(2) * 511).clip(0, 511).astype(np.uint32)
    fields = np.where(smaller < 0, 512, 0).astype(np.uint32) | sizes
    words = place.astype(np.uint32) << 30 | fields[:, 0] << 20 | fields[:, 1] << 10 | fields[:, 2]
    sh = gaussians.sh.double().numpy()
    logarithms = np.log(scales.double().numpy().clip(1e-30))
    parts = [
        fixed.view(np.uint8).reshape(-1, 4)[:, :3],
        _byte(gaussians.opacities.double().numpy() * 255),
        _byte((sh[:, 0] * _COLOUR + 0.5) * 255),
        _byte((logarithms - _LOWEST_LOG_SCALE) / _LOG_SCALE_STEP),
        words.astype("<u4"),
        _byte(sh[:, 1:] * 128 + 128),
    ]
    header = _HEADER.pack(SPZ_MAGIC, 3, len(gaussians), gaussians.sh_degree, fractional_bits, 0, 0)
    body = header + b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(body, 6, mtime=0))


def _byte(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)
