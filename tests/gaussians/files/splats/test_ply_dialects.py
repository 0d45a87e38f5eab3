"""PLY files as programs other than 3DGS itself write them; each expected value is the dialect's definition."""

import contextlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaussians.files.splats.ply import read_ply, read_ply_splats, write_ply
from gaussians.files.splats.ply_tables import MAX_HEADER, MAX_LISTS
from gaussians.stage.errors import InputError
from tests.gaussians.files.splats.test_ply import check_against, encode, random_columns, random_gaussians, write

COUNT = 6


def typed(columns: dict[str, np.ndarray], *lines: bytes) -> bytes:
    """A binary PLY of columns of their own types, with further lines in its header after the format."""
    names = {"f4": b"float", "u1": b"uchar", "u2": b"ushort", "f8": b"double"}
    table = np.empty(len(next(iter(columns.values()))), [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        table[name] = values
    head = [b"ply", b"format binary_little_endian 1.0", *lines, b"element vertex %d" % len(table)]
    head += [b"property %s %s" % (names[values.dtype.str[1:]], name.encode()) for name, values in columns.items()]
    return b"\n".join([*head, b"end_header\n"]) + table.tobytes()


@pytest.mark.parametrize(
    "line",
    [
        "comment Object: καρέκλα, Stühle, 椅子".encode(),
        b"comment St\xfchle in Latin-1",
        "obj_info кресло".encode("koi8-r"),
        b"comment",
        b"comment element vertex 999999999",
    ],
    ids=["utf-8", "latin-1", "obj_info", "empty", "like another line"],
)
@pytest.mark.parametrize("file_format", ["ascii", "binary_little_endian"])
def test_comments_do_not_matter_whatever_their_encoding(tmp_path: Path, line: bytes, file_format: str) -> None:
    columns = random_columns(0)
    contents = encode(columns, file_format).replace(b"comment made by hand", line)
    check_against(read_ply(write(tmp_path / "a.ply", contents)), columns, 0)


@pytest.mark.parametrize(
    ("comment", "up"),
    [("Vertical Axis: z", "z"), ("vertical axis: -Y", "-y"), ("Vertical Axis: +x", "x"), ("Vertical", None)],
)
def test_the_upward_axis_is_read_from_a_comment(tmp_path: Path, comment: str, up: str | None) -> None:
    contents = encode(random_columns(0)).replace(b"comment made by hand", f"comment {comment}".encode())
    assert read_ply_splats(write(tmp_path / "a.ply", contents)).up == up


def test_the_upward_axis_is_written_as_a_comment(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", random_gaussians(1, 3, seed=0), up="z")
    assert read_ply_splats(tmp_path / "a.ply").up == "z"


def test_surfels_have_a_third_scale_of_zero(tmp_path: Path) -> None:
    columns = random_columns(1, COUNT)
    del columns["scale_2"]
    read = read_ply(write(tmp_path / "surfels.ply", encode(columns)))
    assert read.scales is not None
    expected = np.exp(np.stack([columns["scale_0"], columns["scale_1"]], 1))
    np.testing.assert_allclose(read.scales[:, :2], expected, rtol=1e-6)
    assert torch.equal(read.scales[:, 2], torch.zeros(COUNT))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 51, 255], np.uint8), [0.0, 0.2, 1.0]),
        (np.array([0, 13107, 65535], np.uint16), [0.0, 0.2, 1.0]),
        (np.array([0, 0.2, 1], np.float32), [0.0, 0.2, 1.0]),
        (np.array([0, 51, 255], np.float32), [0.0, 0.2, 1.0]),
    ],
    ids=["8 bits", "16 bits", "floats to 1", "floats to 255"],
)
def test_colours_stand_for_coefficients(tmp_path: Path, values: np.ndarray, expected: list[float]) -> None:
    columns = {name: column for name, column in random_columns(0, 3).items() if not name.startswith("f_")}
    columns |= {"red": values, "green": values[::-1].copy(), "blue": values}
    read = read_ply(write(tmp_path / "rgb.ply", typed(columns)))
    assert read.sh.shape == (3, 1, 3)
    # The basis function of degree 0 is 1 / (2 sqrt pi), and grey 0.5 has no coefficient.
    rgb = read.sh[:, 0] / (2 * math.sqrt(math.pi)) + 0.5
    torch.testing.assert_close(rgb[:, 0], torch.tensor(expected), rtol=0, atol=1e-6)
    torch.testing.assert_close(rgb[:, 1], torch.tensor(expected[::-1]), rtol=0, atol=1e-6)


