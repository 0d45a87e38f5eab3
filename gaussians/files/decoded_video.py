"""Count the frames that are really in a video file by decoding all of them."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

from gaussians.stage.errors import InputError


@dataclass(frozen=True)
class DecodedVideo:
    """A ``DecodedVideo`` says what decoding a video from beginning to end has shown.

    Attributes:
        width, height: pixels.
        fps: frames per second.
        declared: frames that the file's index promises.
        frames: frames that came out.
        problem: what the decoder complained of first, or an empty string.
    """

    width: int
    height: int
    fps: float
    declared: int
    frames: int
    problem: str


def decode(path: Path, whole: bool = True, threads: int = 1) -> DecodedVideo:
    """Decode a video and count its frames.

    Args:
        whole: whether to decode all frames, or else to believe the index.
        threads: how many the decoder takes.

    Raises:
        InputError: the file is missing or no video.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    reader = imageio_ffmpeg.read_frames(str(path))
    try:
        index = next(reader)
    except (OSError, RuntimeError, StopIteration) as error:
        raise InputError(f"{path}: not a readable video: {_last_line(str(error))}") from None
    finally:
        reader.close()
    (width, height), fps = index["size"], float(index["fps"])
    declared = round(index["duration"] * fps)
    frames, problem = _count(path, threads) if whole else (declared, "")
    return DecodedVideo(width, height, fps, declared, frames, problem)


def _count(path: Path, threads: int) -> tuple[int, str]:
    """Return the number of frames that decode, and the decoder's first complaint."""
    source = ["-threads", str(threads), "-i", str(path), "-map", "0:v:0"]
    # Count every packet's frame once; none is repeated to fill up time.
    sink = ["-fps_mode", "passthrough", "-f", "null", "-progress", "pipe:1", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", *source, *sink]
    decoder = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    counts = re.findall(r"^frame=\s*(\d+)", decoder.stdout, re.MULTILINE)
    complaints = decoder.stderr.strip().splitlines()
    if not complaints and decoder.returncode:
        complaints = [f"the decoder ended with status {decoder.returncode}"]
    return int(counts[-1]) if counts else 0, re.sub(r"^\[.*?\] ", "", complaints[0]) if complaints else ""


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no frame"])[-1]
