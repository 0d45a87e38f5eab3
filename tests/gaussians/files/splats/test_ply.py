import contextlib
import itertools
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaussians.files.splats.ply import read_ply, write_ply
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError

FORMATS = ("ascii", "binary_little_endian", "binary_big_endian")
REST_COUNTS = {0: 0, 1: 9, 2: 24, 3: 45}


def standard_names(degree: int, normals: bool = True) -> list[str]:
    """The properties of a 3DGS PLY in the order in which its training writes them."""
    return [
        *("x", "y", "z"),
        *(("nx", "ny", "nz") if normals else ()),
        *("f_dc_0", "f_dc_1", "f_dc_2"),
        *(f"f_rest_{i}" for i in range(REST_COUNTS[degree])),
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]


def encode(
    columns: dict[str, np.ndarray], file_format: str = "binary_little_endian", kind: str = "float", head: str = ""
) -> bytes:
    """A PLY file of the given columns, in their order, written without plyfile."""
    count = len(next(iter(columns.values())))
    header = [f"ply\nformat {file_format} 1.0\ncomment made by hand\n{head}element vertex {count}"]
    header += [f"property {kind} {name}" for name in columns]
    text = "\n".join([*header, "end_header\n"]).encode()
    rows = np.stack([*columns.values()], 1)
    if file_format == "ascii":
        return text + "".join(" ".join(repr(float(value)) for value in row) + "\n" for row in rows).encode()
    order = "<" if file_format == "binary_little_endian" else ">"
    letter = {"float": "f", "double": "d"}[kind]
    return text + b"".join(struct.pack(f"{order}{len(row)}{letter}", *row) for row in rows)


def random_columns(degree: int = 1, count: int = 4, seed: int = 0, normals: bool = True) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.normal(size=count).astype(np.float32) for name in standard_names(degree, normals)}


def check_against(gaussians: Gaussians, columns: dict[str, np.ndarray], degree: int) -> None:
    """The definition of the format, column by column, in float64."""
    exact = {name: torch.from_numpy(values.astype(np.float64)) for name, values in columns.items()}

    def stack(*names: str) -> torch.Tensor:
        return torch.stack([exact[name] for name in names], 1)

    assert gaussians.means.dtype == torch.float32
    assert torch.equal(gaussians.means.double(), stack("x", "y", "z"))
    torch.testing.assert_close(gaussians.opacities.double(), 1 / (1 + torch.exp(-exact["opacity"])), rtol=1e-6, atol=0)
    scales = stack("scale_0", "scale_1", "scale_2").exp()
    torch.testing.assert_close(gaussians.scales.double(), scales, rtol=1e-6, atol=0)
    quaternions = stack("rot_0", "rot_1", "rot_2", "rot_3")
    quaternions /= quaternions.norm(dim=1, keepdim=True)
    torch.testing.assert_close(gaussians.quaternions.double(), quaternions, rtol=0, atol=1e-7)
    assert gaussians.sh_degree == degree
    per_channel = REST_COUNTS[degree] // 3
    for channel in range(3):
        assert torch.equal(gaussians.sh[:, 0, channel].double(), exact[f"f_dc_{channel}"])
        for k in range(per_channel):
            assert torch.equal(gaussians.sh[:, 1 + k, channel].double(), exact[f"f_rest_{channel * per_channel + k}"])


def write(path: Path, contents: bytes) -> Path:
    path.write_bytes(contents)
    return path


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("normals", [True, False], ids=["normals", "no normals"])
def test_every_degree_in_every_format(tmp_path, degree, file_format, normals):
    columns = random_columns(degree, normals=normals)
    check_against(read_ply(write(tmp_path / "a.ply", encode(columns, file_format))), columns, degree)


@given(
    degree=st.integers(0, 3),
    file_format=st.sampled_from(FORMATS),
    kind=st.sampled_from(["float", "double"]),
    count=st.integers(1, 4),
    extra=st.sets(st.sampled_from(["nx", "ny", "nz", "red", "label", "f_dc_3", "filter_2D"])),
    order=st.randoms(use_true_random=False),
)
def test_neither_order_nor_type_nor_further_properties_matter(
    tmp_path_factory, degree, file_format, kind, count, extra, order
):
    columns = random_columns(degree, count, normals=False)
    columns |= {name: np.full(count, 7, np.float32) for name in extra}
    names = [*columns]
    order.shuffle(names)
    path = tmp_path_factory.getbasetemp() / "shuffled.ply"
    shuffled = {name: columns[name] for name in names}
    check_against(read_ply(write(path, encode(shuffled, file_format, kind))), columns, degree)


