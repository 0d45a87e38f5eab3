import json
from pathlib import Path

import pytest

from gaussians.stage.errors import InputError
from videogen.reconstruction.scene_list import read_scene_list
from videogen.reconstruction.settings import SceneInput


def test_a_list_names_pictures_and_a_folder_of_its_own_for_each_scene(tmp_path: Path) -> None:
    file = tmp_path / "scenes.json"

    def read(*folders: str) -> list[SceneInput]:
        file.write_text(json.dumps([{"data_path": "desk", "save_folder": folder} for folder in folders]))
        return read_scene_list(file)

    assert read("a", "b") == [SceneInput(Path("desk"), Path("a")), SceneInput(Path("desk"), Path("b"))]
    with pytest.raises(InputError, match=r"scenes\.json: 2 scenes would be written to .*a: give each"):
        read("a", "b", "./a")
    with pytest.raises(InputError, match=r"scenes\.json: expected at least one scene"):
        read()