def test_coefficients_matter_where_there_are_colours_too(tmp_path: Path) -> None:
    columns = random_columns(1)
    colours = {name: np.full(4, 200, np.float32) for name in ("red", "green", "blue")}
    check_against(read_ply(write(tmp_path / "a.ply", encode(columns | colours))), columns, 1)


def test_coefficients_of_degree_four_are_cut_off(tmp_path: Path) -> None:
    columns = random_columns(3)
    random = np.random.default_rng(5)
    # In the file 24 coefficients of red stand before those of green; 15 of them are of degree 1 to 3.
    further = {f"f_rest_{24 * c + k}": columns.pop(f"f_rest_{15 * c + k}") for c in range(3) for k in range(15)}
    beyond = {f"f_rest_{24 * c + k}": random.normal(size=4) for c in range(3) for k in range(15, 24)}
    read = read_ply(write(tmp_path / "a.ply", encode(columns | further | beyond)))
    columns |= {f"f_rest_{15 * c + k}": further[f"f_rest_{24 * c + k}"] for c in range(3) for k in range(15)}
    check_against(read, columns, 3)


def test_the_filter_of_mip_splatting_widens_and_dims(tmp_path: Path) -> None:
    columns = random_columns(0, 3)
    widths = np.array([0.0, 0.1, 2.0], np.float32)
    read = read_ply(write(tmp_path / "mip.ply", encode(columns | {"filter_3D": widths})))
    assert read.scales is not None
    squares = np.exp(2 * np.stack([columns[f"scale_{i}"].astype(np.float64) for i in range(3)], 1))
    wide = squares + widths[:, None].astype(np.float64) ** 2
    np.testing.assert_allclose(read.scales, np.sqrt(wide), rtol=1e-6)
    opacities = 1 / (1 + np.exp(-columns["opacity"].astype(np.float64)))
    np.testing.assert_allclose(read.opacities, opacities * np.sqrt(squares.prod(1) / wide.prod(1)), rtol=2e-6)


def test_infinities_that_have_a_meaning_are_read_and_written_back(tmp_path: Path) -> None:
    columns = random_columns(0)
    columns["opacity"][:2] = [np.inf, -np.inf]
    columns["scale_2"][3] = -np.inf
    read = read_ply(write(tmp_path / "a.ply", encode(columns)))
    assert read.scales is not None
    assert read.opacities[:2].tolist() == [1, 0]
    assert read.scales[3, 2] == 0
    assert (read.scales[:3] > 0).all()
    write_ply(tmp_path / "b.ply", read)
    # The nearest values with a finite logit and logarithm.
    torch.testing.assert_close(read_ply(tmp_path / "b.ply").opacities[:2], torch.tensor([1.0, 0.0]), rtol=0, atol=2e-6)


@pytest.mark.parametrize("file_format", ["ascii", "binary_big_endian"])
def test_broken_rows_are_left_out_with_a_note_where_rows_do_not_count(tmp_path: Path, file_format: str) -> None:
    columns = random_columns(1, COUNT)
    columns["x"][1] = np.nan
    columns["f_rest_8"][2] = np.inf
    columns["scale_0"][4] = 90
    for i in range(4):
        columns[f"rot_{i}"][5] = 0
    path = write(tmp_path / "a.ply", encode(columns, file_format))
    splats = read_ply_splats(path)
    assert splats.rows.tolist() == [0, 3]
    check_against(splats.gaussians, {name: values[[0, 3]] for name, values in columns.items()}, 1)
    assert splats.notes == ("4 of 6 rows are left out: property 'x': expected finite values, found nan in row 1",)
    with pytest.raises(InputError, match=r"a\.ply: property 'x': expected finite values, found nan in row 1"):
        read_ply_splats(path, keep_rows=True)


