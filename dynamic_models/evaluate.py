"""Measure how well dynamics models predict simulated scenes, and how physical what they predict is.

Every model is given the first frame of a scene and predicts the others. Writes to --output: metrics.md, a report with
the measures of docs/metrics.md, their means over scenes and 95 % confidence intervals; metrics.json, the same with
every scene's numbers; a plot of errors over time for each set of scenes; and videos of the first model's best, median
and worst scene of each set, simulation and models side by side. Lengths are in metres, times in seconds.

--sets NAME=GROUP,GROUP@FRAMES names a set of scenes whose errors are averaged; without @FRAMES, --steps are predicted.
Without --sets all --groups are one set.

Models: ngff, ngff_impulses, ngff_objects, ngff_published, pointformer, gcn and rigidformer from checkpoints, and others
by names of --checkpoints; ballistic, free flight that ends on the floor; mpm_vlm, simulations with guessed materials in
<data_root>/mpm_vlm/<group>/<scene>; floor, the error of what can be known, from simulations in
<data_root>/shifted/<group>/<scene> of the same scenes, moved by half a cell.

Examples:
  python -m dynamic_models.evaluate --groups 3_9 --models ngff,ballistic
  python -m dynamic_models.evaluate --models ngff,pointformer,gcn,mpm_vlm,ballistic --steps 100 \\
      --sets spatial=3_9 temporal=3_9@200 compositional=4,5,6 novel=3_novel
  python -m dynamic_models.evaluate --groups 3_9 --models ngff,rigid \\
      --checkpoints checkpoints/ngff rigid=checkpoints/ngff_without_deformation
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dataset.layout import add_data_root
from dynamic_models.evaluation.settings import (
    BALLISTIC,
    FLOOR,
    GUESSED,
    HORIZONS,
    EvaluateSettings,
    parse_scene_set,
)
from dynamic_models.models.registry import MODELS
from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    add_data_root(parser)
    add = parser.add_argument
    add("--groups", nargs="+", default=[], help="groups to evaluate on, besides those of --sets")
    add(
        "--sets",
        nargs="+",
        type=parse_scene_set,
        default=[],
        metavar="NAME=GROUP,...[@FRAMES]",
        help="sets of scenes, see above",
    )
    known = ", ".join((*MODELS, GUESSED, BALLISTIC, FLOOR))
    add(
        "--models",
        default="ngff,ballistic",
        help=f"models, separated by commas: any of {known}, and names of --checkpoints",
    )
    add(
        "--checkpoints",
        nargs="+",
        default=[],
        metavar="[NAME=]PATH",
        help="checkpoints of learned models, several of one kind under names of their own (default: of "
        "checkpoints/<model> and those that come with the repository the one whose cells are as large as the scenes')",
    )
    add(
        "--steps", type=int, help="frames to predict (default: as in the first model's training, if scenes are so long)"
    )
    add(
        "--horizons",
        nargs="+",
        type=int,
        default=list(HORIZONS),
        help="numbers of first frames over which errors are taken, too, in sets that are so long",
    )
    add("--rollouts", type=int, default=0, help="rollouts from jittered starts of which the best is told; 0: none")
    add("--jitter", type=float, default=3e-3, help="standard deviation of objects' places in these starts [m]")
    add(
        "--num_keypoints",
        type=int,
        help="keypoints of every object (default: as many as in training, or 512 if no model was trained)",
    )
    add("--cache", type=Path, help="directory for extracted keypoints (default: <data_root>/keypoints)")
    add("--output", type=Path, default=Path("output/evaluation"), help="directory of the report")
    add(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="fuse learned models' kernels on a GPU and multiply matrices in TF32, which takes a minute at first and "
        "makes rollouts some times faster",
    )
    add("--videos", action=argparse.BooleanOptionalAction, default=True, help="write videos of some scenes")
    add("--resolution", type=int, default=320, help="width of each part of a video, pixels")
    parser.add_device()
    return parser


def parse_args(arguments: Sequence[str] | None = None) -> EvaluateSettings:
    """Return what the command's flags ask for.

    Raises:
        InputError: no evaluation can use a flag's value.
    """
    parser = _parser()
    args = parser.parse_args(arguments)
    if not args.groups and not args.sets:
        parser.error("one of --groups and --sets is needed")
    models = tuple(args.models.split(","))
    for what, names in (("--models", models), ("--sets", [each.name for each in args.sets])):
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{what}: {name} stands there twice")
    for name, least in (("steps", 2), ("num_keypoints", 1), ("resolution", 16), ("rollouts", 0), ("jitter", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise InputError(f"--{name}: expected {least} or more, found {value}")
    if min(args.horizons) < 2:
        raise InputError(f"--horizons: expected 2 or more, found {min(args.horizons)}")
    return EvaluateSettings(
        data_root=args.data_root,
        groups=tuple(args.groups),
        sets=tuple(args.sets),
        models=models,
        checkpoints=tuple(args.checkpoints),
        steps=args.steps,
        horizons=tuple(sorted(set(args.horizons))),
        rollouts=args.rollouts,
        jitter=args.jitter,
        num_keypoints=args.num_keypoints,
        cache=args.cache,
        output=args.output,
        compile=args.compile,
        videos=args.videos,
        resolution=args.resolution,
        device=args.device,
    )


def main() -> None:
    settings = parse_args()

    from dynamic_models.evaluation.comparison import compare_models

    print(compare_models(settings))


if __name__ == "__main__":
    run(main)
