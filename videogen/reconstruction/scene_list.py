"""Read the list of scenes that ``videogen.reconstruct`` takes at once."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from gaussians.stage.json_files import read_json_as
from videogen.reconstruction.settings import SceneInput


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    data_path: Path
    save_folder: Path


def read_scene_list(path: Path) -> list[SceneInput]:
    """Read a JSON list of {"data_path": ..., "save_folder": ...}.

    Raises:
        InputError: the file is missing or no such list.
    """
    return [SceneInput(entry.data_path, entry.save_folder) for entry in read_json_as(path, list[_Entry])]