def test_other_elements_and_windows_line_ends_are_read_over(tmp_path):
    columns = random_columns(0)
    faces = "element face 1\nproperty list uchar int vertex_indices\n"
    contents = encode(columns, "ascii", head=faces).replace(b"end_header\n", b"end_header\n3 0 1 2\n")
    check_against(read_ply(write(tmp_path / "faces.ply", contents)), columns, 0)
    contents = encode(columns, "ascii").replace(b"\n", b"\r\n")
    check_against(read_ply(write(tmp_path / "windows.ply", contents)), columns, 0)


def test_the_length_of_a_stored_quaternion_does_not_matter(tmp_path):
    columns = random_columns(0, count=3)
    for i in range(4):
        # Squares of these leave float32's range.
        columns[f"rot_{i}"] = np.array([1e-30, 1.0, 1e30], np.float32)
    quaternions = read_ply(write(tmp_path / "a.ply", encode(columns))).quaternions
    torch.testing.assert_close(quaternions, torch.full((3, 4), 0.5))


def random_gaussians(degree: int, count: int, seed: int) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=torch.randn(count, 3, generator=generator),
        opacities=torch.rand(count, generator=generator),
        sh=torch.randn(count, (degree + 1) ** 2, 3, generator=generator),
        scales=torch.exp(-12 * torch.rand(count, 3, generator=generator)),
        quaternions=torch.randn(count, 4, generator=generator),
    )


@given(st.integers(0, 3), st.integers(1, 30), st.integers(0, 1000))
def test_round_trip(tmp_path_factory, degree, count, seed):
    gaussians = random_gaussians(degree, count, seed)
    path = tmp_path_factory.getbasetemp() / "round_trip.ply"
    write_ply(path, gaussians)
    read = read_ply(path)
    assert torch.equal(read.means, gaussians.means)
    assert torch.equal(read.sh, gaussians.sh)
    # A rounding of the logit, at most 16, is up to 1e-6 of the odds; one of the logarithm, as much of the scale.
    torch.testing.assert_close(read.opacities, gaussians.opacities, rtol=2e-6, atol=2e-7)
    torch.testing.assert_close(read.scales, gaussians.scales, rtol=2e-6, atol=0)
    expected = torch.nn.functional.normalize(gaussians.quaternions, dim=1)
    torch.testing.assert_close(read.quaternions, expected, rtol=0, atol=2e-7)


def test_what_is_written_is_the_standard_file(tmp_path):
    gaussians = random_gaussians(2, 3, seed=0)
    write_ply(tmp_path / "a.ply", gaussians)
    header, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")
    names = standard_names(2)
    expected = ["ply", "format binary_little_endian 1.0", "element vertex 3", *(f"property float {n}" for n in names)]
    assert header.decode().splitlines() == expected
    values = np.frombuffer(body, "<f4").reshape(3, len(names))
    column = dict(zip(names, values.T, strict=True))
    assert not np.any([column["nx"], column["ny"], column["nz"]])
    # All red coefficients of degree 1 and 2, then green, then blue.
    assert np.array_equal(column["f_rest_0"], gaussians.sh[:, 1, 0])
    assert np.array_equal(column["f_rest_7"], gaussians.sh[:, 8, 0])
    assert np.array_equal(column["f_rest_8"], gaussians.sh[:, 1, 1])
    assert np.array_equal(column["f_rest_23"], gaussians.sh[:, 8, 2])
    assert os.listdir(tmp_path) == ["a.ply"]


def test_gaussians_of_covariances_are_written_too(tmp_path):
    gaussians = random_gaussians(0, 50, seed=1)
    gaussians = Gaussians(**{**vars(gaussians), "scales": gaussians.scales + 0.1}).with_covariances()
    write_ply(tmp_path / "a.ply", gaussians)
    # float32, entries up to 1.2.
    torch.testing.assert_close(read_ply(tmp_path / "a.ply").covariance(), gaussians.covariances, rtol=0, atol=5e-6)


