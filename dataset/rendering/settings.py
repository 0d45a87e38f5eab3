"""This module holds the settings of commands that render, and the flags that ask for them."""

from argparse import ArgumentTypeError, Namespace
from dataclasses import dataclass
from pathlib import Path

from dataset.layout import check_config_path, find_point_cloud
from dataset.rendering.views import View, chosen_views, parse_views
from gaussians.files.storage_options import SPLAT_FORMATS, SplatFormat
from gaussians.limits import LARGEST_PICTURE
from gaussians.stage.command_line import ArgumentParser
from gaussians.stage.errors import InputError


@dataclass(frozen=True)
class PictureSettings:
    """Says what pictures look like and where their cameras stand.

    Attributes:
        config: JSON file of settings, which describes the cameras' orbit.
        backgrounds: background directories, PLY files or directories of backgrounds; empty for a checkered ground.
        views: fixed views of the orbit or moving cameras, at least one.
        white: whether the backdrop is white instead of black.
        resolution: width and height of the pictures, pixels.
        sh_degree: the degree at which colours are cut off, 0 to 3.
        shadows: whether objects cast shadows onto the floor.
    """

    config: Path
    backgrounds: tuple[Path, ...]
    views: tuple[View, ...]
    white: bool
    resolution: int
    sh_degree: int
    shadows: bool = False


@dataclass(frozen=True)
class RenderSettings:
    """Holds the settings of ``dataset.render``.

    Attributes:
        model_path: a trajectory's directory or a directory of them.
        output_path: directory for the motion, None to leave it out.
        initial_path: directory for the views of the first frame, None to leave them out.
        video: whether to write the motion as videos.
        images: whether to write every frame of the motion as a PNG.
        depth: whether to write the depth of the first frame.
        masks: whether to write which object each pixel shows.
        gaussians: format in which to write the Gaussians themselves, None to leave them out.
        frames: frames whose Gaussians are written, None for all.
        pictures: what pictures look like.
        data_root: root directory of the dataset, where scenes and objects are described.
        device: where to draw: ``auto``, ``cpu`` or ``cuda``.
        shard: (i, n), which chooses every n-th job from the i-th on.
        overwrite: whether to render again what is complete.
    """

    model_path: Path
    output_path: Path | None
    initial_path: Path | None
    video: bool
    images: bool
    depth: bool
    masks: bool
    gaussians: SplatFormat | None
    frames: tuple[int, ...] | None
    pictures: PictureSettings
    data_root: Path
    device: str
    shard: tuple[int, int]
    overwrite: bool


def add_picture_arguments(parser: ArgumentParser, several_backgrounds: bool = False) -> None:
    """Add the flags of ``PictureSettings``, which every command that renders scenes has."""
    parser.add_argument("--config", type=Path, required=True, help="JSON of settings, e.g. config/dynamic_config.json")
    if several_backgrounds:
        parser.add_argument(
            "--background_path",
            type=Path,
            nargs="+",
            default=[],
            help="background directories, PLY files, or directories of backgrounds; none: a checkered ground",
        )
    else:
        parser.add_argument(
            "--background_path", type=Path, help="background directory or PLY; none: a checkered ground"
        )
    parser.add_argument("--white_bg", action="store_true", help="a white backdrop instead of a black one")
    view = parser.add_mutually_exclusive_group()
    view.add_argument(
        "--fixed_view",
        "--single_view",
        type=int,
        metavar="K",
        help="one view of the orbit (0 to 99), or -1 for every fourth (25 views); none: a moving camera",
    )
    view.add_argument("--views", help="any of numbers, circle360 and circle360_jitter, with commas")
    parser.add_argument("--resolution", type=int, default=1280, help="width and height of the pictures, pixels")
    parser.add_argument("--shs_degree", type=int, default=2, choices=range(4), help="degree of the colours")
    parser.add_argument("--shadows", action="store_true", help="objects cast soft shadows onto the floor, z = -0.94 m")


def add_gaussians_arguments(parser: ArgumentParser) -> None:
    """Add the flags that ask for the Gaussians of frames as files for other programs."""
    parser.add_argument(
        "--render_gaussians",
        "--save_ply",
        nargs="?",
        choices=SPLAT_FORMATS,
        const=SPLAT_FORMATS[0],
        help="write the Gaussians of every frame, gaussians/0000.ply, ..., for other programs (no format: ply)",
    )
    parser.add_argument(
        "--frames", type=_parse_frames, metavar="K,K,...", help="frames that --render_gaussians writes (default: all)"
    )


def _parse_frames(text: str) -> tuple[int, ...]:
    """Read numbers of frames, separated by commas."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdecimal() and len(word) < 10 for word in words):
        raise ArgumentTypeError(f"expected numbers of frames such as 0,50,99, found {text!r}")
    return tuple(sorted({int(word) for word in words}))


def gaussians_settings(args: Namespace) -> tuple[SplatFormat | None, tuple[int, ...] | None]:
    """Return the format and the frames that the flags of ``add_gaussians_arguments`` ask for.

    Raises:
        InputError: frames are named without the flag that writes them.
    """
    if args.frames is not None and args.render_gaussians is None:
        raise InputError("--frames: says whose Gaussians are written: expected --render_gaussians with it")
    return args.render_gaussians, args.frames


def picture_settings(args: Namespace) -> PictureSettings:
    """Return the settings that the flags of ``add_picture_arguments`` ask for.

    Raises:
        InputError: there is no such view, config or background, or the resolution is too small for a picture.
    """
    check_config_path(args.config)
    check_resolution(args.resolution)
    given = args.background_path if isinstance(args.background_path, list) else [args.background_path]
    backgrounds = tuple(path for path in given if path is not None)
    for path in backgrounds:
        if not path.exists():
            find_point_cloud(path)
    return PictureSettings(
        config=args.config,
        backgrounds=backgrounds,
        views=tuple(parse_views(args.views) if args.views else chosen_views(args.fixed_view)),
        white=args.white_bg,
        resolution=args.resolution,
        sh_degree=args.shs_degree,
        shadows=args.shadows,
    )


def check_resolution(resolution: int) -> None:
    """Refuse pictures that are too small or too large for any use.

    Args:
        resolution: width and height, pixels.

    Raises:
        InputError: they are.
    """
    if resolution < 2:
        raise InputError(f"--resolution: expected at least 2 pixels, found {resolution}")
    if resolution > LARGEST_PICTURE:
        raise InputError(f"--resolution: expected at most {LARGEST_PICTURE} pixels, found {resolution}")
