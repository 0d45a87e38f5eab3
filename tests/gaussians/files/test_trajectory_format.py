import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaussians.files.trajectory_format import read_meta
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError
from tests.gaussians.samples import (
    META,
    write_ours,
)


def test_meta_is_read_back_and_complete(tmp_path):
    write_ours(tmp_path / "scene")
    expected = META.model_copy(update={"complete": True, "frame_count": 3, "wall_time": 1.5})
    assert read_meta(tmp_path / "scene") == expected
    assert read_meta(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_dt": 0}, "frame_dt: expected greater than 0"),
        ({"frame_dt": None}, "frame_dt: expected a valid number"),
        ({"frame_dt": float("nan")}, "frame_dt: expected a finite number"),
        ({"dx": -1}, "dx: expected greater than 0"),
        ({"frame_count": -1}, "frame_count: expected greater than or equal to 0"),
        ({"gravity": [0, 0]}, "gravity"),
        ({"objects": [{"name": "ball"}]}, "objects.0.label: missing"),
        ({"walls": {"x": [-1, 1], "y": [-1, 1]}}, "walls.floor: missing"),
        ({"format_version": 2, "frame_dt": None}, "format_version: expected at most 1, found 2"),
    ],
)
def test_a_bad_field_of_meta_is_named(tmp_path, change, message):
    write_ours(tmp_path / "scene")
    path = tmp_path / "scene" / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=rf"meta\.json: {message}"):
        TrajectoryReader(tmp_path / "scene")


def test_meta_of_a_later_writer_may_say_more(tmp_path):
    write_ours(tmp_path / "scene")
    path = tmp_path / "scene" / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weather": "fine"}))
    assert len(TrajectoryReader(tmp_path / "scene")) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*META.model_dump()]), inner),
    max_leaves=8,
)


@given(st.one_of(JSON, st.dictionaries(st.sampled_from([*META.model_dump()]), JSON).map(META.model_dump().__or__)))
def test_any_meta_is_meta_or_an_input_error(tmp_path_factory, contents):
    directory = tmp_path_factory.getbasetemp() / "any_meta"
    directory.mkdir(exist_ok=True)
    (directory / "meta.json").write_text(json.dumps(contents))
    with contextlib.suppress(InputError):
        assert read_meta(directory).frame_dt > 0
