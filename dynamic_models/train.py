"""Train a dynamics model on simulated scenes.

Reads <data_root>/mpm/<group>/<scene>, takes keypoints (kept in <data_root>/keypoints), and learns to roll a scene out
from its state in one frame. A sample is a window of --chunk frames that starts at a random frame of the first --steps,
seen from a random side; the loss is the mean squared error of its keypoints [m^2] or its root. Writes to --output:
best.json and last.json with their weights, metrics.jsonl, curves.png, rollout.mp4, TensorBoard's files, and state.pt,
from which --resume auto goes on after any interruption. SIGTERM saves and ends with status 0. Lengths are in metres,
times in seconds.

Examples:
  python -m dynamic_models.train --groups 2 --num_keypoints 256 --hidden_dim 64 --steps 50 --chunk 50
  accelerate launch --multi_gpu --num_processes 4 -m dynamic_models.train --num_keypoints 2048 --epochs 500
"""

import argparse
import importlib.util
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import get_args

from dataset.layout import add_data_root
from dynamic_models.models.building_blocks.integration import OdeMethod
from dynamic_models.models.registry import MODELS, TRAINED
from dynamic_models.training.settings import TrainSettings
from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError

_TRACKERS = ("tensorboard", "wandb", "swanlab")
_WORTH_COMPILING = 600  # seconds


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    add_data_root(parser)
    add = parser.add_argument
    add("--groups", nargs="+", help="groups to train on (default: those of 3_0 ... 3_8 that exist, else all present)")
    add("--val_groups", nargs="+", help="groups to validate on; the best checkpoint is then chosen by them")
    add("--sample_num", type=int, default=60, help="scenes taken of every group")
    add("--cache", type=Path, help="directory for extracted keypoints (default: <data_root>/keypoints)")
    add("--output", type=Path, help="checkpoint directory (default: checkpoints/<experiment_name or dynamic_model>)")
    add("--resume", choices=("auto", "none"), default="auto", help="go on with the training in --output, or start anew")
    add(
        "--pretrained",
        type=Path,
        metavar="CHECKPOINT",
        help="checkpoint whose weights and network sizes to begin with, such as dynamic_models/pretrained/ngff",
    )
    add("--seed", type=int, default=0, help="seed of weights, windows and their order")

    add("--dynamic_model", choices=tuple(MODELS), default="ngff", help="model to train")
    add("--num_keypoints", type=int, default=4096, help="keypoints to take of every object")
    add("--hidden_dim", type=int, default=512, help="width of the networks")
    add("--num_layers", type=int, default=2, help="depth of the networks")
    add("--output_dim", type=int, choices=(3,), default=3, help="coordinates of a point; accepted as published")
    add(
        "--threshold",
        type=float,
        help="distance of contact [m] (default: the larger of 0.05 and 3 dx, as far as simulated particles reach)",
    )
    add("--radius", type=float, default=0.1, help="distance of neighbours in gcn's graph [m]")
    add("--mass", type=float, default=0.1, help="mass of every object in the published equations [kg]")
    add("--deformation", action=argparse.BooleanOptionalAction, default=True, help="whether ngff's objects deform")
    add(
        "--ode_method", choices=get_args(OdeMethod), default="euler", help="how a frame is integrated; adaptive: dopri5"
    )
    add("--step_size", type=float, default=5e-3, help="longest step of a fixed-step method [s]")
    add("--rtol", type=float, default=1e-3, help="relative tolerance of the adaptive method")
    add("--atol", type=float, default=1e-4, help="absolute tolerance of the adaptive method")

    add("--substeps", type=int, default=8, help="parts of a step in which ngff_impulses solves contacts")
    add("--sweeps", type=int, default=2, help="iterations that ngff_impulses solves contacts with in every substep")
    add(
        "--contacts",
        type=int,
        default=64,
        help="points for every object of a scene that ngff_impulses solves contacts at",
    )
    add("--steps", type=int, default=100, help="frames of every scene to learn from")
    add("--chunk", type=int, default=100, help="frames of a training window, at most --steps")
    add("--chunk_start", type=int, help="frames of a window at first; --chunk is reached by half of the training")
    add("--dt", type=float, help="seconds from frame to frame; the data must agree (default: what the data says)")
    add(
        "--loss",
        choices=("mse", "rmse"),
        default="rmse",
        help="what is minimised: each window's mean squared error, which is what is logged, or its root, with which "
        "all windows count alike",
    )
    add(
        "--wall_weight",
        type=float,
        default=0.0,
        help="weight of how much deeper than in the simulation objects sink into floor and walls, squared, beside "
        "squared errors; 0 leaves it to these",
    )
    add("--epochs", type=int, default=2001, help="how many times every scene is seen")
    add(
        "--time_limit",
        type=float,
        help="seconds after which the training ends; its schedules are shortened to that",
    )
    add("--batch_size", type=int, default=8, help="windows in a batch of one process")
    add("--gradient_accumulation_steps", type=int, default=1, help="batches before an update")
    add("--lr", type=float, default=1e-4, help="peak learning rate, reached after 2 %% of the training")
    add("--min_lr", type=float, default=5e-5, help="learning rate at the end")
    add("--clip_grad", type=float, default=1.0, help="largest norm of an update's gradient")
    add(
        "--augment",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="turn and mirror windows",
    )
    add(
        "--noise",
        type=float,
        default=0.0,
        help="standard deviation of a velocity added to each object at a window's start [m/s]",
    )
    add(
        "--mixed_precision",
        choices=("no", "bf16", "fp16"),
        default="no",
        help="precision of the networks; states stay float32",
    )
    add(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="fuse the model's kernels on a GPU, which takes a minute and then halves the time (default: unless "
        "--time_limit is at most 10 minutes)",
    )
    add("--save_interval", type=int, default=100, help="epochs between checkpoints and validations")
    add(
        "--video_interval",
        type=int,
        default=500,
        help="epochs between videos of a rollout, with one at the end; 0: no videos",
    )
    add(
        "--training_tracker",
        choices=(*_TRACKERS, "none"),
        default=_TRACKERS[0],
        help="where to log, besides metrics.jsonl",
    )
    add("--project_name", default="ngff", help="the tracker's project")
    add("--experiment_name", help="name of the run for the tracker and the checkpoint directory")
    parser.add_device()
    return parser


