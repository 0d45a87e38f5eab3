"""Which objects scenes and trajectories hold, and which Gaussians are theirs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.layout import Layout, find_point_cloud
from dataset.scenes.scene_files import read_scene
from dataset.scenes.scene_objects import (
    IndistinctObjectsError,
    SceneObject,
    scene_labels,
    scene_objects,
    trajectory_objects,
)
from gaussians.files.splats.ply import write_ply
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError
from tests.dataset.scene_files import cube, gaussians_at, make_scene
from tests.dataset_fixture import COUNT, GROUP, write_dataset, write_published_dataset

OBJECTS = [
    SceneObject(label=0, name="ball", index=0, youngs_modulus=1e5, density=600.0),
    SceneObject(label=1, name="teddy", index=100, youngs_modulus=2e4, density=300.0),
]


def test_objects_are_known_from_the_name_of_a_scene(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "3_duck_ball", describe=False)
    found = scene_objects(scene, Layout(tmp_path))
    assert [(entry.label, entry.name, entry.index) for entry in found] == [(0, "duck", 7), (1, "ball", 0)]
    inner = make_scene(tmp_path / "4_ball_can" / "table" / "sim", describe=False)
    assert [entry.name for entry in scene_objects(inner, Layout(tmp_path))] == ["ball", "can"]
    unnamed = make_scene(tmp_path / "things", describe=False)
    assert [entry.name for entry in scene_objects(unnamed, Layout(tmp_path))] == ["object0", "object1"]
    write_ply(tmp_path / "chair.ply", gaussians_at(cube(5, (0, 0, 0), 0)))
    assert [entry.name for entry in scene_objects(tmp_path / "chair.ply", Layout(tmp_path))] == ["chair"]


@pytest.mark.parametrize("file", ["1_toy/raw/chair.ply", "1_toy/chair.ply", "1_toy/raw/point_cloud.ply", "1_mug.ply"])
def test_what_a_folder_above_is_called_says_nothing_of_a_stranger(tmp_path: Path, file: str) -> None:
    write_ply(tmp_path / file, gaussians_at(cube(5, (0, 0, 0), 0)))
    (found,) = scene_objects(tmp_path / file, Layout(tmp_path))
    assert (found.name, found.index, found.youngs_modulus) == (Path(file).stem, -1, None)


@pytest.mark.parametrize(
    "file", ["1_toy/point_cloud/iteration_7/point_cloud.ply", "1_toy/point_cloud.ply", "1_toy.ply", "1_toy/b/sim/x.ply"]
)
def test_a_scenes_own_name_says_what_it_holds(tmp_path: Path, file: str) -> None:
    write_ply(tmp_path / file, gaussians_at(cube(5, (0, 0, 0), 0)))
    path = tmp_path / file if "sim" not in file else (tmp_path / file).parent
    (found,) = scene_objects(path, Layout(tmp_path))
    assert (found.name, found.index, found.youngs_modulus) == ("toy", 17, 1e5)


def test_files_beside_a_scene_count_for_its_point_cloud(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "things", count=10)
    by_directory, by_file = read_scene(scene), read_scene(find_point_cloud(scene))
    assert [entry.name for entry in by_file.objects] == ["ball", "duck"]
    assert by_file.objects == by_directory.objects
    assert by_file.gaussians.labels is not None
    assert by_directory.gaussians.labels is not None
    assert torch.equal(by_file.gaussians.labels, by_directory.gaussians.labels)
    assert sorted(by_file.gaussians.labels.tolist()) == [0] * 10 + [1] * 10


def test_labels_of_any_numbering_are_mapped_by_rank(tmp_path: Path) -> None:
    np.save(tmp_path / "segmentation.npy", np.array([4, 3, -1, 4]))
    assert scene_labels(tmp_path, OBJECTS, 4).tolist() == [1, 0, -1, 1]
    np.save(tmp_path / "segmentation.npy", np.array([1, 1, -1, 1]))  # the first object is out of sight
    assert scene_labels(tmp_path, OBJECTS, 4).tolist() == [1, 1, -1, 1]
    with pytest.raises(InputError, match="expected 5 labels"):
        scene_labels(tmp_path, OBJECTS, 5)
    np.save(tmp_path / "segmentation.npy", np.array([1, 2, 3]))
    with pytest.raises(InputError, match="expected 2 labels"):
        scene_labels(tmp_path, OBJECTS, 3)


def test_without_labels_the_counts_tell_objects_apart(tmp_path: Path) -> None:
    counted = [entry.model_copy(update={"count": count}) for entry, count in zip(OBJECTS, (2, 3), strict=True)]
    assert scene_labels(tmp_path, counted, 5).tolist() == [0, 0, 1, 1, 1]
    with pytest.raises(InputError, match=r"segmentation\.npy: no such file: expected a label .* ball, teddy apart"):
        scene_labels(tmp_path, counted, 6)


@pytest.mark.parametrize("content", ["{}", "[]", '[{"label": 1, "name": "ball"}]', '[{"label": 0}]'])
def test_damaged_objects_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "objects.json").write_text(content)
    with pytest.raises(InputError, match=r"objects\.json: .+"):
        scene_objects(tmp_path, Layout(tmp_path))


def test_our_trajectories_record_their_objects(tmp_path: Path) -> None:
    layout = Layout(write_dataset(tmp_path))
    found = trajectory_objects(TrajectoryReader(layout.mpm_dir(GROUP, "1_duck_ball")), layout)
    assert [(entry.name, entry.label, entry.count) for entry in found.objects] == [("duck", 0, COUNT), ("ball", 1, 19)]
    assert found.names == ("duck", "ball")
    assert found.labels.tolist() == [1] * (COUNT - 1) + [0] * COUNT


def test_published_trajectories_are_told_apart_by_their_scenes_labels(tmp_path: Path) -> None:
    layout = Layout(write_published_dataset(tmp_path))
    reader = TrajectoryReader(layout.mpm_dir(GROUP, "0_ball_duck"))
    with pytest.raises(IndistinctObjectsError, match=r"cannot tell objects apart: .* to tell ball, duck apart"):
        trajectory_objects(reader, layout)
    labels = layout.scene_dir(GROUP, "0_ball_duck") / "segmentation.npy"
    np.save(labels, np.arange(2 * COUNT) % 2 + 3)
    found = trajectory_objects(reader, layout)
    assert found.labels.tolist() == [0, 1] * COUNT
    assert [(entry.name, entry.youngs_modulus) for entry in found.objects] == [("ball", 8e5), ("duck", 3e5)]
    np.save(labels, np.arange(3 * COUNT) % 2)  # of other Gaussians
    with pytest.raises(IndistinctObjectsError):
        trajectory_objects(reader, layout)
    # One object has all Gaussians, however many.
    single = layout.mpm_dir(GROUP, "7_ball")
    reader.path.rename(single)
    found = trajectory_objects(TrajectoryReader(single), layout)
    assert (found.names, found.labels.tolist()) == (("ball",), [0] * 2 * COUNT)


def test_labels_past_any_number_of_objects_are_refused(tmp_path: Path) -> None:
    root = write_dataset(tmp_path)
    path = root / "mpm" / GROUP / "0_ball_duck"
    labels = np.load(path / "labels.npy")
    labels[0] = 2**31 - 1
    np.save(path / "labels.npy", labels)
    with pytest.raises(InputError, match="expected labels below 65536, found 2147483647"):
        trajectory_objects(TrajectoryReader(path), Layout(root))
    objects = root / "scenes" / GROUP / "0_ball_duck" / "objects.json"
    objects.write_text('[{"label": 0, "name": "ball", "count": -1}]')
    with pytest.raises(InputError, match=r"objects\.json: 0\.count: expected greater than or equal to 0"):
        scene_objects(objects.parent, Layout(root))
