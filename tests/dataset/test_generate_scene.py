"""Composing scenes, and the scene configs that people write."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.catalog import object_by_name
from dataset.layout import Layout
from dataset.scenes import scene_files
from dataset.scenes.composition import DEFAULT_ORBIT
from dataset.scenes.scene_configs import read_scenes
from gaussians.cameras import read_cameras
from gaussians.files.splats.ply import read_ply, write_ply
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError

SCENES = {
    "0_ball_duck": {"scene_object_idxs": [0, 7], "translation": [[0, 0, 0], [0.1, -0.05, 0.5]], "scale": [0.4, 0.3]},
    "1_duck_duck_ball": {
        "scene_object_idxs": [7, 7, 0],
        "translation": [[0.0, 0.0, 0.0], [0.0, 0.1, 0.4], [0.0, 0.0, -0.5]],
        "scale": [0.3, 0.6, 0.2],
    },
    "2_ball": {"scene_object_idxs": [0], "translation": [[0, 0, 0]], "scale": [1]},
}


def cloud(count: int, degree: int, seed: int) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    return Gaussians(
        torch.randn(count, 3, generator=generator),
        torch.rand(count, generator=generator) * 0.9 + 0.05,
        torch.randn(count, (degree + 1) ** 2, 3, generator=generator),
        scales=torch.rand(count, 3, generator=generator) + 0.01,
        quaternions=torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=1),
    )


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A dataset with a ball of degree 0, a duck of degree 2, and a group of three scenes."""
    layout = Layout(tmp_path / "root")
    write_ply(layout.object_ply("ball"), cloud(20, 0, 1))
    write_ply(layout.object_ply("duck"), cloud(30, 2, 2))
    layout.scene_configs.mkdir()
    layout.scene_config("g").write_text(json.dumps(SCENES))
    return layout


def test_objects_are_scaled_moved_and_joined(layout: Layout, command: Callable[..., None]) -> None:
    command("dataset.generate_scene", "--data_root", layout.root, "--group", "g")
    scene = read_ply(layout.scene_ply("g", "1_duck_duck_ball"))
    labels = np.load(layout.scene_dir("g", "1_duck_duck_ball") / "segmentation.npy")
    assert labels.dtype == np.int32
    assert labels.tolist() == [0] * 30 + [1] * 30 + [2] * 20
    fields = SCENES["1_duck_duck_ball"]
    clouds = {0: read_ply(layout.object_ply("ball")), 7: read_ply(layout.object_ply("duck"))}
    values: Any = zip(fields["scene_object_idxs"], fields["translation"], fields["scale"], strict=True)
    for label, (index, translation, scale) in enumerate(values):
        part, stored = scene[torch.from_numpy(labels == label)], clouds[index]
        assert part.scales is not None
        assert stored.scales is not None
        # float32 rounding of values of order 1, and of logarithms of scales
        assert torch.allclose(part.means, stored.means * scale + torch.tensor(translation), atol=1e-6)
        assert torch.allclose(part.scales.log(), stored.scales.log() + np.log(scale), atol=1e-5)
        assert torch.allclose(part.opacities, stored.opacities, atol=1e-6)
        assert torch.equal(part.with_sh_degree(stored.sh_degree).sh, stored.sh)
    assert scene.sh_degree == 2


def test_a_scene_says_what_its_objects_are_and_has_cameras(layout: Layout, command: Callable[..., None]) -> None:
    layout.object_json("duck").write_text('{"density": 123, "material": "snow"}')
    command("dataset.generate_scene", "--data_root", layout.root, "--group", "g")
    folder = layout.scene_dir("g", "0_ball_duck")
    described = json.loads((folder / "objects.json").read_text())
    ball = object_by_name("ball")
    assert described[0] == {
        "label": 0,
        "name": "ball",
        "index": 0,
        "count": 20,
        "material": "jelly",
        "youngs_modulus": ball.youngs_modulus,
        "density": ball.density,
    }
    assert (described[1]["index"], described[1]["density"], described[1]["material"]) == (7, 123, "snow")
    cameras = read_cameras(folder / "cameras.json")
    assert len(cameras) == 100
    assert torch.allclose(cameras.positions, DEFAULT_ORBIT.positions(range(100)).float(), atol=1e-5)


def test_complete_scenes_are_skipped_and_shards_share_the_work(layout: Layout, command: Callable[..., None]) -> None:
    arguments = ("dataset.generate_scene", "--data_root", layout.root, "--group", "g")
    command(*arguments, "--shard", "1/2")
    assert [path.name for path in layout.scenes("g").iterdir()] == ["1_duck_duck_ball"]
    before = layout.scene_ply("g", "1_duck_duck_ball").stat().st_mtime_ns
    command(*arguments)
    assert sorted(path.name for path in layout.scenes("g").iterdir()) == sorted(SCENES)
    assert layout.scene_ply("g", "1_duck_duck_ball").stat().st_mtime_ns == before
    layout.scene_dir("g", "2_ball").joinpath("cameras.json").unlink()
    command(*arguments)
    assert layout.scene_dir("g", "2_ball").joinpath("cameras.json").is_file()
    command(*arguments, "--overwrite")
    assert layout.scene_ply("g", "1_duck_duck_ball").stat().st_mtime_ns > before


