"""Read and write SuperSplat's compressed PLY: about 16 bytes a Gaussian, and one for each further SH coefficient.

Gaussians lie in chunks of 256. A table ``chunk`` holds the bounds of each chunk's positions, logarithms of scales and
colours; the table ``vertex`` packs where between the bounds a Gaussian is into words of 32 bits, 11, 10 and 11 bits
for the three coordinates, and its quaternion as the three smallest of its four numbers; the table ``sh`` holds the
coefficients beyond degree 0 as bytes. PlayCanvas' splat-transform and SuperSplat write and read it.
"""

from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement

from gaussians.files.splats.ply_tables import PlyTables, axis_comments
from gaussians.files.splats.smallest_three import from_smallest_three, smallest_three
from gaussians.files.splats.splat_rows import RowChecks, Splats
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import C0, MAX_DEGREE, rgb_to_sh
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError

CHUNKED_TABLES = ("chunk", "vertex", "sh")
"""The names of the tables of a compressed PLY."""

_CHUNK = 256
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_POSITION_BITS = (11, 10, 11)
_SH_RANGE = 8.0  # the range of coefficients, -4 to 4, that a byte spans
_LOG_SCALES = (-20.0, 20.0)
_POSITIONS, _SCALES, _COLOURS = (
    tuple(f"{end}_{name}" for end in ("min", "max") for name in names)
    for names in (("x", "y", "z"), ("scale_x", "scale_y", "scale_z"), ("r", "g", "b"))
)


def is_compressed(tables: PlyTables) -> bool:
    """Return whether the tables of a PLY are those of a compressed one."""
    return "packed_position" in tables.tables["vertex"]


def unpacked(path: Path, tables: PlyTables, keep_rows: bool) -> Splats:
    """Return the Gaussians of a compressed PLY.

    Raises:
        InputError: a table or a property is missing, tables do not fit each other, or a chunk's bounds are not finite.
    """
    vertices, chunks, sh = (tables.tables.get(name, {}) for name in ("vertex", "chunk", "sh"))
    _check_tables(path, vertices, chunks, sh)
    words = {name: _words(path, name, vertices[name]) for name in _PACKED}
    count = len(words["packed_position"])
    chunk = np.arange(count) // _CHUNK
    checks = RowChecks(path, count, keep_rows)

    def between(names: tuple[str, ...], shares: np.ndarray) -> torch.Tensor:
        """Return values (N, 3) from their shares of the way between a chunk's bounds."""
        bounds = np.stack([chunks[name].astype(np.float64) for name in names], 1)[chunk]
        values = torch.from_numpy((bounds[:, :3] * (1 - shares) + bounds[:, 3:] * shares).astype(np.float32))
        problem = f"chunk's {names[0]} to {names[-1]}: expected finite bounds"
        checks.expect(values.isfinite(), lambda row: f"{problem}, found {bounds[row].tolist()}")
        return values

    means = between(_POSITIONS, _unpacked(words["packed_position"], _POSITION_BITS))
    scales = between(_SCALES, _unpacked(words["packed_scale"], _POSITION_BITS)).exp()
    checks.expect(scales.isfinite() | scales.isnan(), lambda row: "chunk's max_scale_*: expected logarithms of metres")
    colours = _unpacked(words["packed_color"], (8, 8, 8, 8))
    rgb = torch.from_numpy(colours[:, :3].astype(np.float32))
    if _COLOURS[0] in chunks:
        rgb = between(_COLOURS, colours[:, :3])
    # The components of quaternions lie within +-1 / sqrt 2, here spread over 10 bits.
    word = words["packed_rotation"]
    smaller = (_unpacked(word & (2**30 - 1), (10, 10, 10)) - 0.5) * np.sqrt(2)
    gaussians = Gaussians(
        means=means,
        opacities=torch.from_numpy(colours[:, 3].astype(np.float32)),
        sh=torch.cat([rgb_to_sh(rgb), _further_coefficients(sh, count)], 1),
        scales=scales,
        quaternions=torch.from_numpy(from_smallest_three(smaller, word >> 30).astype(np.float32)),
    )
    return checks.splats(gaussians, tables.up)


