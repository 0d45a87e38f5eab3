"""Reconstruct many scenes from pictures, predict the motion of each with several models, and render it.

--batch_inference_json is a JSON list of {"data_path": ..., "views": ...}: a video or folder of pictures, as for
videogen.reconstruct, and the views of the predicted videos, such as "84" or "0,circle360,circle360_jitter"; a scene
that names none has those of --views. Relative paths are from the working directory.

Written below --output_root, where <place> is <group>/<scene>/<background> for pictures in folders of these names, as a
dataset has them, else the name of the folder of pictures or of the video:

  reconstruct/<place>/                               what videogen.reconstruct writes: sim/, sim_refine/, bg/, reports
  <Model>_V/base/<place>/<view>/<scene>.mp4          a video of the objects as they were reconstructed
  <Model>_V/refine/<place>/<view>/<scene>.mp4        and of the completed ones, unless there is --disable_refine
  <Model>_V/base/<place>/trajectory/<scene>/         with --save_trajectory

Models are NGFF, Pointformer, GCN, whatever else videogen.eval knows by name, and MPM, the simulator.

Each model is loaded once. What fails is reported and does not stop the rest: the exit status is then 1, with a line for
each failure at the end. What is complete is not made again, unless what it was made from has changed.

Example:
  python -m videogen.pipeline_reconstruct_and_eval --batch_inference_json scenes.json --models NGFF,Pointformer,GCN \\
      --config config/dynamic_config.json --steps 100 --resolution 448 --output_root output/batch --views 84,circle360
"""

import argparse
import sys
from argparse import Namespace
from pathlib import Path

from dataset.layout import add_data_root, check_config_path
from dataset.rendering.settings import PictureSettings, check_resolution
from dataset.rendering.views import parse_views
from dynamic_models.models.registry import MODELS
from gaussians.limits import MOST_FRAMES
from gaussians.stage.command_line import ArgumentParser, run, take_shard
from gaussians.stage.errors import InputError
from videogen.pipeline.settings import PipelineSettings, published_name
from videogen.reconstruction.settings import add_reconstruction_arguments, reconstruction_settings
from videogen.videos.settings import SIMULATOR

_MODELS = {published_name(model).lower(): model for model in (*MODELS, SIMULATOR)}


def _parse_model(name: str) -> str:
    """Return the model that is called so, in letters of any size."""
    if name.lower() not in _MODELS:
        known = ", ".join(map(published_name, _MODELS.values()))
        raise argparse.ArgumentTypeError(f"expected any of {known}, found {name!r}")
    return _MODELS[name.lower()]


def _parse_models(text: str) -> tuple[str, ...]:
    models = tuple(_parse_model(name.strip()) for name in text.split(","))
    if len(set(models)) < len(models):
        raise argparse.ArgumentTypeError(f"{text}: a model stands there twice")
    return models


def _parse_checkpoint(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected MODEL=PATH, found {text!r}")
    return _parse_model(name), Path(path)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add(
        "--batch_inference_json",
        type=Path,
        required=True,
        help='JSON list of {"data_path": ..., "views": "0,circle360"}',
    )
    add("--models", type=_parse_models, default="NGFF,Pointformer,GCN", help="models that predict, with commas")
    add(
        "--checkpoints",
        type=_parse_checkpoint,
        nargs="+",
        default=[],
        metavar="MODEL=PATH",
        help="checkpoints of models (default: of checkpoints/<model> and those of the repository the one whose "
        "cells are as large as the config's)",
    )
    add("--config", type=Path, required=True, help="JSON of settings, e.g. config/dynamic_config.json")
    add("--steps", type=int, default=100, help="frames to predict, the present one included")
    add("--resolution", type=int, default=448, help="width and height of the videos, pixels")
    add(
        "--views",
        default="16,36,56,76,96",
        help="of scenes that name none: any of numbers, circle360 and circle360_jitter, with commas",
    )
    add("--shs_degree", type=int, default=2, choices=range(4), help="degree of the colours")
    add(
        "--white_bg",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a white backdrop, as published, or a black one, where nothing was reconstructed",
    )
    add("--output_root", type=Path, required=True, help="directory for everything that is made")
    add("--disable_refine", action="store_true", help="leave out objects completed where no picture shows them")
    add("--save_trajectory", action="store_true", help="write the motions as trajectories, too")
    add_reconstruction_arguments(parser)
    add_data_root(parser)
    parser.add_shard()
    parser.add_overwrite()
    parser.add_device()
    return parser


def _settings(args: Namespace) -> PipelineSettings:
    if not 2 <= args.steps <= MOST_FRAMES:
        raise InputError(f"--steps: expected 2 to {MOST_FRAMES}, found {args.steps}")
    check_config_path(args.config)
    check_resolution(args.resolution)
    checkpoints = dict(args.checkpoints)
    for model in checkpoints:
        if model not in args.models or model == SIMULATOR:
            raise InputError(f"--checkpoints: one is of {published_name(model)}, which predicts nothing here")
    return PipelineSettings(
        models=args.models,
        checkpoints=checkpoints,
        # Stages that were made from something else are made anew, as the videos are.
        reconstruction=reconstruction_settings(args, refine=not args.disable_refine, overwrite=True),
        pictures=PictureSettings(args.config, (), (), args.white_bg, args.resolution, args.shs_degree),
        steps=args.steps,
        trajectory=args.save_trajectory,
        output_root=args.output_root,
        data_root=args.data_root,
        device=args.device,
        overwrite=args.overwrite,
    )


def main() -> None:
    args = _parser().parse_args()
    settings, usual = _settings(args), parse_views(args.views)

    from videogen.pipeline.batch_file import read_batch
    from videogen.pipeline.scene_batch import run_batch

    scenes = take_shard(read_batch(args.batch_inference_json, usual), args.shard)
    if failures := run_batch(scenes, settings):
        print(f"{len(failures)} failed, all else is in {settings.output_root}:", file=sys.stderr)
        for failure in failures:
            print(f"  {failure}", file=sys.stderr)
        sys.exit(1)
    print(f"reconstructed and predicted {len(scenes)} scenes: {settings.output_root}")


if __name__ == "__main__":
    run(main)
