"""The catalogue and the files that override it."""

import json
from pathlib import Path

import pytest

from dataset.catalog import (
    BACKGROUNDS,
    OBJECTS,
    all_objects,
    load_placement,
    object_by_name,
    object_json,
    objects_of_split,
)
from dataset.layout import Layout
from dataset.objects.builtin_objects import SOLIDS
from dataset.shapes.backgrounds import SCENERIES
from gaussians.stage.errors import InputError

CHAIR = {"index": 100, "youngs_modulus": 5e5, "density": 400.0, "scale": 0.8, "prompt": "A chair."}


def put_object(layout: Layout, name: str, content: object) -> None:
    path = layout.object_json(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_the_catalogue_is_the_published_one() -> None:
    assert [entry.index for entry in OBJECTS] == list(range(18))
    assert [entry.name for entry in OBJECTS] == sorted(entry.name for entry in OBJECTS)
    assert len(objects_of_split("train")) == 10
    assert len(objects_of_split("novel")) == 8
    assert object_by_name("phone").youngs_modulus == 2e7
    assert object_by_name("duck2").density == 1200
    assert sum(entry.gaussian_count for entry in OBJECTS) == 1_528_953
    assert list(BACKGROUNDS) == ["table", *(f"table{i}" for i in range(8))]


def test_everything_in_the_catalogue_can_be_made() -> None:
    assert set(SOLIDS) == {entry.name for entry in OBJECTS}
    assert set(SCENERIES) == set(BACKGROUNDS)


def test_object_json_overrides_single_fields(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    put_object(layout, "duck", {"density": 250, "prompt": "My duck."})
    duck = object_by_name("duck", layout)
    assert (duck.density, duck.prompt) == (250, "My duck.")
    assert (duck.index, duck.youngs_modulus, duck.scale, duck.split) == (7, 3e5, 0.3, "train")
    assert object_by_name("duck").density == 300


def test_objects_that_people_add_are_found_by_name_and_listed(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    put_object(layout, "chair", CHAIR)
    chair = object_by_name("chair", layout)
    assert object_json(chair) == CHAIR
    assert all_objects(layout)[-1] == chair
    assert chair in objects_of_split("all", layout)
    assert chair not in objects_of_split("train", layout)
    put_object(layout, "stool", CHAIR | {"index": 101, "material": "metal"})
    assert object_by_name("stool", layout).material == "metal"
    assert object_json(object_by_name("stool", layout))["material"] == "metal"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("chair", CHAIR | {"index": 3}, "index: expected 100 or more, found 3"),
        ("chair", {"index": 100, "density": 1.0}, "no field 'youngs_modulus'"),
        ("chair", CHAIR | {"density": -1.0}, "density: expected greater than 0, found -1.0"),
        ("chair", CHAIR | {"density": "heavy"}, "density: expected a valid number"),
        ("chair", CHAIR | {"colour": 1}, "colour: unknown key"),
        ("chair", '{"index": 100, "youngs_modulus": NaN, "density": 1.0}', "youngs_modulus: expected"),
        ("chair", "[]", "expected an object"),
        ("chair", "{", "not valid JSON"),
        ("duck", {"index": 8}, "index: expected 7"),
    ],
)
def test_bad_object_json_is_named(tmp_path: Path, name: str, content: object, message: str) -> None:
    layout = Layout(tmp_path)
    put_object(layout, name, content)
    with pytest.raises(InputError, match=r"object\.json") as error:
        object_by_name(name, layout)
    assert message in str(error.value)


def test_unknown_and_duplicate_objects_are_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(InputError, match="'chair' is not in the catalogue"):
        object_by_name("chair", layout)
    put_object(layout, "chair", CHAIR)
    put_object(layout, "stool", CHAIR)
    with pytest.raises(InputError, match="the same index 100"):
        all_objects(layout)


def test_placement_json_overrides_the_catalogue(tmp_path: Path) -> None:
    folder = tmp_path / "table3"
    folder.mkdir()
    assert load_placement(folder) == BACKGROUNDS["table3"]
    assert load_placement(folder).crop
    values = {"rotation": [0, 0, 90], "translation": [0, 1, 2], "scale": 2, "center": [0, 0, 0], "crop": False}
    (folder / "placement.json").write_text(json.dumps(values))
    placement = load_placement(folder)
    assert placement.rotation == (0, 0, 90)
    assert placement.center == (0, 0, 0)
    assert not placement.crop


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 0}, "scale: expected greater than 0"),
        ({"rotation": [0, 0]}, "rotation.2: missing"),
        ({"tilt": 1}, "tilt"),
        ({"crop": "no"}, "crop: expected a valid boolean"),
    ],
)
def test_bad_placement_json_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    values = {"rotation": [0, 0, 0], "translation": [0, 0, 0], "scale": 1} | change
    (tmp_path / "placement.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"placement\.json") as error:
        load_placement(tmp_path)
    assert message in str(error.value)


def test_a_background_without_placement_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not in the catalogue"):
        load_placement(tmp_path)
