"""Drawing scenes: the rules of placement, and files that depend on nothing but their arguments."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from dataset.catalog import OBJECTS, ObjectEntry, objects_of_split
from dataset.config import load_config
from dataset.layout import Layout
from dataset.objects.builtin_objects import write_object
from dataset.scenes.placement import Body, place
from dataset.scenes.random_scenes import draw_scenes, load_bodies
from dataset.scenes.scene_names import objects_in_name
from gaussians.files.splats.ply import read_ply, write_ply
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with the ten training objects, 400 Gaussians each."""
    path = tmp_path_factory.mktemp("root")
    for entry in objects_of_split("train"):
        write_object(Layout(path), entry.name, 400, 0)
    return path


@pytest.fixture(scope="module")
def bodies(root: Path) -> dict[ObjectEntry, Body]:
    return load_bodies(objects_of_split("train"), Layout(root))


@pytest.mark.parametrize("obj_num", range(1, 9))
def test_scenes_keep_the_rules(bodies: dict[ObjectEntry, Body], obj_num: int) -> None:
    scenes = draw_scenes(bodies, obj_num, 4, str(obj_num), 42)
    assert len(scenes) == 4
    for number, (name, objects) in enumerate(scenes.items()):
        assert name == "_".join([str(number), *(placed.entry.name for placed in objects)])
        assert len(objects) == obj_num
        assert objects[0].translation == (0, 0, 0)
        clouds = []
        for index, placed in enumerate(objects):
            assert placed.scale == placed.entry.scale
            assert placed.entry.split == "train"
            cloud = bodies[placed.entry].points + placed.translation
            center = (cloud.min(0) + cloud.max(0)) / 2
            radius = np.linalg.norm(cloud - center, axis=1).max()
            assert np.abs(center).max() + radius <= 0.9 + 1e-9
            near = []
            for other, other_placed in zip(clouds, objects, strict=False):
                assert ((cloud.min(0) > other.max(0)) | (cloud.max(0) < other.min(0))).any(), "boxes overlap"
                assert cdist(cloud, other).min() >= 0.05
                reach = 0.1 if obj_num <= 4 else (np.ptp(cloud, 0) + np.ptp(other, 0))[:2] / 2
                away = np.abs(np.subtract(placed.translation, other_placed.translation))[:2]
                # Positions are rounded to 0.1 mm.
                near.append((away <= reach + 1e-4).all())
            assert index == 0 or any(near)
            clouds.append(cloud)


@pytest.mark.parametrize("config", ["dynamic_config", "quickstart_config"])
@pytest.mark.parametrize("obj_num", [2, 3, 6])
def test_pictures_show_all_of_a_scene_at_its_start(bodies: dict[ObjectEntry, Body], obj_num: int, config: str) -> None:
    cameras = load_config(config).orbit().cameras(range(0, 100, 10), 100)
    for objects in draw_scenes(bodies, obj_num, 20, "test", 0).values():
        points = np.concatenate([bodies[placed.entry].points + placed.translation for placed in objects])
        for viewmat, K in zip(cameras.viewmats.numpy(), cameras.Ks.numpy(), strict=True):
            pixels = (points @ viewmat[:3, :3].T + viewmat[:3, 3]) @ K.T
            pixels = pixels[:, :2] / pixels[:, 2:]
            assert pixels.min() >= 0
            assert pixels.max() <= 100


def test_scenes_depend_on_seed_group_and_number_alone(bodies: dict[ObjectEntry, Body]) -> None:
    scenes = draw_scenes(bodies, 3, 6, "3_0", 42)
    again = draw_scenes(bodies, 3, 3, "3_0", 42)
    assert list(again.items()) == list(scenes.items())[:3]
    other_group = draw_scenes(bodies, 3, 6, "3_9", 42)
    other_seed = draw_scenes(bodies, 3, 6, "3_0", 43)
    for other in (other_group, other_seed):
        assert [placed.translation for objects in other.values() for placed in objects] != [
            placed.translation for objects in scenes.values() for placed in objects
        ]


def test_every_object_is_drawn(bodies: dict[ObjectEntry, Body]) -> None:
    scenes = draw_scenes(bodies, 1, 120, "1", 0)
    names = [objects[0].entry.name for objects in scenes.values()]
    # Each is drawn 12 times on average; a standard deviation is 3.3.
    assert all(2 <= names.count(entry.name) <= 26 for entry in bodies)


def test_objects_without_room_end_in_a_bounded_number_of_tries() -> None:
    rng = np.random.default_rng(0)
    large = Body.of(rng.uniform(-0.45, 0.45, (200, 3)))
    assert place([large, large], rng) is None
    entry = OBJECTS[0]
    with pytest.raises(InputError, match="--obj_num 2: scene 0: found no room"):
        draw_scenes({entry: large}, 2, 1, "2", 0)


def test_the_command_writes_the_same_file_again(root: Path, tmp_path: Path, command: Callable[..., None]) -> None:
    arguments = ["--data_root", root, "--obj_num", 2, "--scene_num", 5]
    command("dataset.generate_configs", *arguments)
    path = root / "scene_configs" / "2.json"
    first = path.read_bytes()
    scenes = json.loads(first)
    assert len(scenes) == 5
    assert {key for scene in scenes.values() for key in scene} == {"scene_object_idxs", "translation", "scale"}
    command("dataset.generate_configs", *arguments)
    command("dataset.generate_configs", *arguments, "--output_path", tmp_path, "--input_path", root / "objects")
    assert path.read_bytes() == first == (tmp_path / "2.json").read_bytes()
    with pytest.raises(InputError, match="holds other scenes already"):
        command("dataset.generate_configs", *arguments, "--seed", 1)
    assert path.read_bytes() == first
    command("dataset.generate_configs", *arguments, "--seed", 1, "--overwrite")
    assert path.read_bytes() != first


