"""Read the list of scenes that ``videogen.reconstruct`` takes at once."""

import os
from collections import Counter
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json_as
from videogen.reconstruction.settings import SceneInput


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    data_path: Path
    save_folder: Path


def read_scene_list(path: Path) -> list[SceneInput]:
    """Read a JSON list of {"data_path": ..., "save_folder": ...}.

    Raises:
        InputError: the file is missing or no such list, it has no scene, or two would be written to one folder.
    """
    entries = read_json_as(path, list[_Entry])
    if not entries:
        raise InputError(f"{path}: expected at least one scene")
    for folder, count in Counter(os.path.abspath(entry.save_folder) for entry in entries).items():
        if count > 1:
            raise InputError(f"{path}: {count} scenes would be written to {folder}: give each a save_folder of its own")
    return [SceneInput(entry.data_path, entry.save_folder) for entry in entries]
