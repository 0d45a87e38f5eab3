"""Reconstruct the objects of a scene and their background as Gaussians, from a video or photographs of it.

--data_path is a video, or a folder of pictures, of a scene at rest that the camera moves around. Cameras are read from
cameras.json, transforms.json or a COLMAP model (sparse/0) beside the pictures, or one folder above; without any they
are estimated by COLMAP (`pip install .[photographs]`). Where the objects are in the first picture is told by
prompts.json beside the pictures, or by --bbox; masks/ may give masks of all pictures.

Written to --save_folder: sim/ (the objects) and bg/ (all else), which videogen.eval takes as --model_path and
--background_path, cameras.json, and report.md and report.json, which say how well it went. Every stage keeps its
result in stages/, so that a second run goes on where the first one ended.

Of a dataset's video every fourth frame is taken, and every fifth of those is held out, to compare with at the end.

Examples:
  python -m videogen.reconstruct --data_path data/GSCollision/initial/3_9/2810_bowl_pillow_can/table4/+2810.mp4 \\
      --save_folder output/2810
  python -m videogen.reconstruct --data_path photographs/desk --save_folder output/desk --real_world --refine \\
      --bbox 310,220,480,400 --bbox 520,240,610,390
"""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError
from videogen.reconstruction.settings import SceneInput, add_reconstruction_arguments, reconstruction_settings


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--data_path", type=Path, help="video or folder of pictures")
    parser.add_argument("--save_folder", type=Path, help="directory for the result")
    parser.add_argument(
        "--batch_inference_json",
        type=Path,
        help='several scenes instead: a JSON list of {"data_path": ..., "save_folder": ...}',
    )
    parser.add_argument("--views", type=int, help="take this many pictures, evenly spaced, whatever --interval says")
    parser.add_argument(
        "--bbox",
        action="append",
        default=[],
        metavar="u0,v0,u1,v1",
        help="box around an object in the first picture, pixels; once for each object, instead of prompts.json",
    )
    parser.add_argument("--refine", action="store_true", help="complete what no picture shows of the objects, too")
    add_reconstruction_arguments(parser)
    parser.add_overwrite()
    parser.add_device()
    return parser


def _check(args: Namespace) -> None:
    """Refuse flags that do not go together, or ask for the impossible."""
    if args.views is not None and args.views < 3:
        raise InputError(f"--views: expected at least 3, found {args.views}")
    if args.batch_inference_json is not None and (args.data_path or args.save_folder):
        raise InputError("--batch_inference_json: names all scenes: expected neither --data_path nor --save_folder")
    if args.batch_inference_json is None and (args.data_path is None or args.save_folder is None):
        raise InputError("--data_path and --save_folder: expected both, or --batch_inference_json")


def main() -> None:
    args = _parser().parse_args()
    _check(args)
    settings = reconstruction_settings(args, refine=args.refine, overwrite=args.overwrite)

    from gaussians.files.prompts import parse_boxes
    from videogen.reconstruction.scene_list import read_scene_list
    from videogen.reconstruction.scene_reconstruction import reconstruct_all

    settings = replace(settings, views=args.views, boxes=parse_boxes(args.bbox) if args.bbox else None)
    if args.batch_inference_json is None:
        scenes = [SceneInput(args.data_path, args.save_folder)]
    else:
        scenes = read_scene_list(args.batch_inference_json)
    reconstruct_all(scenes, settings)


if __name__ == "__main__":
    run(main)
