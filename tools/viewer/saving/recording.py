"""Draw a stage with our own rasterizer: a picture from a browser's place, and a video along a path of the camera."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gaussians.files.trajectory_format import Frame
from gaussians.files.video import VideoWriter, to_uint8
from gaussians.rasterization import rasterize
from tools.viewer.saving.camera_path import eyes_along
from tools.viewer.scene.layers import Stage
from tools.viewer.scene.poses import Eye

WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class VideoSettings:
    """A ``VideoSettings`` says what a recorded video is like.

    Attributes:
        width, height: pixels.
        fps: frames a second.
        seconds: how long it is.
        speed: seconds of the trajectory a second; 0 for a scene that stands still.
        start: seconds of the trajectory where it begins.
    """

    width: int = 1280
    height: int = 720
    fps: int = 30
    seconds: float = 4.0
    speed: float = 1.0
    start: float = 0.0


def picture(
    stage: Stage,
    frames: Sequence[Frame],
    eye: Eye,
    width: int,
    height: int,
    backdrop: tuple[float, float, float] = WHITE,
) -> torch.Tensor:
    """Return what a browser shows of a stage's Gaussians, (height, width, 3), 0 to 1, as our rasterizer draws it.

    Args:
        frames: one for each of the stage's layers, see ``Stage.frames``.
        eye: where it is seen from; the picture has its vertical field of view.
        backdrop: colour behind everything.
    """
    camera = eye.camera(width, height)

    def drawn(layers: Sequence[object] | None) -> torch.Tensor:
        gaussians = stage.gaussians(frames, layers)  # type: ignore[arg-type]
        return rasterize(gaussians, camera, background=torch.tensor(backdrop)).rgb[0].clamp(0, 1)

    if stage.arrangement != "wipe" or len(stage.layers) == 1:
        return drawn(None)
    first, *others = stage.layers
    behind = [] if stage.background is None else [stage.background]
    right = (torch.arange(width) + 0.5) / width >= stage.wipe
    return torch.where(right[None, :, None], drawn([*others, *behind]), drawn([first, *behind]))


def record(stage: Stage, kept: Sequence[Eye], path: Path, settings: VideoSettings) -> Generator[float, None, str]:
    """Record an MP4 along a path through kept views while the stage plays, over and over if it is shorter.

    The file appears when it is whole.

    Yields:
        Which share is done, after each frame.

    Returns:
        What was written.

    Raises:
        InputError: a file is damaged or cannot be written.
    """
    count = max(1, round(settings.seconds * settings.fps))
    eyes = eyes_along(kept, count, settings.width / settings.height)
    total, step = stage.duration
    with VideoWriter(path, settings.fps) as writer:
        for k, eye in enumerate(eyes):
            time = (settings.start + k / settings.fps * settings.speed) % (total * step)
            image = picture(stage, stage.frames(time), eye, settings.width, settings.height)
            writer.write(to_uint8(image).numpy())
            yield (k + 1) / count
    return f"{path}: {count} frames of {settings.width} x {settings.height}"