def test_scene_of_an_edited_config_or_object_is_refused_until_overwritten(
    layout: Layout, command: Callable[..., None]
) -> None:
    arguments = ("dataset.generate_scene", "--data_root", layout.root, "--group", "g")
    command(*arguments)
    scenes = json.loads(json.dumps(SCENES))
    scenes["0_ball_duck"]["translation"][0] = [0.5, 0.5, 0.5]
    layout.scene_config("g").write_text(json.dumps(scenes))
    with pytest.raises(InputError, match=r"0_ball_duck/made_from\.json: made with other objects; --overwrite"):
        command(*arguments)
    command(*arguments, "--overwrite")
    assert read_ply(layout.scene_ply("g", "0_ball_duck")).means[0, 0] == pytest.approx(
        float(cloud(20, 0, 1).means[0, 0] * 0.4) + 0.5, abs=1e-5
    )
    write_ply(layout.object_ply("duck"), cloud(31, 2, 3))
    with pytest.raises(InputError, match="made with other point_clouds"):
        command(*arguments)


def test_scene_of_unknown_origin_is_not_taken_for_ours(layout: Layout, command: Callable[..., None]) -> None:
    arguments = ("dataset.generate_scene", "--data_root", layout.root, "--group", "g")
    command(*arguments)
    (layout.scene_dir("g", "2_ball") / "made_from.json").unlink()
    with pytest.raises(InputError, match="nothing says what it was made from"):
        command(*arguments)


def test_a_scene_appears_whole_or_not_at_all(
    layout: Layout, command: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scene_files, "write_json", fail)
    with pytest.raises(KeyboardInterrupt):
        command("dataset.generate_scene", "--data_root", layout.root, "--group", "g")
    assert not list(layout.scenes("g").glob("*"))


def test_input_and_output_may_be_anywhere(layout: Layout, tmp_path: Path, command: Callable[..., None]) -> None:
    source = tmp_path / "mine.json"
    source.write_text(json.dumps({"7_ball": SCENES["2_ball"]}))
    command("dataset.generate_scene", "--data_root", layout.root, "--input", source, "--output", tmp_path / "out")
    assert (tmp_path / "out/7_ball/objects.json").is_file()
    command("dataset.generate_scene", "--data_root", layout.root, "--input", source)
    assert layout.scene_ply("mine", "7_ball").is_file()


def scene(**change: object) -> str:
    return json.dumps({"0_ball_duck": SCENES["0_ball_duck"] | change})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "with at least one scene"),
        ("{}", "with at least one scene"),
        ('{"0_ball": 3}', "0_ball: expected an object"),
        (scene(rotation=[]), "0_ball_duck: rotation: unknown key"),
        (scene(scene_object_idxs=[0, 55]), "no object has the index 55"),
        (scene(scene_object_idxs=[7, 0]), "expected the name <number>_duck_ball"),
        (scene(scene_object_idxs=[0, 7.5]), "scene_object_idxs.1: expected a valid integer"),
        (scene(scene_object_idxs=[]), "scene_object_idxs"),
        (scene(translation=[[0, 0, 0]]), "translation: expected one entry for each of 2 objects, found 1"),
        (scene(translation=[[0, 0, 0], [0, 0]]), "translation.1.2: missing"),
        (scene(translation=[[0, 0, 0], [0, 0, float("nan")]]), "translation.1.2: expected a finite number"),
        (scene(translation=[[0, 0, 0], [0, 0, float("inf")]]), "translation.1.2: expected a finite number"),
        (scene(scale=[0.4]), "scale: expected one entry for each of 2 objects, found 1"),
        (scene(scale=[0.4, 0]), "scale.1: expected greater than 0"),
        (scene(scale=[0.4, -1]), "scale.1: expected greater than 0"),
        (scene(scale=[0.4, "1"]), "scale.1: expected a valid number"),
    ],
)
def test_bad_scene_configs_are_named(
    layout: Layout, tmp_path: Path, command: Callable[..., None], text: str, message: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad\.json") as error:
        command("dataset.generate_scene", "--data_root", layout.root, "--input", path, "--output", tmp_path / "out")
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_missing_inputs_are_named(layout: Layout, command: Callable[..., None]) -> None:
    with pytest.raises(InputError, match="expected --input JSON or --group NAME"):
        command("dataset.generate_scene", "--data_root", layout.root)
    with pytest.raises(InputError, match="no such file"):
        command("dataset.generate_scene", "--data_root", layout.root, "--group", "none")
    layout.object_ply("duck").unlink()
    with pytest.raises(InputError, match=r"generate_objects --data_root .* --objects duck"):
        command("dataset.generate_scene", "--data_root", layout.root, "--group", "g")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 20) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
fields = st.dictionaries(st.sampled_from(["scene_object_idxs", "translation", "scale", "x"]), json_values)


@settings(max_examples=150, deadline=None)
@given(value=json_values | st.dictionaries(st.sampled_from(["0_ball", "0_ball_duck", "x"]), fields | json_values))
def test_any_json_is_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(value))
    problem = None
    try:
        scenes = read_scenes(path, Layout(path.parent))
    except InputError as error:
        problem = str(error)
    if problem is None:
        assert all(placed.scale > 0 for objects in scenes.values() for placed in objects)
    else:
        assert problem.startswith(str(path))
        assert "\n" not in problem
