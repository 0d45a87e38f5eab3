"""External forces in JSON files and in what trajectories record."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussians.files.external_forces import (
    ExternalForce,
    forces_on_scene,
    read_external_forces,
    recorded_external_forces,
)
from gaussians.stage.errors import InputError

PUSH = {"obj_id": 1, "start": 0.01, "end": 0.03, "force": [20.0, 0.0, 0.0], "torque": [0.0, 0.0, 0.0]}


def write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "forces.json"
    path.write_text(json.dumps(content))
    return path


def test_forces_arrive(tmp_path: Path) -> None:
    path = write(tmp_path, {"0_ball_duck": [PUSH, PUSH | {"obj_id": 0, "mass": 2}], "other": []})
    forces = read_external_forces(path)
    expected = ExternalForce(obj_id=1, start=0.01, end=0.03, force=(20.0, 0.0, 0.0))
    assert forces["0_ball_duck"] == (expected, expected.model_copy(update={"obj_id": 0, "mass": 2.0}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"obj_id": -1}, "0_ball.1.obj_id: expected greater than or equal to 0, found -1"),
        ({"obj_id": 0.5}, "0_ball.1.obj_id: expected a valid integer, found 0.5"),
        ({"start": -0.1}, "0_ball.1.start: expected greater than or equal to 0, found -0.1"),
        ({"end": 0.01}, "0_ball.1: end: expected more than start = 0.01, found 0.01"),
        ({"end": math.inf}, "0_ball.1.end: expected a finite number"),
        ({"force": [1, 2]}, "0_ball.1.force.2: missing"),
        ({"torque": [1, 2, "x"]}, "0_ball.1.torque.2: expected a valid number"),
        ({"mass": 0}, "0_ball.1.mass: expected greater than 0, found 0"),
        ({"weight": 1}, "0_ball.1.weight: unknown key"),
        ({"force": [1e308, 0, 0]}, "0_ball.1.force.0: expected -1e+15 to 1e+15, found 1e+308"),
        ({"torque": [0, -1e30, 0]}, "0_ball.1.torque.1: expected -1e+15 to 1e+15, found -1e+30"),
        ({"mass": 1e-320}, "0_ball.1.mass: expected 1e-15 to 1e+15, found 9.99989e-321"),
        ({"end": 1e300}, "0_ball.1.end: expected -1e+15 to 1e+15, found 1e+300"),
    ],
)
def test_refusals_name_file_scene_entry_and_field(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    path = write(tmp_path, {"0_ball": [PUSH, PUSH | changes]})
    with pytest.raises(InputError) as caught:
        read_external_forces(path)
    assert str(caught.value).startswith(f"{path}: {expected}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(content=st.dictionaries(st.text(max_size=8), st.lists(st.dictionaries(st.sampled_from([*PUSH]), JSON))) | JSON)
def test_any_json_is_either_valid_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: Any
) -> None:
    path = write(tmp_path_factory.getbasetemp(), content)
    try:
        forces = read_external_forces(path)
    except InputError as error:
        message = str(error)
    else:
        assert all(force.end > force.start for entries in forces.values() for force in entries)
        return
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_recorded_forces_may_hold_keys_of_a_later_version() -> None:
    force = ExternalForce(obj_id=1, start=0.01, end=0.03, force=(20.0, 0.0, 0.0))
    assert recorded_external_forces("meta.json", [force.model_dump(mode="json")]) == (force,)
    assert recorded_external_forces("meta.json", [PUSH | {"colour": "red"}]) == (force,)
    with pytest.raises(InputError, match=r"^meta\.json: 0\.mass: expected greater than 0, found 0"):
        recorded_external_forces("meta.json", [PUSH | {"mass": 0}])
    for damaged in ("up", ["up"], 1):
        with pytest.raises(InputError, match=r"^meta\.json: "):
            recorded_external_forces("meta.json", damaged)


def test_a_scene_gets_its_own_forces(tmp_path: Path) -> None:
    path = write(tmp_path, {"0_ball_duck": [PUSH], "other": []})
    forces = read_external_forces(path)
    assert forces_on_scene(forces, "0_ball_duck", 2, path) == forces["0_ball_duck"]
    assert forces_on_scene(forces, "somewhere else", 2, path) == ()
    with pytest.raises(InputError, match=r"0_ball_duck\.0\.obj_id: expected less than 1, the number of objects"):
        forces_on_scene(forces, "0_ball_duck", 1, path)