def test_extremes_are_written_as_finite_numbers(tmp_path):
    gaussians = Gaussians(
        torch.zeros(2, 3), torch.tensor([0.0, 1.0]), torch.zeros(2, 1, 3), torch.zeros(2, 3), torch.ones(2, 4)
    )
    write_ply(tmp_path / "a.ply", gaussians)
    read = read_ply(tmp_path / "a.ply")
    torch.testing.assert_close(read.opacities, gaussians.opacities, rtol=0, atol=2e-6)
    assert read.scales.max() < 1e-11


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_ply(tmp_path / "file" / "a.ply", random_gaussians(0, 1, seed=0))


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *itertools.product(["x", "f_dc_2", "f_rest_8", "rot_3"], [np.nan, np.inf, -np.inf]),
        *(("opacity", np.nan), ("scale_1", np.nan), ("scale_1", np.inf)),
    ],
)
def test_values_that_have_no_meaning_are_named_with_their_row(tmp_path, file_format, name, value):
    columns = random_columns()
    columns[name][2] = value
    path = write(tmp_path / "a.ply", encode(columns, file_format))
    with pytest.raises(InputError, match=rf"a\.ply: property '{name}': expected finite values, found -?\w+ in row 2"):
        read_ply(path)


@pytest.mark.parametrize(("kind", "name", "value"), [("double", "x", 1e300), ("float", "scale_2", 89.0)])
def test_values_past_float32_are_named(tmp_path, kind, name, value):
    columns = {key: values.astype(np.float64) for key, values in random_columns().items()}
    columns[name][1] = value
    with pytest.raises(InputError, match=rf"a\.ply: propert.* '?{name[:5]}.*: expected"):
        read_ply(write(tmp_path / "a.ply", encode(columns, kind=kind)))


def test_a_zero_quaternion_is_named_with_its_row(tmp_path):
    columns = random_columns()
    for i in range(4):
        columns[f"rot_{i}"][3] = 0
    with pytest.raises(InputError, match=r"a\.ply: properties rot_\*: .* zero in row 3"):
        read_ply(write(tmp_path / "a.ply", encode(columns)))


@pytest.mark.parametrize("name", [name for name in standard_names(0, normals=False) if name != "scale_2"])
def test_a_missing_property_is_named(tmp_path, name):
    columns = random_columns(0)
    del columns[name]
    with pytest.raises(InputError, match=rf"a\.ply: no vertex property '{name}'"):
        read_ply(write(tmp_path / "a.ply", encode(columns)))


def test_a_count_of_coefficients_without_a_degree_is_named(tmp_path):
    columns = random_columns(1)
    del columns["f_rest_8"]
    with pytest.raises(InputError, match=r"a\.ply: f_rest_\*: expected one of \(0, 9, 24, 45\) .* found 8"):
        read_ply(write(tmp_path / "a.ply", encode(columns)))


def test_coefficients_that_are_not_numbered_from_0_are_named(tmp_path):
    columns = random_columns(1)
    columns["f_rest_9"] = columns.pop("f_rest_0")
    with pytest.raises(InputError, match=r"a\.ply: no vertex property 'f_rest_0'"):
        read_ply(write(tmp_path / "a.ply", encode(columns)))