def test_objects_that_people_add_take_part(root: Path, tmp_path: Path, command: Callable[..., None]) -> None:
    layout = Layout(tmp_path)
    for entry in OBJECTS:
        write_small_cloud(layout, entry.name)
    write_small_cloud(layout, "chair")
    layout.object_json("chair").write_text('{"index": 100, "youngs_modulus": 1e5, "density": 500.0}')
    command("dataset.generate_configs", "--data_root", tmp_path, "--obj_num", 3, "--scene_num", 60, "--split", "all")
    assert "chair" in layout.scene_config("3").read_text()


def write_small_cloud(layout: Layout, name: str) -> None:
    means = torch.from_numpy(np.random.default_rng(0).uniform(-0.1, 0.1, (30, 3))).float()
    gaussians = Gaussians(
        *(means, torch.full((30,), 0.5), torch.zeros(30, 1, 3)),
        scales=torch.full((30, 3), 0.01),
        quaternions=torch.tensor([[1.0, 0, 0, 0]]).expand(30, 4),
    )
    write_ply(layout.object_ply(name), gaussians)


@pytest.mark.parametrize("words", [["duck", "statue", "can"], ["duck,statue,can"], ["duck,statue", "can"]])
def test_objects_are_drawn_by_their_names(tmp_path: Path, command: Callable[..., None], words: list[str]) -> None:
    layout = Layout(tmp_path)
    for name in ("duck", "can", "ball", "statue"):
        write_small_cloud(layout, name)
    layout.object_json("statue").write_text('{"index": 100, "youngs_modulus": 1e5, "density": 500.0}')
    command(
        *("dataset.generate_configs", "--data_root", tmp_path, "--objects", *words),
        *("--obj_num", 2, "--scene_num", 30, "--group", "mine"),
    )
    names = [objects_in_name(name) for name in json.loads((tmp_path / "scene_configs" / "mine.json").read_text())]
    assert {name for scene in names for name in scene} == {"duck", "statue", "can"}
    assert {len(scene) for scene in names} == {2}
    # Without a number of objects, each stands in every scene once.
    command("dataset.generate_configs", "--data_root", tmp_path, "--objects", *words, "--scene_num", 8)
    names = [objects_in_name(name) for name in json.loads((tmp_path / "scene_configs" / "3.json").read_text())]
    assert all(sorted(scene) == ["can", "duck", "statue"] for scene in names)
    assert len(set(names)) > 1


def test_the_first_object_stands_on_a_floor_below_the_others(root: Path, command: Callable[..., None]) -> None:
    command("dataset.generate_configs", "--data_root", root, "--obj_num", 3, "--floor", -0.93, "--group", "stands")
    scenes = json.loads((root / "scene_configs" / "stands.json").read_text())
    assert len(scenes) == 5
    for name, scene in scenes.items():
        clouds = [
            read_ply(Layout(root).object_ply(object_name)).means.numpy() * scale + translation
            for object_name, scale, translation in zip(
                objects_in_name(name), scene["scale"], scene["translation"], strict=True
            )
        ]
        assert clouds[0][:, 2].min() == pytest.approx(-0.93, abs=1e-4)
        assert all(cloud[:, 2].min() > -0.93 for cloud in clouds[1:])
        assert cdist(clouds[0], clouds[1]).min() >= 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--obj_num", 1, "--floor", 0.5], "--floor: expected a height from -1 to 0 metres, found 0.5"),
        (["--obj_num", 0, "--scene_num", 1], "--obj_num: expected 1 or more"),
        (["--obj_num", 1, "--scene_num", 0], "--scene_num: expected 1 or more"),
        (["--obj_num", 1, "--scene_num", 1, "--seed", -1], "--seed: expected 0 or more"),
        (["--obj_num", 1, "--scene_num", 1, "--group", "a/b"], "--group: expected a plain name"),
        (["--obj_num", 1, "--scene_num", 1], "dataset.generate_objects"),
        (["--scene_num", 1], "--obj_num: expected the number of objects"),
        (["--objects", "statue", "--split", "all"], "--split, --objects: say both"),
        (["--objects", ","], "--objects: expected names"),
        (["--objects", "duck", "statue"], "object 'statue' is not in the catalogue"),
    ],
)
def test_bad_arguments_are_named(
    tmp_path: Path, command: Callable[..., None], arguments: list[object], message: str
) -> None:
    with pytest.raises(InputError) as error:
        command("dataset.generate_configs", "--data_root", tmp_path, *arguments)
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_objects_too_large_for_a_scene_are_named(tmp_path: Path, command: Callable[..., None]) -> None:
    layout = Layout(tmp_path)
    for entry in objects_of_split("train"):
        write_small_cloud(layout, entry.name)
    layout.object_json("duck").write_text('{"scale": 40.0}')
    with pytest.raises(InputError, match=r"duck.*too large for a scene"):
        command("dataset.generate_configs", "--data_root", tmp_path, "--obj_num", 1, "--scene_num", 1)
