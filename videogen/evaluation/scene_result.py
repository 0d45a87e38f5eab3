"""Hold what was measured of one scene."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

RECONSTRUCTED, TRUE, STILL = "reconstructed", "true_gaussians", "still"
PREDICTIONS = (TRUE, RECONSTRUCTED, STILL)
"""What is compared with the simulation: the motion predicted from true Gaussians, the one predicted from reconstructed
ones, and the simulation's first frame, repeated."""
SEEN, NOVEL, BACKGROUND = "seen_view", "novel_view", "novel_background"


class Measure(NamedTuple):
    """A ``Measure`` is something that is measured of every frame.

    Attributes:
        title: what reports call it, with its unit.
        sign: 1 where more is worse, -1 where more is better.
        pictured: whether it is measured in pictures, of every kind; else in the world.
    """

    title: str
    sign: int
    pictured: bool


MEASURES = {
    "psnr": Measure("PSNR [dB]", -1, True),
    "ssim": Measure("SSIM", -1, True),
    "iou": Measure("mask IoU", -1, True),
    "pixels": Measure("centre error [px]", 1, True),
    "metres": Measure("centre of mass error [m]", 1, False),
}


def key_of(prediction: str, kind: str, measure: str) -> str:
    """Return the name of a tensor of ``SceneResult``."""
    return f"{prediction}/{kind}/{measure}" if MEASURES[measure].pictured else f"{prediction}/{measure}"


@dataclass(frozen=True)
class SceneResult:
    """A ``SceneResult`` holds how far predictions of one scene are from its simulation.

    Attributes:
        group, scene: their names.
        tensors: by ``key_of``, (T,) of whole pictures and (T, K) of K objects, NaN for what is undefined.
        facts: names of objects and kinds of pictures, seconds from frame to frame, what the report of the
            reconstruction says.
    """

    group: str
    scene: str
    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.group}/{self.scene}"

    @property
    def kinds(self) -> list[str]:
        """Return the kinds of pictures that were compared."""
        return list(self.facts["kinds"])

    def over_time(self, prediction: str, kind: str, measure: str) -> torch.Tensor:
        """Return a measure's mean over the objects in every frame, (T,)."""
        values = self.tensors[key_of(prediction, kind, measure)]
        return values.nanmean(1) if values.ndim == 2 else values

    def at_start(self, prediction: str, kind: str, measure: str) -> float:
        """Return a measure of the first frame, before anything moves."""
        return self.over_time(prediction, kind, measure)[0].item()

    def mean(self, prediction: str, kind: str, measure: str) -> float:
        """Return the mean of a measure over all frames but the first, which is given."""
        return self.over_time(prediction, kind, measure)[1:].nanmean().item()
