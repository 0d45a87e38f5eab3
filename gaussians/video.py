"""H.264 video that browsers play, written and read frame by frame."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import imageio.v2 as imageio
import numpy as np
import torch

from gaussians.errors import InputError
from gaussians.files import atomic_path

# Constant rate factor: 0 is lossless, 23 the encoder's default; 16 keeps flat shading free of visible blocks.
DEFAULT_CRF = 16


class VideoWriter:
    """Encodes frames as they come; the file appears under its name once the ``with`` block ends well.

    Args:
        path: an .mp4 file.
        fps: frames per second.
        crf: constant rate factor of x264; smaller is better and larger on disk.
    """

    def __init__(self, path: str | Path, fps: float, crf: int = DEFAULT_CRF) -> None:
        self.path, self.fps, self.crf = Path(path), fps, crf
        self._stack = ExitStack()

    def __enter__(self) -> "VideoWriter":
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            self._encoder = imageio.get_writer(
                temporary,
                format="FFMPEG",
                fps=self.fps,
                codec="libx264",
                pixelformat="yuv420p",
                quality=None,
                macro_block_size=2,
                output_params=["-crf", str(self.crf), "-movflags", "+faststart"],
                ffmpeg_log_level="error",
            )
            stack.callback(self._encoder.close)
            self._stack = stack.pop_all()
        return self

    def write(self, image: np.ndarray) -> None:
        """Encode one frame, (H, W, 3) uint8; an odd size gets its last row or column twice, as 4:2:0 needs even ones.

        Raises:
            InputError: the encoder stopped, as it does on a full disk.
        """
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        try:
            self._encoder.append_data(image)
        except (OSError, RuntimeError) as error:
            raise InputError(f"{self.path}: cannot be encoded: {error}") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)


def read_video(path: str | Path) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 of a video file, one after the other.

    Raises:
        InputError: the file is missing or not a video.
    """
    with _open(path) as reader:
        yield from reader


def frame_rate(path: str | Path) -> float:
    """Frames per second of a video file.

    Raises:
        InputError: the file is missing or not a video.
    """
    with _open(path) as reader:
        return float(reader.get_meta_data()["fps"])


def _open(path: str | Path) -> Any:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        return imageio.get_reader(path, format="FFMPEG")
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not a readable video: {str(error).splitlines()[0]}") from None


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """Images (..., 3) with values 0 to 1 as uint8 on the host."""
    return (images.clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
