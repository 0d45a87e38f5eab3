"""Define the settings of ``videogen.evaluate``."""

from dataclasses import dataclass
from pathlib import Path

from dataset.rendering.settings import PictureSettings
from dataset.rendering.views import View
from dynamic_models.evaluation.settings import SceneSet
from videogen.reconstruction.settings import HOLD_OUT, ReconstructionSettings

INTERVAL = 4
"""Of the 100 initial views every fourth is taken, 25 in all."""


def is_seen(number: int) -> bool:
    """Return whether scenes are reconstructed from this view of the orbit.

    They are from 20: of every fourth of the 100 views, every fifth is held out.
    """
    row, rest = divmod(number, INTERVAL)
    return rest == 0 and row % HOLD_OUT != HOLD_OUT - 1


@dataclass(frozen=True)
class VideoEvaluationSettings:
    """A ``VideoEvaluationSettings`` holds the settings of ``videogen.evaluate``.

    Attributes:
        sets: scenes whose results are summarized together.
        scenes: how many scenes of every set, taken from its groups in turn.
        dynamic_model: name of the model that predicts, or ``SIMULATOR``.
        checkpoint: the model's checkpoint, a .json file or a directory; None: the model's default one.
        steps: frames to compare, the first one included; None: all of each trajectory.
        seen_view: a view from which scenes are reconstructed.
        novel_view: a view from which they are not.
        novel_background: a background for the objects to be drawn before, too; None: none.
        pictures: what pictures look like; its one background, if any, is what scenes are reconstructed in front of.
        reconstruction: how scenes are reconstructed.
        output: directory of the report, and below it of what is made of every scene.
        data_root: root of the dataset.
        device: ``auto``, ``cpu`` or ``cuda``.
        shard: (i, n), which chooses every n-th scene from the i-th on.
        overwrite: measure anew what was measured with other settings or of other files.
    """

    sets: tuple[SceneSet, ...]
    scenes: int
    dynamic_model: str
    checkpoint: Path | None
    steps: int | None
    seen_view: View
    novel_view: View
    novel_background: Path | None
    pictures: PictureSettings
    reconstruction: ReconstructionSettings
    output: Path
    data_root: Path
    device: str
    shard: tuple[int, int]
    overwrite: bool
