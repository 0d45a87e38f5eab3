"""Render trajectories as videos, images, depth and instance masks.

--model_path is one trajectory or a directory of them, --background_path any number of backgrounds or directories of
backgrounds; without one there is a checkered ground. Of several scenes each goes to <scene>/<background> below
--output_path and --initial_path (<scene>/ground without a background), of one scene before several backgrounds to
<background>. What is complete is skipped. Processes that are given the same scenes share them.

Cameras stand on the orbit of 100 views that --config describes. Without --fixed_view the camera moves along it,
one view a frame (circle360); --fixed_view -1 renders every fourth view (25 videos), --fixed_view K only view K.

--output_path gets, in a folder for each view, <scene>.mp4 (H.264), rgb/0000.png, ... (--render_img), masks.h5 and
masks/0000.png, ... (--render_masks); for all views of frame 0 depth.h5 and depth/<view>.png (--render_depth); and the
Gaussians themselves, without a background, gaussians/0000.ply, ... or .compressed.ply or .spz (--render_gaussians).
--initial_path gets frame 0 from all 100 views: <scene>.mp4, cameras.json, prompts.json, and depth and masks if asked.

Masks are 8-bit: 0 where no object shows, otherwise the object's label + 1. Depth is 16-bit, in units of depth_max /
65535 metres, where depth_max stands in depth.h5. docs/formats.md describes all files.

Examples:
  python -m dataset.render --model_path data/GSCollision/mpm/2/0_ball_duck --config config/dynamic_config.json \\
      --output_path output/0_ball_duck --compile_video --white_bg --fixed_view 0 --resolution 448
  python -m dataset.render --model_path data/GSCollision/mpm/2/0_ball_duck --config config/dynamic_config.json \\
      --background_path data/GSCollision/backgrounds/table6 --initial_path output/initial --render_depth
  python -m dataset.render --model_path data/GSCollision/mpm/2 --background_path data/GSCollision/backgrounds \\
      --config config/dynamic_config.json --output_path data/GSCollision/dynamic/2 --fixed_view -1 --shard 0/4
"""

import sys
from argparse import Namespace
from pathlib import Path

from dataset.layout import add_data_root
from dataset.rendering.settings import (
    RenderSettings,
    add_gaussians_arguments,
    add_picture_arguments,
    gaussians_settings,
    picture_settings,
)
from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    parser.add_argument(
        "--model_path", type=Path, required=True, help="trajectory directory (0000.h5, ...) or a directory of them"
    )
    parser.add_argument("--output_path", type=Path, help="directory of the videos and images in motion")
    parser.add_argument(
        "--initial_path", type=Path, help="directory of the first frame: 100 views as a video, cameras, prompts"
    )
    parser.add_argument(
        "--compile_video", action="store_true", help="write H.264 videos (the default if no other is asked)"
    )
    parser.add_argument("--render_img", action="store_true", help="write every frame as a PNG")
    parser.add_argument(
        "--render_depth", action="store_true", help="write accumulated depth of frame 0: depth.h5 and uint16 PNGs"
    )
    parser.add_argument(
        "--render_masks", action="store_true", help="write which object each pixel shows: masks.h5 and 8-bit PNGs"
    )
    add_gaussians_arguments(parser)
    add_picture_arguments(parser, several_backgrounds=True)
    parser.add_shard()
    parser.add_overwrite()
    parser.add_device()
    add_data_root(parser)
    return parser


def _settings(args: Namespace) -> RenderSettings:
    if args.output_path is None and args.initial_path is None:
        raise InputError("expected --output_path, --initial_path or both")
    if not args.model_path.is_dir():
        raise InputError(f"{args.model_path}: no such directory: expected a trajectory")
    kind, frames = gaussians_settings(args)
    if kind is not None and (args.output_path is None or len(args.background_path) > 1):
        raise InputError("--render_gaussians: expected --output_path and at most one background with it")
    _note_what_has_no_effect(args)
    return RenderSettings(
        model_path=args.model_path,
        output_path=args.output_path,
        initial_path=args.initial_path,
        video=args.compile_video or not (args.render_img or args.render_depth or args.render_masks or kind),
        images=args.render_img,
        depth=args.render_depth,
        masks=args.render_masks,
        gaussians=kind,
        frames=frames,
        pictures=picture_settings(args),
        data_root=args.data_root,
        device=args.device,
        shard=args.shard,
        overwrite=args.overwrite,
    )


def _note_what_has_no_effect(args: Namespace) -> None:
    """Say which flags of the motion are given though no directory for the motion is."""
    if args.output_path is not None:
        return
    given = {"--render_img": args.render_img, "--fixed_view": args.fixed_view is not None, "--views": args.views}
    if flags := ", ".join(flag for flag, value in given.items() if value):
        print(f"note: {flags}: without effect, because there is no --output_path", file=sys.stderr)


def main() -> None:
    settings = _settings(_parser().parse_args())

    from dataset.rendering.render_jobs import render_all

    print(render_all(settings))


if __name__ == "__main__":
    run(main)
