"""Define the settings of ``videogen.pipeline_reconstruct_and_eval``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dataset.rendering.settings import PictureSettings
from dataset.rendering.views import View
from videogen.reconstruction.settings import ReconstructionSettings
from videogen.videos.settings import SIMULATOR

_PUBLISHED_NAMES = {"ngff": "NGFF", "pointformer": "Pointformer", "gcn": "GCN", SIMULATOR: "MPM"}


def published_name(model: str) -> str:
    """Return what the published pipeline calls a model, ``"NGFF"`` for ``"ngff"``; of others their own name."""
    return _PUBLISHED_NAMES.get(model, model)


@dataclass(frozen=True)
class BatchScene:
    """A ``BatchScene`` is one scene of a batch.

    Attributes:
        data_path: its video, or folder of pictures.
        views: the views of the videos that are made of it.
    """

    data_path: Path
    views: tuple[View, ...]


@dataclass(frozen=True)
class PipelineSettings:
    """A ``PipelineSettings`` holds the settings of ``videogen.pipeline_reconstruct_and_eval``.

    Attributes:
        models: names of the models that predict; ``SIMULATOR`` is one of them.
        checkpoints: of some models, the checkpoint; others have their default one.
        reconstruction: how scenes are reconstructed.
        pictures: what pictures look like; views and backgrounds are those of each scene.
        steps: frames to predict, the present one included.
        trajectory: write trajectories, too.
        output_root: directory for all that is made.
        data_root: root of the dataset, where objects that people added are described.
        device: ``auto``, ``cpu`` or ``cuda``.
        overwrite: make videos anew that are there already.
    """

    models: tuple[str, ...]
    checkpoints: Mapping[str, Path]
    reconstruction: ReconstructionSettings
    pictures: PictureSettings
    steps: int
    trajectory: bool
    output_root: Path
    data_root: Path
    device: str
    overwrite: bool
