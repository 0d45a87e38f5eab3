"""What scenes are called, and which scene a path belongs to."""

from pathlib import Path

import pytest

from dataset.scenes.scene_names import objects_in_name, scene_directory, scene_name, scene_of


def test_names_list_their_objects() -> None:
    assert scene_name(7, ["panda", "ball", "can"]) == "7_panda_ball_can"
    assert objects_in_name("7_panda_ball_can") == ("panda", "ball", "can")
    for name in ("7", "panda_ball", "", "_ball", "7a_ball"):
        assert objects_in_name(name) == ()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("reconstruct/3_9/2700_duck_bowl_ball/table3/sim_refine", "2700_duck_bowl_ball"),
        ("scenes/3_9/2810_bowl_pillow_can", "2810_bowl_pillow_can"),
        ("scenes/2/0_ball_duck/sim", "0_ball_duck"),
        ("photos/kitchen/sim", "kitchen"),
        ("2/kitchen/sim", "kitchen"),
    ],
)
def test_scene_is_named_without_the_reconstructions_folder(path: str, name: str) -> None:
    assert scene_of(Path(path)) == name


@pytest.mark.parametrize(
    ("file", "name", "directory"),
    [
        ("1_toy/chair.ply", "chair", "1_toy"),
        ("1_toy/point_cloud.ply", "1_toy", "1_toy"),
        ("1_toy/point_cloud/iteration_7/point_cloud.ply", "1_toy", "1_toy"),
        ("1_toy/table/sim/point_cloud/iteration_30000/point_cloud.ply", "1_toy", "1_toy/table/sim"),
        ("1_toy/raw/iteration_7/point_cloud.ply", "iteration_7", "1_toy/raw/iteration_7"),
    ],
)
def test_scene_of_a_file_is_named_after_it_or_its_scenes_folder(
    tmp_path: Path, file: str, name: str, directory: str
) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    assert scene_of(tmp_path / file) == name
    assert scene_directory(tmp_path / file) == tmp_path / directory
