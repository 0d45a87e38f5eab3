"""Define the settings of ``videogen.reconstruct``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gaussians.files.prompts import Prompts

Backend = Literal["auto", "optimize"]
BACKENDS: tuple[Backend, ...] = ("auto", "optimize")
HOLD_OUT = 5
"""Of the pictures of a dataset's video, every fifth is held out, as in the published evaluation."""


@dataclass(frozen=True)
class ReconstructionSettings:
    """A ``ReconstructionSettings`` holds the settings of ``videogen.reconstruct``.

    Attributes:
        interval: take every n-th picture; None: 4 of a video, 1 of photographs.
        views: take this many pictures, evenly spaced, whatever ``interval`` is; None: as ``interval`` says.
        max_side: the larger of width and height that pictures are scaled down to, pixels; None: by the device.
        held_out: leave out every n-th picture, to compare with at the end; 0: none; None: 5, or none of photographs.
        prompt_kind: whether boxes or points of prompts.json count, where there are both.
        boxes: the objects' boxes in the first picture, in the place of prompts.json.
        backend: how Gaussians are made of pictures.
        segmenter: who tells the objects apart.
        real_world: the pictures are photographs: cameras are not the dataset's, and objects are put onto the floor.
        scale: metres in a unit of the cameras' frame; None: so that the objects fit the box.
        refine: complete what no picture shows of the objects.
        visualize: write pictures of masks, cameras and renderings, too.
        iterations: of the optimisation; None: by the device.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: of everything random.
        overwrite: make anew what was made from other pictures or with other settings.
    """

    interval: int | None
    views: int | None
    max_side: int | None
    held_out: int | None
    prompt_kind: Literal["bbox", "point"]
    boxes: Prompts | None
    backend: Backend
    segmenter: str
    real_world: bool
    scale: float | None
    refine: bool
    visualize: bool
    iterations: int | None
    device: str
    seed: int
    overwrite: bool


@dataclass(frozen=True)
class SceneInput:
    """A ``SceneInput`` names one scene to reconstruct.

    Attributes:
        data_path: its video, or folder of pictures.
        save_folder: directory for what is made of it.
    """

    data_path: Path
    save_folder: Path
