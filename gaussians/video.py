"""H.264 video that browsers play, written and read frame by frame."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import imageio.v2 as imageio
import numpy as np
import torch
from imageio_ffmpeg import get_ffmpeg_exe

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

    Raises:
        InputError: ``path`` is no .mp4, or cannot be written.
    """

    def __init__(self, path: str | Path, fps: float, crf: int = DEFAULT_CRF) -> None:
        self.path, self.fps, self.crf = Path(path), fps, crf
        if self.path.suffix != ".mp4":
            raise InputError(f"{self.path}: expected a name that ends in .mp4")
        self._encoder: subprocess.Popen[bytes] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "VideoWriter":
        self._temporary = self._stack.enter_context(atomic_path(self.path))
        return self

    def write(self, image: np.ndarray) -> None:
        """Encode one frame, (H, W, 3) uint8; an odd size gets its last row or column twice, as 4:2:0 needs even ones.

        Raises:
            InputError: the encoder stopped, as it does on a full disk.
        """
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._encoder is None:
            self._encoder = self._start(*image.shape[:2])
        assert self._encoder.stdin is not None
        try:
            self._encoder.stdin.write(np.ascontiguousarray(image).data)
        except BrokenPipeError:
            self._finish()

    def _start(self, height: int, width: int) -> "subprocess.Popen[bytes]":
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(self.fps), "-i", "-"]
        target = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", str(self.crf), "-movflags", "+faststart"]
        command = [get_ffmpeg_exe(), "-loglevel", "error", "-y", *source, *target, str(self._temporary)]
        # In a group of its own, so that Ctrl-C reaches us alone.
        return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0)

    def _finish(self) -> None:
        """Let the encoder end the file; its exit status is the only word on whether all of it is there."""
        if self._encoder is None:
            return
        encoder, self._encoder = self._encoder, None
        _, messages = encoder.communicate()
        if encoder.returncode:
            reason = (messages.decode(errors="replace").splitlines() or ["the encoder stopped"])[-1]
            raise InputError(f"{self.path}: cannot be encoded: {reason}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                self._finish()
                return
            if self._encoder is not None:
                self._encoder.kill()
                self._encoder.communicate()
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
