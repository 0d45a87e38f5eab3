"""What a scene is called and what it holds."""

from pathlib import Path

import pytest

from dataset.scenes.scene_objects import scene_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("reconstruct/3_9/2700_duck_bowl_ball/table3/sim_refine", "2700_duck_bowl_ball"),
        ("scenes/3_9/2810_bowl_pillow_can", "2810_bowl_pillow_can"),
        ("scenes/2/0_ball_duck/sim", "0_ball_duck"),
        ("photos/kitchen/sim", "kitchen"),
    ],
)
def test_scene_is_named_without_the_reconstructions_folder(path: str, name: str) -> None:
    assert scene_name(Path(path)) == name


def test_scene_of_a_file_is_named_after_it_or_its_folder(tmp_path: Path) -> None:
    for name, expected in (("chair.ply", "chair"), ("point_cloud.ply", tmp_path.name)):
        (tmp_path / name).touch()
        assert scene_name(tmp_path / name) == expected
