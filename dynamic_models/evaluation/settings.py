"""Define the settings of the evaluation command."""

import re
from argparse import ArgumentTypeError
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

BALLISTIC = "ballistic"
"""The name of free flight among models."""
GUESSED = "mpm_vlm"
"""The name of simulations with guessed materials among models, and of their folder in the dataset."""
FLOOR, SHIFTED = "floor", "shifted"
"""The name among models of what can be known, and the folder of the simulations that tell it."""
HORIZONS = (80, 100, 200)
"""The frames over which the paper's errors are (80, and 100 for its longer rollouts), and ours."""


class SceneSet(NamedTuple):
    """A ``SceneSet`` is scenes whose results are summarized together.

    Attributes:
        name: what reports and files call them.
        groups: the groups that its scenes come from.
        frames: how many are predicted, the given first one included; 0: as many as ``EvaluateSettings.steps`` says.
    """

    name: str
    groups: tuple[str, ...]
    frames: int


def parse_scene_set(text: str) -> SceneSet:
    """Read ``NAME=GROUP,GROUP@FRAMES``, for ``argparse``."""
    match = re.fullmatch(r"([\w-]+)=([^@=]+?)(?:@(\d+))?", text)
    groups = tuple(match[2].split(",")) if match else ()
    if not match or not all(groups):
        raise ArgumentTypeError(f"expected NAME=GROUP[,GROUP...][@FRAMES], found {text!r}")
    frames = int(match[3]) if match[3] else 0
    if match[3] and frames < 2:
        raise ArgumentTypeError(f"expected 2 or more frames, found {frames}")
    return SceneSet(match[1], groups, frames)


@dataclass(frozen=True)
class EvaluateSettings:
    """An ``EvaluateSettings`` holds the settings of ``dynamic_models.evaluate``, named as its flags.

    Attributes:
        data_root: root of the dataset.
        groups: groups to evaluate on besides those of ``sets``.
        sets: scenes whose results are summarized together; empty: all ``groups`` are one set.
        models: names of models, of ``BALLISTIC``, ``GUESSED`` and ``FLOOR``, and of checkpoints.
        checkpoints: paths of checkpoints, those with names of their own as ``name=path``.
        steps: frames to predict; None: as many as the first model was trained on, or those of the shortest scene.
        horizons: numbers of first frames over which errors are taken, too, in sets that are so long, ascending.
        rollouts: how many rollouts from jittered starts are judged beside the one from the true start; 0: none.
        jitter: standard deviation of each coordinate of the vectors by which objects are moved for that, metres.
        num_keypoints: keypoints of every object; None: as many as models were trained on.
        cache: directory for extracted keypoints; None: ``<data_root>/keypoints``.
        output: directory of the report.
        compile: fuse learned models' kernels on a GPU and multiply matrices in TF32.
        videos: write videos of some scenes.
        resolution: width of each part of a video, pixels.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    data_root: Path
    groups: tuple[str, ...]
    sets: tuple[SceneSet, ...]
    models: tuple[str, ...]
    checkpoints: tuple[str, ...]
    steps: int | None
    horizons: tuple[int, ...]
    rollouts: int
    jitter: float
    num_keypoints: int | None
    cache: Path | None
    output: Path
    compile: bool
    videos: bool
    resolution: int
    device: str
