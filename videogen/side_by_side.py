"""Put videos of the same scene next to each other, each under its title.

Example:
  python -m videogen.side_by_side --videos simulated.mp4 predicted.mp4 --titles Simulated Predicted \\
      --output compared.mp4

The result is as long as the shortest video and has the first one's frame rate.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gaussians.files.video import VideoWriter, frame_rate, read_video
from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError


def side_by_side(videos: list[Path], titles: list[str], output: Path) -> int:
    """Write ``videos`` in one row to ``output``; returns the number of frames.

    Raises:
        InputError: a video cannot be read, or they differ in height.
    """
    count = 0
    with VideoWriter(output, frame_rate(videos[0])) as writer:
        for pictures in zip(*map(read_video, videos), strict=False):
            heights = {picture.shape[0] for picture in pictures}
            if len(heights) > 1:
                raise InputError(f"{videos[0]} and the others: expected one height, found {sorted(heights)} pixels")
            titled = [_title(picture, title) for picture, title in zip(pictures, titles, strict=True)]
            writer.write(np.concatenate(titled, axis=1))
            count += 1
    return count


def _title(picture: np.ndarray, title: str) -> np.ndarray:
    """The picture (H, W, 3) with ``title`` in its upper left corner, readable on light and dark."""
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


def main() -> None:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--videos", type=Path, nargs="+", required=True, help="two or more videos of equal height")
    parser.add_argument("--titles", nargs="+", default=[], help="a title for each (default: the files' names)")
    parser.add_argument("--output", type=Path, required=True, help="the .mp4 to write")
    args = parser.parse_args()
    if len(args.videos) < 2:
        raise InputError("--videos: expected two or more, found one")
    titles = args.titles or [video.stem for video in args.videos]
    if len(titles) != len(args.videos):
        raise InputError(f"--titles: expected {len(args.videos)}, one for each video, found {len(titles)}")
    count = side_by_side(args.videos, titles, args.output)
    print(f"wrote {count} frames of {len(args.videos)} videos side by side to {args.output}")


if __name__ == "__main__":
    run(main)
