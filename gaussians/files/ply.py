"""Read and write PLY files of 3D Gaussian Splatting (3DGS).

The file holds raw parameters: logits of the opacities, logarithms of the scales, and SH coefficients with all red
``f_rest`` first, then green, then blue. ``Gaussians`` holds activated values.
"""

import os
from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement, PlyParseError

from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import MAX_DEGREE
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError

_REST_COUNTS = tuple(3 * ((degree + 1) ** 2 - 1) for degree in range(MAX_DEGREE + 1))
_MEANS = ("x", "y", "z")
_DC = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALES = ("scale_0", "scale_1", "scale_2")
_QUATERNIONS = ("rot_0", "rot_1", "rot_2", "rot_3")
# Outside this range a float32 opacity rounds to 0 or 1, whose logits are infinite.
_OPACITY_RANGE = (1e-7, 1 - 1e-6)
_MIN_SCALE = 1e-12


def read_ply(path: str | Path) -> Gaussians:
    """Read a 3DGS PLY file: degree 0 to 3, properties in any order, normals optional, ASCII or binary.

    Returns:
        Gaussians on the CPU, float32, with unit quaternions.

    Raises:
        InputError: the file is missing, not a PLY, truncated, has no vertices, lacks a property, or holds NaN,
            infinite values or a zero quaternion.
    """
    path = Path(path)
    vertices = _read_vertices(path)
    count = len(vertices)
    present = set(vertices.dtype.names or ())
    rest_count = sum(name.startswith("f_rest_") for name in present)
    if rest_count not in _REST_COUNTS:
        raise InputError(
            f"{path}: f_rest_*: expected one of {_REST_COUNTS} properties (degree 0 to 3), found {rest_count}"
        )
    rest = tuple(f"f_rest_{i}" for i in range(rest_count))
    for name in (*_MEANS, *_DC, *rest, "opacity", *_SCALES, *_QUATERNIONS):
        if name not in present:
            raise InputError(f"{path}: no vertex property {name!r}: expected a 3D Gaussian Splatting PLY")

    def columns(names: tuple[str, ...]) -> torch.Tensor:
        values = np.empty((count, len(names)), np.float32)
        for i, name in enumerate(names):
            if vertices.dtype[name].kind not in "fiu":
                raise InputError(f"{path}: property {name!r}: expected numbers, found a list")
            with np.errstate(over="ignore"):  # a float64 past float32's range becomes inf, which is reported
                values[:, i] = vertices[name]
            bad = np.flatnonzero(~np.isfinite(values[:, i]))
            if len(bad):
                raise InputError(
                    f"{path}: property {name!r}: expected finite values, found {values[bad[0], i]} in row {bad[0]}"
                )
        return torch.from_numpy(values)

    scales = columns(_SCALES).exp()
    if not scales.isfinite().all():
        raise InputError(
            f"{path}: properties scale_*: expected logarithms of metres, found a value past float32's range"
        )
    quaternions = columns(_QUATERNIONS)
    norms = quaternions.double().norm(dim=1, keepdim=True)  # squares of float32 may over- or underflow in float32
    if not (norms > 0).all():
        row = int((norms == 0).nonzero()[0, 0])
        raise InputError(f"{path}: properties rot_*: expected a non-zero quaternion, found zero in row {row}")
    dc = columns(_DC)[:, None]
    sh = torch.cat([dc, columns(rest).view(count, 3, -1).mT], 1) if rest else dc
    return Gaussians(
        means=columns(_MEANS),
        opacities=columns(("opacity",)).squeeze(1).sigmoid(),
        sh=sh.contiguous(),
        scales=scales,
        quaternions=(quaternions / norms).float(),
    )


def _read_vertices(path: Path) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            if file.read(3) != b"ply":
                raise InputError(f"{path}: not a PLY file: expected it to begin with 'ply'")
            _check_size(path, file)
        # A binary file is mapped, so that a wrong count cannot allocate memory; text is read whole.
        data = PlyData.read(str(path), mmap="c")
        vertices = data["vertex"].data
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except KeyError:
        raise InputError(f"{path}: no element 'vertex': expected a 3D Gaussian Splatting PLY") from None
    except (PlyParseError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: truncated or damaged PLY: {error}") from None
    if len(vertices) == 0:
        raise InputError(f"{path}: no vertices: expected at least one Gaussian")
    return vertices


def _check_size(path: Path, file) -> None:  # type: ignore[no-untyped-def]
    """Refuse a header that declares more elements than the file has bytes, before anything is allocated for them."""
    file.seek(0)
    header = file.read(1 << 16)
    size = os.fstat(file.fileno()).st_size
    for line in header.split(b"end_header")[0].splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == b"element" and words[2].isdigit() and int(words[2]) > size:
            raise InputError(f"{path}: truncated PLY: {int(words[2])} rows declared in {size} bytes")


def write_ply(path: str | Path, gaussians: Gaussians) -> None:
    """Write a binary little-endian 3DGS PLY file in the standard property order, atomically.

    Opacities of exactly 0 or 1 and scales of 0 move to the nearest value with a finite logarithm.

    Raises:
        InputError: the file cannot be written.
    """
    gaussians = gaussians.to("cpu")
    scales, quaternions = gaussians.scales_and_quaternions()
    dc, rest = gaussians.sh[:, 0], gaussians.sh[:, 1:].mT.flatten(1)
    columns = [
        gaussians.means,
        torch.zeros_like(gaussians.means),
        dc,
        rest,
        torch.logit(gaussians.opacities.double().clamp(*_OPACITY_RANGE))[:, None],
        scales.clamp_min(_MIN_SCALE).log(),
        quaternions,
    ]
    names = [
        *(*_MEANS, "nx", "ny", "nz", *_DC),
        *(f"f_rest_{i}" for i in range(rest.shape[1])),
        *("opacity", *_SCALES, *_QUATERNIONS),
    ]
    values = torch.cat([column.float() for column in columns], 1).numpy()
    table = values.view([(name, "<f4") for name in names]).squeeze(1)
    with atomic_path(path) as temporary:
        PlyData([PlyElement.describe(table, "vertex")], byte_order="<").write(str(temporary))