def test_a_file_of_broken_rows_alone_is_refused(tmp_path: Path) -> None:
    columns = random_columns(0)
    columns["y"][:] = np.nan
    with pytest.raises(InputError, match=r"a\.ply: no row holds a Gaussian: property 'y': expected finite values"):
        read_ply_splats(write(tmp_path / "a.ply", encode(columns)))


@pytest.mark.parametrize("file_format", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_tables_with_lists_before_the_gaussians_are_read_over(tmp_path: Path, file_format: str) -> None:
    columns = random_columns(0)
    faces = "element face 2\nproperty list uchar int vertex_indices\nproperty uchar material\n"
    contents = encode(columns, file_format, head=faces)
    order = "<" if file_format.endswith("little_endian") else ">"
    body = b"3 0 1 2 7\n1 5 7\n"
    if file_format != "ascii":
        body = b"\x03" + np.array([0, 1, 2], order + "i4").tobytes() + b"\x07\x01"
        body += np.array([5], order + "i4").tobytes() + b"\x07"
    head, rows = contents.split(b"end_header\n", 1)
    check_against(read_ply(write(tmp_path / "a.ply", head + b"end_header\n" + body + rows)), columns, 0)


def test_meshes_and_points_are_named_with_a_way_out(tmp_path: Path) -> None:
    points = {name: np.zeros(3, np.float32) for name in ("x", "y", "z")}
    with pytest.raises(InputError, match=r"points\.ply: points without Gaussians .*generate_objects --mesh"):
        read_ply(write(tmp_path / "points.ply", encode(points)))
    faces = "element face 1\nproperty list uchar int vertex_indices\n"
    with pytest.raises(InputError, match=r"mesh\.ply: a mesh without Gaussians .*generate_objects --mesh"):
        read_ply(write(tmp_path / "mesh.ply", encode(points, head=faces).replace(b"face 1", b"face 0")))


def test_headers_and_lists_without_end_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no line 'end_header' in {MAX_HEADER} bytes"):
        read_ply(write(tmp_path / "a.ply", b"ply\n" + bytes(2 * MAX_HEADER)))
    faces = f"element face {MAX_LISTS + 1}\nproperty list uchar int vertex_indices\n"
    contents = encode(random_columns(0), head=faces) + bytes(2 * MAX_LISTS)
    with pytest.raises(InputError, match=rf"expected at most {MAX_LISTS} rows of face before its Gaussians"):
        read_ply(write(tmp_path / "a.ply", contents))


@given(
    changes=st.lists(st.tuples(st.integers(0), st.integers(0, 30), st.binary(max_size=8)), min_size=1, max_size=4),
    keep_rows=st.booleans(),
)
def test_any_damage_of_a_dialect_is_gaussians_or_an_input_error(tmp_path_factory, changes, keep_rows) -> None:
    columns = random_columns(0, 2)
    del columns["scale_2"]
    columns["filter_3D"] = np.ones(2, np.float32)
    contents = typed(columns, b"comment Vertical Axis: z")
    for start, length, replacement in changes:
        start %= len(contents)
        contents = contents[:start] + replacement + contents[start + length :]
    path = write(tmp_path_factory.getbasetemp() / "damaged_dialect.ply", contents)
    with contextlib.suppress(InputError):
        splats = read_ply_splats(path, keep_rows)
        assert len(splats.gaussians) == len(splats.rows) > 0
        for tensor in (splats.gaussians.means, splats.gaussians.sh, splats.gaussians.covariance()):
            assert tensor.isfinite().all() or splats.gaussians.means.abs().max() > 1e18


def test_scales_whose_squares_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    columns = random_columns(0, 2)
    columns["scale_1"][1] = 45.0  # exp(45) = 3.5e19
    path = write(tmp_path / "vast.ply", typed(columns, b"comment made by hand"))
    splats = read_ply_splats(path)
    assert splats.rows.tolist() == [0]
    assert "1 of 2 rows are left out: scale: expected at most 1e+15, found 3.4" in splats.notes[0]
    with pytest.raises(InputError, match=r"scale: expected at most 1e\+15"):
        read_ply_splats(path, True)