def _check_tables(path: Path, *tables: dict[str, np.ndarray]) -> None:
    vertices, chunks, sh = tables
    for table, names in ((vertices, _PACKED), (chunks, (*_POSITIONS, *_SCALES))):
        for name in names:
            if name not in table:
                raise InputError(f"{path}: no property {name!r}: expected a compressed PLY of SuperSplat")
    if _COLOURS[0] in chunks and not set(_COLOURS) <= set(chunks):
        raise InputError(f"{path}: expected {', '.join(_COLOURS)} of a chunk, or none of them")
    count = len(vertices[_PACKED[0]])
    if count == 0:
        raise InputError(f"{path}: no vertices: expected at least one Gaussian")
    if len(chunks[_POSITIONS[0]]) < -(-count // _CHUNK):
        found = len(chunks[_POSITIONS[0]])
        raise InputError(f"{path}: expected {-(-count // _CHUNK)} chunks for {count} Gaussians, found {found}")
    if not sh:
        return
    if set(sh) != {f"f_rest_{i}" for i in range(len(sh))} or len(sh) not in (9, 24, 45, 72):
        raise InputError(f"{path}: sh: expected f_rest_0 to f_rest_8, 23 or 44, found {len(sh)} properties")
    if len(sh["f_rest_0"]) != count:
        raise InputError(f"{path}: sh: expected {count} rows, found {len(sh['f_rest_0'])}")


def _words(path: Path, name: str, column: np.ndarray) -> np.ndarray:
    """Return a column as words of 32 bits, which text holds as other numbers."""
    if column.dtype.kind == "f" and not ((column >= 0) & (column < 2**32)).all():
        raise InputError(f"{path}: property {name!r}: expected whole numbers of 32 bits")
    return column.astype(np.uint32)


def _further_coefficients(sh: dict[str, np.ndarray], count: int) -> torch.Tensor:
    """Return the coefficients (N, K - 1, 3) beyond degree 0, and those beyond degree 3 cut off."""
    of_channel = len(sh) // 3
    kept = min(of_channel, (MAX_DEGREE + 1) ** 2 - 1)
    values = np.empty((count, kept, 3), np.float32)
    for channel in range(3):
        for k in range(kept):
            byte = sh[f"f_rest_{channel * of_channel + k}"].astype(np.float32)
            # A byte stands for the middle of its 256th part, but the outermost ones for the ends.
            share = np.where(byte == 0, 0, np.where(byte == 255, 1, (byte + 0.5) / 256))
            values[:, k, channel] = (share - 0.5) * _SH_RANGE
    return torch.from_numpy(values)


def _unpacked(words: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """Return the numbers (N, len(bits)), 0 to 1, that words (N,) hold one after the other, the last in the low bits."""
    values, shift = [], 0
    for width in reversed(bits):
        values.append((words >> shift & (2**width - 1)) / (2**width - 1))
        shift += width
    return np.stack(values[::-1], 1)


def _packed(shares: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """Return words (N,) that hold the numbers ``shares`` (N, len(bits)), 0 to 1, as ``_unpacked`` takes them apart."""
    words = np.zeros(len(shares), np.uint32)
    for i, width in enumerate(bits):
        words = words << width | np.rint(shares[:, i].clip(0, 1) * (2**width - 1)).astype(np.uint32)
    return words


def write_compressed_ply(path: str | Path, gaussians: Gaussians, up: str | None = None) -> None:
    """Write a compressed PLY, atomically; its rows follow a curve through space, so that chunks are small.

    Positions and scales are rounded to a 2047th of their chunk's extent, colours to a 255th, further coefficients to
    1/32 between -4 and 4.

    Args:
        up: the axis that points upwards, such as ``"z"``, which a comment then says; None leaves it out.

    Raises:
        InputError: the file cannot be written.
    """
    gaussians = gaussians.to("cpu").as_float32()
    gaussians = gaussians[torch.from_numpy(_along_curve(gaussians.means.numpy()))]
    scales, quaternions = gaussians.scales_and_quaternions()
    logarithms = scales.double().log().clamp(*_LOG_SCALES).numpy()
    rgb = gaussians.sh[:, 0].double().numpy() * C0 + 0.5
    bounds, shares = [], []
    for values in (gaussians.means.double().numpy(), logarithms, rgb):
        low, high = _bounds(values)
        bounds += [low, high]
        shares.append(_shares(values, low, high))
    smaller, largest = smallest_three(quaternions.double().numpy())
    colours = np.concatenate([shares[2], gaussians.opacities.double().numpy()[:, None]], 1)
    words = [
        _packed(shares[0], _POSITION_BITS),
        largest.astype(np.uint32) << 30 | _packed(smaller / np.sqrt(2) + 0.5, (10, 10, 10)),
        _packed(shares[1], _POSITION_BITS),
        _packed(colours, (8, 8, 8, 8)),
    ]
    names = (*_POSITIONS, *_SCALES, *_COLOURS)
    tables = [
        _table("chunk", np.concatenate(bounds, 1).astype("<f4"), names),
        _table("vertex", np.stack(words, 1).astype("<u4"), _PACKED),
    ]
    rest = gaussians.sh[:, 1:].mT.flatten(1).numpy()
    if rest.shape[1]:
        bytes_of_rest = ((rest / _SH_RANGE + 0.5) * 256).clip(0, 255).astype(np.uint8)
        tables.append(_table("sh", bytes_of_rest, tuple(f"f_rest_{i}" for i in range(rest.shape[1]))))
    with atomic_path(path) as temporary:
        PlyData(tables, byte_order="<", comments=axis_comments(up)).write(str(temporary))


def _table(name: str, values: np.ndarray, names: tuple[str, ...]) -> PlyElement:
    kind = [(column, values.dtype.str) for column in names]
    return PlyElement.describe(np.ascontiguousarray(values).view(kind).squeeze(1), name)


def _bounds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest values (C, 3) of each chunk of ``values`` (N, 3), rounded to float32 outwards."""
    starts = np.arange(0, len(values), _CHUNK)
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    return low.astype(np.float32).astype(np.float64), high.astype(np.float32).astype(np.float64)


def _shares(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return where between their chunk's bounds (C, 3) values (N, 3) lie, 0 to 1."""
    chunk = np.arange(len(values)) // _CHUNK
    extent = np.maximum(high - low, 1e-30)
    return ((values - low[chunk]) / extent[chunk]).clip(0, 1)


def _along_curve(points: np.ndarray) -> np.ndarray:
    """Return an order of points (N, 3) along a Morton curve, in which neighbours mostly lie close together."""
    low, high = points.min(0), points.max(0)
    cells = ((points - low) / max(float((high - low).max()), 1e-30) * (2**21 - 1)).astype(np.uint64)
    keys = np.zeros(len(points), np.uint64)
    for bit in range(21):
        for axis in range(3):
            keys |= (cells[:, axis] >> np.uint64(bit) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return np.argsort(keys, kind="stable")
