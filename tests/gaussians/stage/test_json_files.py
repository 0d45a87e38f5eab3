import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaussians.stage.errors import InputError
from gaussians.stage.json_files import MAX_BYTES, MAX_VALUES, parse_json, read_json, validated, write_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_round_trip(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "round_trip.json"
    write_json(path, value)
    assert read_json(path) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_an_input_error(tmp_path_factory, contents):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(contents)
    try:
        expected = parse_json(contents.decode("utf-8-sig"))
    except ValueError:
        with pytest.raises(InputError, match=r"any\.json: not (valid|usable) JSON"):
            read_json(path)
    else:
        # By their text, in which NaN equals itself.
        assert repr(read_json(path)) == repr(expected) == repr(json.loads(contents.decode("utf-8-sig")))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b'{"a": 1,\n "b" 2}', "not valid JSON: Expecting ':' delimiter at line 2, column 6"),
        (b'{"a": [1, 2', "not valid JSON: .* at line 1, column 12"),
        (b"", "not valid JSON: .* at line 1, column 1"),
        (b"\xff\xfe", "not valid JSON: expected UTF-8 text"),
        (b"[" * 100_000, "not usable JSON: .*recursion"),
        (b"9" * 5000, "not usable JSON: a number past the range of double precision: 9{57}"),
        (b'{"a": ' + b"9" * 401 + b"}", "not usable JSON: a number past the range of double precision: 9{57}"),
        (b'[{"g": 1, "E": 2, "\\u0067": 3}]', 'not usable JSON: the key "g" stands twice in one object'),
    ],
    ids=[
        *("syntax", "truncated", "empty", "not text", "deep", "long number", "401 digits"),
        "a key twice",
    ],
)
def test_bad_json_is_named(tmp_path, contents, message):
    path = tmp_path / "bad.json"
    path.write_bytes(contents)
    with pytest.raises(InputError, match=rf"bad\.json: {message}"):
        read_json(path)


def test_a_byte_order_mark_is_read_over(tmp_path):
    path = tmp_path / "windows.json"
    path.write_bytes(b"\xef\xbb\xbf" + '{"object": "κύβος"}'.encode())
    assert read_json(path) == {"object": "κύβος"}


def test_a_number_that_a_double_just_holds_is_read(tmp_path):
    path = tmp_path / "large.json"
    path.write_text(f"[1{'0' * 308}, -1.7e308, 5e-324]")
    assert read_json(path) == [10**308, -1.7e308, 5e-324]


def test_a_file_of_more_bytes_than_any_setting_has_is_refused_unread(tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole, which takes no space
    with pytest.raises(InputError, match=rf"large\.json: expected at most {MAX_BYTES} bytes of JSON"):
        read_json(path)


def test_more_values_than_any_setting_has_are_refused_unchecked():
    many = {"a": [[]] * MAX_VALUES}
    with pytest.raises(InputError, match=f"a file: expected at most {MAX_VALUES} values, found {MAX_VALUES + 2}"):
        validated("a file", many, dict[str, list[float]])
    assert validated("a file", [[1.0] * 9] * 1000, list[list[float]])[999] == [1.0] * 9


def test_a_missing_file_and_a_directory_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_json(tmp_path)


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "nan.json", {"a": float("nan")})
    assert os.listdir(tmp_path) == []
