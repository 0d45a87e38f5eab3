"""Measure how far videos that are predicted from pictures are from what was simulated.

Scenes of a dataset that have a trajectory (<data_root>/mpm/<group>/<scene>, simulated with all fields, and
<data_root>/scenes/<group>/<scene>) go all the way: the first frame is rendered from 100 views, the scene is
reconstructed from 20 of them, a model sets the reconstruction in motion, and that is drawn beside the simulation. The
same model also predicts the motion of the true Gaussians, so that errors of the dynamics and of the reconstruction can
be told apart; a row "nothing moves" says what the numbers of a picture that stands still would be.

Measured over time, of every frame:
  PSNR, SSIM             of whole pictures, as they are drawn, before any video is encoded
  mask IoU               of each object's pixels
  centre error           between the centres of each object's pixels, pixels
  centre of mass error   metres
from --seen_view, which the reconstruction knew, from --novel_view, which it did not, and, with --novel_background, from
--seen_view with the objects before another background.

--sets NAME=GROUP,GROUP names a set of scenes whose results are averaged; --scenes of each are taken, from its groups in
turn. The time goes into the reconstructions; on a CPU, --resolution and --iterations make it short.

Written to --output: results.md, the tables; results.json, the same with every scene's numbers; over_time_<set>.png;
and in scenes/<group>/<scene>/ the initial views, the reconstruction, its report, the measurements, and for every kind
of pictures a video of the simulation and both predictions side by side. A second run goes on where the first one ended.
A scene that fails is named and does not stop the others; the exit status is then 1. Of several processes with --shard
each measures its scenes; at the end the command without --shard writes the report.

Examples:
  python -m videogen.evaluate --data_root output/quickstart/data --sets two=2_held_out --scenes 2 \\
      --config config/quickstart_config.json --checkpoint dynamic_models/pretrained/ngff_coarse
  python -m videogen.evaluate --sets spatial=3_9 compositional=4,5,6 --scenes 12 --config config/dynamic_config.json \\
      --background_path data/GSCollision/backgrounds/table4 --novel_background data/GSCollision/backgrounds/table6 \\
      --output output/videos
"""

import sys
from argparse import BooleanOptionalAction, Namespace
from collections.abc import Sequence
from pathlib import Path

from dataset.layout import add_data_root, check_config_path, find_point_cloud
from dataset.rendering.settings import PictureSettings
from dataset.rendering.views import View, fixed_view
from dynamic_models.evaluation.settings import parse_scene_set
from dynamic_models.models.registry import MODELS
from gaussians.limits import LARGEST_PICTURE, MOST_FRAMES
from gaussians.stage.command_line import ArgumentParser, resolve_device, run
from gaussians.stage.errors import InputError
from videogen.evaluation.settings import VideoEvaluationSettings, is_seen
from videogen.reconstruction.settings import ReconstructionSettings
from videogen.videos.settings import SIMULATOR

_SMALLEST = 32  # pixels
_ON_A_CPU, _ON_A_GPU = 128, 448  # pixels


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add_data_root(parser)
    add(
        "--sets",
        nargs="+",
        type=parse_scene_set,
        required=True,
        metavar="NAME=GROUP,...",
        help="sets of scenes, see above",
    )
    add("--scenes", type=int, default=2, help="scenes of every set")
    add("--config", type=Path, required=True, help="JSON of settings that the scenes were simulated with")
    add("--dynamic_model", choices=(*MODELS, SIMULATOR), default="ngff", help=f"what predicts; {SIMULATOR}: simulates")
    add(
        "--checkpoint",
        type=Path,
        help="checkpoint of the model (default: of checkpoints/<model> and those of the repository the one whose "
        "cells are as large as the config's)",
    )
    add("--steps", type=int, help="frames to compare, the first one included (default: all that were simulated)")
    add("--seen_view", type=int, default=0, help="a view of the orbit that scenes are reconstructed from")
    add("--novel_view", type=int, default=16, help="one that they are not: an odd one, or 16, 36, 56, 76, 96")
    add("--background_path", type=Path, help="background of the scenes (default: a checkered ground)")
    add("--novel_background", type=Path, help="another one, before which objects are drawn, too")
    add("--white_bg", action="store_true", help="a white backdrop instead of a black one")
    add(
        "--resolution",
        type=int,
        help="width and height of all pictures, pixels (default: 448 on a GPU, 128 on a CPU)",
    )
    add("--shs_degree", type=int, default=2, choices=range(4), help="degree of the colours")
    add(
        "--segmenter",
        choices=("grabcut", "sam2", "masks"),
        default="grabcut",
        help="who tells objects apart in the pictures: GrabCut or SAM 2.1 from boxes, or the true masks",
    )
    add(
        "--weights",
        type=Path,
        default=Path(),
        help="directory that the weights of perception models were downloaded to",
    )
    add(
        "--refine",
        action=BooleanOptionalAction,
        default=True,
        help="predict from objects completed where no picture shows them",
    )
    add("--iterations", type=int, help="of each reconstruction (default: 4000 on a GPU, 3000 on a CPU)")
    add("--seed", type=int, default=0, help="of everything random")
    add("--output", type=Path, default=Path("output/video_evaluation"), help="directory of the report")
    parser.add_shard()
    parser.add_overwrite()
    parser.add_device()
    return parser