def test_a_list_where_a_number_belongs_is_named(tmp_path):
    contents = encode(random_columns(0, count=1), "ascii").replace(b"property float x", b"property list uchar float x")
    header, body = contents.split(b"end_header\n")
    with pytest.raises(InputError, match=r"a\.ply: property 'x': expected numbers, found a list"):
        read_ply(write(tmp_path / "a.ply", header + b"end_header\n" + b"1 " + body))


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_cut_off_anywhere_is_refused(tmp_path, file_format):
    contents = encode(random_columns(0, count=2), file_format)
    # A text file cut off inside its last number reads as a shorter number.
    last = contents.rindex(b" ") + 1 if file_format == "ascii" else len(contents)
    for size in itertools.chain(range(0, last, 7), range(last - 8, last)):
        with pytest.raises(InputError, match=r"cut\.ply: "):
            read_ply(write(tmp_path / "cut.ply", contents[:size]))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "not a PLY file"),
        (b"glTF", "not a PLY file"),
        (b"ply", "damaged PLY"),
        (b"ply\nformat ascii 1.0\nend_header\n", "no element 'vertex'"),
        (b"ply\nformat ascii 1.0\nelement point 1\nproperty float x\nend_header\n1\n", "no element 'vertex'"),
        (encode({name: values[:0] for name, values in random_columns(0).items()}), "no vertices"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nend_header\n", ""),
        (b"ply\nformat ascii 1.0\nelement vertex -1\nproperty float x\nend_header\n", ""),
        (encode(random_columns(0)).replace(b"vertex 4", b"vertex 999999999999"), "999999999999 rows declared in"),
        (encode(random_columns(0), "ascii").replace(b"vertex 4", b"vertex 99999999999"), "rows declared in"),
        (encode(random_columns(0)).replace(b"float y", b"float x"), ""),
        (encode(random_columns(0)).replace(b"property float y", b"property complex y"), "damaged PLY"),
        (encode(random_columns(0), "ascii").replace(b"end_header\n", b"end_header\nx"), "damaged PLY"),
    ],
    ids=[
        *("empty", "another format", "three letters", "no elements", "no vertex element", "no vertices"),
        *(
            "no properties",
            "negative count",
            "huge count",
            "huge count in text",
            "a name twice",
            "unknown type",
            "word",
        ),
    ],
)
def test_bad_files_are_refused_in_words(tmp_path, contents, message):
    with pytest.raises(InputError, match=rf"bad\.ply: .*{message}"):
        read_ply(write(tmp_path / "bad.ply", contents))


def test_a_missing_file_and_a_directory_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.ply: no such file"):
        read_ply(tmp_path / "none.ply")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_ply(tmp_path)


@given(
    file_format=st.sampled_from(FORMATS),
    changes=st.lists(st.tuples(st.integers(0), st.integers(0, 30), st.binary(max_size=8)), min_size=1, max_size=4),
)
def test_any_damage_is_gaussians_or_an_input_error(tmp_path_factory, file_format, changes):
    contents = encode(random_columns(0, count=2), file_format)
    for start, length, replacement in changes:
        start %= len(contents)
        contents = contents[:start] + replacement + contents[start + length :]
    path = write(tmp_path_factory.getbasetemp() / "damaged.ply", contents)
    with contextlib.suppress(InputError):
        gaussians = read_ply(path)
        assert len(gaussians) > 0
        for tensor in (gaussians.means, gaussians.opacities, gaussians.sh, gaussians.scales):
            assert tensor.isfinite().all()
        torch.testing.assert_close(gaussians.quaternions.norm(dim=1), torch.ones(len(gaussians)))


@given(st.binary(max_size=300))
def test_any_bytes_after_the_magic_are_refused(tmp_path_factory, rest):
    with pytest.raises(InputError, match=r"any\.ply: "):
        read_ply(write(tmp_path_factory.getbasetemp() / "any.ply", b"ply\n" + rest))


@pytest.mark.parametrize(("name", "count", "degree"), [("donut", 45_624, 0), ("playbot", 8_406, 2)])
def test_trained_objects_survive_a_round_trip(real_data, tmp_path, name, count, degree):
    gaussians = read_ply(real_data / "gaussians" / f"{name}.ply")
    assert (len(gaussians), gaussians.sh_degree) == (count, degree)
    write_ply(tmp_path / "a.ply", gaussians)
    read = read_ply(tmp_path / "a.ply")
    assert torch.equal(read.means, gaussians.means)
    assert torch.equal(read.sh, gaussians.sh)
    # As in test_round_trip.
    torch.testing.assert_close(read.opacities, gaussians.opacities, rtol=2e-6, atol=2e-7)
    torch.testing.assert_close(read.scales, gaussians.scales, rtol=2e-6, atol=0)
    torch.testing.assert_close(read.quaternions, gaussians.quaternions, rtol=0, atol=2e-7)
