"""Read the list of scenes that ``videogen.pipeline_reconstruct_and_eval`` takes."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from dataset.rendering.views import View, parse_views
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json_as
from videogen.pipeline.settings import BatchScene


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    data_path: Path
    views: str | int | None = None


def read_batch(path: Path, usual: Sequence[View]) -> list[BatchScene]:
    """Read a JSON list of {"data_path": ..., "views": "0,circle360"}.

    Args:
        usual: the views of scenes that name none.

    Raises:
        InputError: the file is missing or no such list, or it has no scene, or views that there are not.
    """
    entries = read_json_as(path, list[_Entry])
    if not entries:
        raise InputError(f"{path}: expected at least one scene")
    scenes = []
    for i, entry in enumerate(entries):
        try:
            views = usual if entry.views is None else parse_views(str(entry.views))
        except InputError as error:
            raise InputError(f"{path}: {i}: {error}") from None
        scenes.append(BatchScene(entry.data_path, tuple(views)))
    return scenes
