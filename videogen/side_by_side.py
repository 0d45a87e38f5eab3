"""Put videos of the same scene next to each other, each under its title.

Example:
  python -m videogen.side_by_side --videos simulated.mp4 predicted.mp4 --titles Simulated Predicted \\
      --output compared.mp4

The result is as long as the shortest video and has the first one's frame rate.
"""

from argparse import Namespace
from pathlib import Path

from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError
from videogen.videos.settings import SideBySideSettings


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--videos", type=Path, nargs="+", required=True, help="two or more videos of equal height")
    parser.add_argument(
        "--titles",
        nargs="+",
        default=[],
        help="a title for each (default: the scene, whether it was predicted, and gravity)",
    )
    parser.add_argument("--output", type=Path, required=True, help="the .mp4 to write")
    return parser


def _settings(args: Namespace) -> SideBySideSettings:
    if len(args.videos) < 2:
        raise InputError("--videos: expected two or more, found one")
    if len(args.titles) not in (0, len(args.videos)):
        raise InputError(f"--titles: expected {len(args.videos)}, one for each video, found {len(args.titles)}")
    return SideBySideSettings(videos=tuple(args.videos), titles=tuple(args.titles), output=args.output)


def main() -> None:
    settings = _settings(_parser().parse_args())

    from videogen.videos.video_row import default_title, write_row

    titles = settings.titles or [default_title(video) for video in settings.videos]
    count = write_row(settings.videos, titles, settings.output)
    print(f"wrote {count} frames of {len(settings.videos)} videos side by side to {settings.output}")


if __name__ == "__main__":
    run(main)
