"""Put videos next to each other, each under its title."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gaussians.captions import gravity_caption
from gaussians.files.video import VideoWriter, frame_rate, read_video
from gaussians.stage.errors import InputError
from gaussians.stage.provenance import read_record


def write_row(videos: Sequence[Path], titles: Sequence[str], output: Path) -> int:
    """Write ``videos`` in one row to ``output``, and return the number of frames.

    Raises:
        InputError: a video cannot be read, or they differ in height.
    """
    count = 0
    with VideoWriter(output, frame_rate(videos[0])) as writer:
        for pictures in zip(*map(read_video, videos), strict=False):
            heights = {picture.shape[0] for picture in pictures}
            if len(heights) > 1:
                raise InputError(f"{videos[0]} and the others: expected one height, found {sorted(heights)} pixels")
            parts = [titled(picture, title) for picture, title in zip(pictures, titles, strict=True)]
            writer.write(np.concatenate(parts, axis=1))
            count += 1
    return count


def default_title(video: Path) -> str:
    """Return the scene that a video shows, whether it was simulated or which model predicted it, and its gravity.

    All but the scene is left out where the record beside the video does not say it.
    """
    try:
        record = read_record(video.with_name(f"{video.stem}.json"))
    except InputError:  # a file of something else
        return video.stem
    title, made_from = video.stem, record.made_from if record else {}
    match made_from:
        case {"trajectory": _} | {"dynamic_model": "mpm"}:
            title += ": simulated"
        case {"checkpoint": {"settings": {"dynamic_model": str(model)}}}:
            title += f": {model}"
    match made_from:
        case {"config": {"g": [int() | float() as x, int() | float() as y, int() | float() as z]}}:
            title += f"\n{gravity_caption((x, y, z))}"
    return title


def titled(picture: np.ndarray, title: str) -> np.ndarray:
    """Return the picture (H, W, 3) with ``title`` in its upper left corner, readable on light and dark."""
    image = Image.fromarray(picture)
    size = max(12, picture.shape[0] // 20)
    ImageDraw.Draw(image).text(
        (size // 2, size // 2),
        title,
        font=ImageFont.load_default(size),
        fill="white",
        stroke_width=max(1, size // 10),
        stroke_fill="black",
    )
    return np.asarray(image)
