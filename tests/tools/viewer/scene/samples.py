"""Sources that the viewer's tests show."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from gaussians.files.trajectory_format import Frame
from gaussians.representation import Gaussians
from tests.gaussians.samples import random_gaussians, rigid_frame
from tools.viewer.scene.splat_source import SplatSource


def moving_source(count: int = 12, degree: int = 2, frames: int = 4, **more: object) -> tuple[SplatSource, Gaussians]:
    """A source of two objects that turn and move as one rigid body, and its Gaussians at rest."""
    rest = random_gaussians(count, degree)

    def frame(k: int, fields: Sequence[str]) -> Frame:
        found = rigid_frame(rest, k)
        return replace(
            found,
            rotations=found.rotations if "rot" in fields else None,
            velocities=found.velocities if "vel" in fields else None,
        )

    objects = {"even": torch.arange(0, count, 2), "odd": torch.arange(1, count, 2)}
    return SplatSource("two", rest.opacities, rest.sh, objects, frame, frames, 0.02, **more), rest
