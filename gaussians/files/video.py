"""Write and read H.264 video that browsers play, frame by frame.

Colours follow ITU-R BT.601 in its limited range; the files say so, and readers that ignore it assume the same.
"""

import logging
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import imageio.v2 as imageio
import numpy as np
import torch
from imageio_ffmpeg import get_ffmpeg_exe

from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError

# Constant rate factor: 0 is lossless, 23 the encoder's default. With this preset, 12 has the quality of 16 with the
# encoder's own preset, in half the time and files a third larger.
DEFAULT_CRF = 12
_PRESET = "veryfast"
# Each frame that the encoder looks ahead takes two to five times its size in memory, and there are many encoders.
_MEMORY = "rc-lookahead=4:bframes=2:b-pyramid=0"
_COLORS = "colormatrix=smpte170m:colorprim=bt709:transfer=iec61966-2-1:range=tv:chromaloc=1"


class VideoWriter:
    """A ``VideoWriter`` encodes frames as they come; the file gets its name once the ``with`` block ends well.

    Args:
        path: an .mp4 file.
        fps: frames per second.
        crf: constant rate factor of x264; smaller is better and larger on disk.
        threads: number of the encoder's threads; None lets it choose as if it had the machine to itself.

    Raises:
        InputError: ``path`` is no .mp4, or cannot be written.
    """

    def __init__(self, path: str | Path, fps: float, crf: int = DEFAULT_CRF, threads: int | None = None) -> None:
        self.path, self.fps, self.crf, self.threads = Path(path), fps, crf, threads
        if self.path.suffix != ".mp4":
            raise InputError(f"{self.path}: expected a name that ends in .mp4")
        self._encoder: subprocess.Popen[bytes] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "VideoWriter":
        self._temporary = self._stack.enter_context(atomic_path(self.path))
        return self

    def write(self, image: np.ndarray) -> None:
        """Encode one frame: RGB (H, W, 3) uint8, or planes (3 H / 2, W) uint8 as ``to_yuv420p`` makes them.

        An RGB image of odd size gets its last row or column twice, as 4:2:0 needs even ones.

        Raises:
            InputError: the encoder stopped, as it does on a full disk.
        """
        if image.ndim == 3:
            height, width = image.shape[:2]
            if height % 2 or width % 2:
                image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._encoder is None:
            self._encoder = self._start(image)
        assert self._encoder.stdin is not None
        try:
            self._encoder.stdin.write(np.ascontiguousarray(image).data)
        except BrokenPipeError:
            self.finish()
            raise InputError(f"{self.path}: cannot be encoded: the encoder stopped") from None

    def _start(self, image: np.ndarray) -> "subprocess.Popen[bytes]":
        pixel_format = "rgb24" if image.ndim == 3 else "yuv420p"
        height, width = image.shape[:2] if image.ndim == 3 else (image.shape[0] * 2 // 3, image.shape[1])
        source = ["-f", "rawvideo", "-pix_fmt", pixel_format, "-s", f"{width}x{height}", "-r", str(self.fps)]
        codec = ["-c:v", "libx264", "-preset", _PRESET, "-crf", str(self.crf), "-x264-params", f"{_MEMORY}:{_COLORS}"]
        if self.threads is not None:
            codec += ["-threads", str(self.threads)]
        target = ["-pix_fmt", "yuv420p", *codec, "-movflags", "+faststart", str(self._temporary)]
        queue = ["-thread_queue_size", "1"]
        command = [get_ffmpeg_exe(), "-loglevel", "error", "-y", *queue, *source, "-i", "-", *target]
        # In a process group of its own, Ctrl-C does not reach the encoder. With the setting, it gives the memory of
        # frames back to the system as soon as they are freed.
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0, env=environment
        )

    def finish(self) -> None:
        """Let the encoder end the file, and check its exit status, which alone tells whether all of it is there.

        The block's end does the same. For many writers it is faster to call this from several threads at once.

        Raises:
            InputError: the encoder failed.
        """
        if self._encoder is None:
            return
        encoder, self._encoder = self._encoder, None
        _, messages = encoder.communicate()
        if encoder.returncode:
            # Report the first of its messages: the others follow from it.
            reason = (messages.decode(errors="replace").splitlines() or ["the encoder stopped"])[0]
            raise InputError(f"{self.path}: cannot be encoded: {reason}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                self.finish()
                return
            if self._encoder is not None:
                self._encoder.kill()
                self._encoder.communicate()
            self._stack.__exit__(kind, error, traceback)


def read_video(
    path: str | Path, chosen: Sequence[int] | None = None, size: tuple[int, int] | None = None
) -> Iterator[np.ndarray]:
    """Yield the frames (H, W, 3) uint8 of a video file, one after the other, turned upright as the file says.

    Args:
        chosen: numbers of the frames to yield, ascending, counted in the file from 0; None: all, where a file of
            uneven times has some frames twice or not at all so that their rate is even.
        size: (width, height) that frames are scaled to, pixels, each pixel a mean of those that it covers.

    Raises:
        InputError: the file is missing or not a video.
    """
    filters: list[str] = []
    options: list[str] = []
    if chosen is not None:
        terms = "+".join(f"eq(n,{number})" for number in chosen)
        filters.append(f"select='{terms}'")
        options += ["-fps_mode", "passthrough", "-frames:v", str(len(chosen))]
    if size is not None:
        filters.append(f"scale={size[0]}:{size[1]}:flags=area")
    if filters:
        options += ["-vf", ",".join(filters)]
    with _open(path, options) as reader:
        yield from reader


def frame_rate(path: str | Path) -> float:
    """Return the frames per second of a video file.

    Raises:
        InputError: the file is missing or not a video.
    """
    with _open(path) as reader:
        return float(reader.get_meta_data()["fps"])


def _open(path: str | Path, options: Sequence[str] = ()) -> Any:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    # It warns of every frame size that is not the file's own, as of a film that stands upright.
    logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)
    try:
        return imageio.get_reader(path, format="FFMPEG", output_params=list(options))
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not a readable video: {str(error).splitlines()[0]}") from None


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Return images (..., 3) with values 0 to 1 as uint8, on their device."""
    return (images.clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def to_yuv420p(images: torch.Tensor) -> torch.Tensor:
    """Return images (..., H, W, 3) with values 0 to 1 as the planes that H.264 stores, on their device.

    These are luma Y, then blue and red difference Cb and Cr, means over 2 x 2 pixels (ITU-R BT.601, limited range).

    Returns:
        (..., 3 H / 2, W) uint8, row by row Y (H, W), Cb (H / 2, W / 2), Cr (H / 2, W / 2); an odd H or W is one more,
        the last row or column twice.
    """
    height, width = images.shape[-3:-1]
    if height % 2:
        images = torch.cat([images, images[..., -1:, :, :]], -3)
    if width % 2:
        images = torch.cat([images, images[..., -1:, :]], -2)
    red, green, blue = images.clamp(0, 1).unbind(-1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    cb, cr = ((color - luma) * (112 / (1 - weight)) for color, weight in ((blue, 0.114), (red, 0.299)))
    halves = [128 + plane.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).mean((-1, -3)) for plane in (cb, cr)]
    planes = torch.cat([plane.flatten(-2) for plane in (16 + 219 * luma, *halves)], -1)
    return (planes + 0.5).to(torch.uint8).unflatten(-1, (-1, luma.shape[-1]))