def parse_args(arguments: Sequence[str] | None = None) -> VideoEvaluationSettings:
    """Return what the command's flags ask for.

    Raises:
        InputError: a value is impossible, or the config or a background is missing.
    """
    args = _parser().parse_args(arguments)
    names = [each.name for each in args.sets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--sets: {name} stands there twice")
    if any(each.frames for each in args.sets):
        raise InputError("--sets: expected no @FRAMES: --steps says how many are compared")
    for name, least, most in (
        ("scenes", 1, None),
        ("steps", 2, MOST_FRAMES),
        ("resolution", _SMALLEST, LARGEST_PICTURE),
        ("iterations", 1, None),
    ):
        value = getattr(args, name)
        if value is not None and not (least <= value and (most is None or value <= most)):
            limits = f"at least {least}" if most is None else f"{least} to {most}"
            raise InputError(f"--{name}: expected {limits}, found {value}")
    if args.dynamic_model == SIMULATOR and args.checkpoint is not None:
        raise InputError(f"--checkpoint: --dynamic_model {SIMULATOR} has none")
    check_config_path(args.config)
    for path in (args.background_path, args.novel_background):
        if path is not None:
            find_point_cloud(path)
    seen, novel = _views(args)
    resolution = args.resolution or (_ON_A_GPU if resolve_device(args.device).type == "cuda" else _ON_A_CPU)
    backgrounds = (args.background_path,) if args.background_path is not None else ()
    return VideoEvaluationSettings(
        sets=tuple(args.sets),
        scenes=args.scenes,
        dynamic_model=args.dynamic_model,
        checkpoint=args.checkpoint,
        steps=args.steps,
        seen_view=seen,
        novel_view=novel,
        novel_background=args.novel_background,
        pictures=PictureSettings(args.config, backgrounds, (seen,), args.white_bg, resolution, args.shs_degree),
        reconstruction=ReconstructionSettings(
            segmenter=args.segmenter,
            weights=args.weights,
            refine=args.refine,
            iterations=args.iterations,
            device=args.device,
            seed=args.seed,
            overwrite=args.overwrite,
        ),
        output=args.output,
        data_root=args.data_root,
        device=args.device,
        shard=args.shard,
        overwrite=args.overwrite,
    )


def _views(args: Namespace) -> tuple[View, View]:
    """Return the seen and the novel view.

    Raises:
        InputError: there is no such view, or it is of the other kind.
    """
    seen, novel = fixed_view(args.seen_view, "--seen_view"), fixed_view(args.novel_view, "--novel_view")
    if not is_seen(args.seen_view):
        raise InputError(f"--seen_view: scenes are not reconstructed from view {args.seen_view}, but from 0, 4, 8, 12")
    if is_seen(args.novel_view):
        raise InputError(f"--novel_view: scenes are reconstructed from view {args.novel_view}: expected 16, say")
    return seen, novel


def main() -> None:
    settings = parse_args()

    from videogen.evaluation.video_evaluation import evaluate_videos

    outcome = evaluate_videos(settings)
    print(outcome.summary)
    if outcome.failures:
        print(f"{len(outcome.failures)} scenes failed:", *outcome.failures, sep="\n  ", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run(main)