def _check(args: argparse.Namespace) -> None:
    """Raise ``InputError`` for flags that no training can use."""
    positive = "sample_num num_keypoints hidden_dim num_layers threshold radius mass step_size rtol atol dt epochs"
    positive += (
        " substeps sweeps contacts time_limit batch_size gradient_accumulation_steps lr min_lr clip_grad save_interval"
    )
    for name in positive.split():
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise InputError(f"--{name}: expected a positive number, found {value}")
    for name in ("video_interval", "noise", "wall_weight"):
        if not getattr(args, name) >= 0:
            raise InputError(f"--{name}: expected 0 or more, found {getattr(args, name)}")
    if not 2 <= args.chunk <= args.steps:
        raise InputError(f"--chunk: expected 2 to {args.steps} (--steps), found {args.chunk}")
    if args.chunk_start is not None and not 2 <= args.chunk_start <= args.chunk:
        raise InputError(f"--chunk_start: expected 2 to {args.chunk} (--chunk), found {args.chunk_start}")
    if args.min_lr > args.lr:
        raise InputError(f"--min_lr: expected at most {args.lr:g} (--lr), found {args.min_lr:g}")
    if args.training_tracker != "none" and importlib.util.find_spec(args.training_tracker) is None:
        raise InputError(f"--training_tracker: {args.training_tracker} is not installed; pip install it")


def parse_args(arguments: Sequence[str] | None = None) -> TrainSettings:
    """Return what the command's flags ask for.

    Raises:
        InputError: no training can use a flag's value.
    """
    args = _parser().parse_args(arguments)
    _check(args)
    given = vars(args)
    given["output"] = args.output or TRAINED / (args.experiment_name or args.dynamic_model)
    given["training_tracker"] = None if args.training_tracker == "none" else args.training_tracker
    for name in ("groups", "val_groups"):
        given[name] = given[name] and tuple(given[name])
    if args.compile is None:
        given["compile"] = args.time_limit is None or args.time_limit > _WORTH_COMPILING
    return TrainSettings(**{field.name: given[field.name] for field in fields(TrainSettings)})


def main() -> None:
    settings = parse_args()

    from dynamic_models.training.loop import train

    train(settings)


if __name__ == "__main__":
    run(main)
