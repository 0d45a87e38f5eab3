"""Read and write PLY files of 3D Gaussian Splatting (3DGS), and read the dialects of other programs.

The file holds raw parameters: logits of the opacities, logarithms of the scales, and SH coefficients with all red
``f_rest`` first, then green, then blue. ``Gaussians`` holds activated values.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement

from gaussians.files.splats.compressed_ply import CHUNKED_TABLES, is_compressed, unpacked
from gaussians.files.splats.ply_tables import PlyTables, axis_comments, read_ply_tables
from gaussians.files.splats.splat_rows import RowChecks, Splats
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import MAX_DEGREE, rgb_to_sh
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError

_REST_COUNTS = tuple(3 * ((degree + 1) ** 2 - 1) for degree in range(MAX_DEGREE + 1))
_REST_COUNT_OF_DEGREE_4 = 72
_MEANS = ("x", "y", "z")
_DC = ("f_dc_0", "f_dc_1", "f_dc_2")
_COLOURS = ("red", "green", "blue")
_SCALES = ("scale_0", "scale_1", "scale_2")
_QUATERNIONS = ("rot_0", "rot_1", "rot_2", "rot_3")
_FILTER = "filter_3D"
# Outside this range a float32 opacity rounds to 0 or 1, whose logits are infinite.
_OPACITY_RANGE = (1e-7, 1 - 1e-6)
_MIN_SCALE = 1e-12


def read_ply(path: str | Path) -> Gaussians:
    """Read a 3DGS PLY file, all rows of it: properties in any order, normals optional, ASCII or binary.

    ``read_ply_splats`` says which dialects are read.

    Returns:
        Gaussians on the CPU, float32, with unit quaternions.

    Raises:
        InputError: the file is missing, not a PLY, truncated, has no vertices, lacks a property, or a row holds a value
            without a meaning or a zero quaternion.
    """
    return read_ply_splats(path, keep_rows=True).gaussians


def read_ply_splats(path: str | Path, keep_rows: bool = False) -> Splats:
    """Read a PLY file of Gaussians as 3DGS or another program writes it.

    Beside the standard properties it may have those of SuperSplat's compressed PLY (see ``compressed_ply``); two
    scales, of which the third is 0 (2D Gaussian Splatting, Huang et al. 2024); colours ``red``, ``green``, ``blue``
    instead of SH coefficients; coefficients of degree 4, which are cut off; and ``filter_3D``, which widens Gaussians
    as Mip-Splatting does (Yu et al. 2024, equation 7). A logit of +-inf is an opacity of 1 or 0, a logarithm of -inf a
    scale of 0.

    Args:
        keep_rows: whether a row with a value without a meaning, or a zero quaternion, is an error, as where labels
            count rows; otherwise it is left out.

    Raises:
        InputError: the file is missing, not a PLY, truncated, has no vertices, lacks a property, or has no row left.
    """
    path = Path(path)
    tables = read_ply_tables(path, CHUNKED_TABLES)
    if "vertex" not in tables.tables:
        raise InputError(f"{path}: no element 'vertex': expected a 3D Gaussian Splatting PLY")
    if is_compressed(tables):
        return unpacked(path, tables, keep_rows)
    vertices = tables.tables["vertex"]
    _check_properties(path, tables)
    count = len(next(iter(vertices.values())))
    if count == 0:
        raise InputError(f"{path}: no vertices: expected at least one Gaussian")
    checks = RowChecks(path, count, keep_rows)

    def column(name: str, *infinities: float) -> torch.Tensor:
        with np.errstate(over="ignore"):  # a float64 past float32's range becomes inf, which is reported
            values = torch.from_numpy(vertices[name].astype(np.float32))
        good = values.isfinite()
        for infinity in infinities:
            good |= values == infinity
        checks.expect(good, lambda row: f"property {name!r}: expected finite values, found {values[row]:g}")
        return values

    means = torch.stack([column(name) for name in _MEANS], 1)
    scales = torch.stack([column(name, -torch.inf) for name in _SCALES if name in vertices], 1).exp()
    if len(scales[0]) == 2:
        scales = torch.cat([scales, torch.zeros(count, 1)], 1)
    opacities = column("opacity", torch.inf, -torch.inf).sigmoid()
    if _FILTER in vertices:
        scales, opacities = _filtered(scales, opacities, column(_FILTER)[:, None])
    checks.expect(
        scales.isfinite() | scales.isnan(),
        lambda row: "properties scale_*: expected logarithms of metres, found a value past float32's range",
    )
    gaussians = Gaussians(
        means=means,
        opacities=opacities,
        sh=_coefficients(vertices, column),
        scales=scales,
        quaternions=torch.stack([column(name) for name in _QUATERNIONS], 1),
    )
    return checks.splats(gaussians, tables.up)


def _check_properties(path: Path, tables: PlyTables) -> None:
    present = set(tables.tables["vertex"])
    rest_count = sum(name.startswith("f_rest_") for name in present)
    if rest_count not in (*_REST_COUNTS, _REST_COUNT_OF_DEGREE_4):
        raise InputError(
            f"{path}: f_rest_*: expected one of {_REST_COUNTS} properties (degree 0 to 3), found {rest_count}"
        )
    if present >= set(_MEANS) and not present & {"opacity", *_SCALES, *_QUATERNIONS}:
        what = "a mesh" if "face" in tables.names else "points"
        raise InputError(
            f"{path}: {what} without Gaussians (no vertex property 'opacity'): expected a 3D Gaussian Splatting PLY; "
            "`python -m dataset.generate_objects --mesh FILE --name NAME` makes Gaussians of a mesh"
        )
    coloured = present >= set(_COLOURS) and not present & set(_DC)
    rest = [f"f_rest_{i}" for i in range(rest_count)]
    for name in (*_MEANS, *(() if coloured else _DC), *rest, "opacity", *_SCALES[:2], *_QUATERNIONS):
        if name not in present:
            raise InputError(f"{path}: no vertex property {name!r}: expected a 3D Gaussian Splatting PLY")


def _coefficients(vertices: Mapping[str, np.ndarray], column: Callable[[str], torch.Tensor]) -> torch.Tensor:
    """Return the SH coefficients (N, K, 3) of a table, from colours where it has no others."""
    if _DC[0] in vertices:
        dc = torch.stack([column(name) for name in _DC], 1)[:, None]
    else:
        kind = vertices[_COLOURS[0]].dtype
        rgb = torch.stack([column(name) for name in _COLOURS], 1)
        # Whole numbers count from 0 to the largest of their type; others are 0 to 1, or 0 to 255 in text.
        whole = kind.kind in "iu"
        rgb = rgb / (np.iinfo(kind).max if whole else 255 if rgb.nan_to_num().max() > 1 else 1)
        dc = rgb_to_sh(rgb)
    rest_count = sum(name.startswith("f_rest_") for name in vertices)
    if not rest_count:
        return dc
    of_channel = rest_count // 3
    kept = min(of_channel, _REST_COUNTS[-1] // 3)
    names = [f"f_rest_{channel * of_channel + k}" for channel in range(3) for k in range(kept)]
    rest = torch.empty(len(dc), 3, kept)
    for i, name in enumerate(names):
        rest[:, i // kept, i % kept] = column(name)
    return torch.cat([dc, rest.mT], 1).contiguous()


def _filtered(scales: torch.Tensor, opacities: torch.Tensor, widths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scales (N, 3) and opacities (N,) widened by a Gaussian of standard deviation ``widths`` (N, 1), metres.

    The opacity shrinks as the volume grows, so that what a Gaussian contributes stays the same (Mip-Splatting).
    """
    wide = torch.hypot(scales, widths.expand_as(scales))  # squares may leave float32's range
    shares = torch.where(wide > 0, scales / wide, 1)
    return wide, opacities * shares.prod(1)


def write_ply(path: str | Path, gaussians: Gaussians, up: str | None = None) -> None:
    """Write a binary little-endian 3DGS PLY file in the standard property order, atomically.

    Opacities of exactly 0 or 1 and scales of 0 move to the nearest value with a finite logarithm.

    Args:
        up: the axis that points upwards, such as ``"z"``, which a comment then says; None leaves it out.

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
        element = PlyElement.describe(table, "vertex")
        PlyData([element], byte_order="<", comments=axis_comments(up)).write(str(temporary))
