"""Measure how well dynamics models predict simulated scenes, and how physical what they predict is.

Every model is given the first frame of a scene and predicts the others. Writes to --output: metrics.md, a report with
the measures of docs/metrics.md, their means over scenes and 95 % confidence intervals; metrics.json, the same with
every scene's numbers; a plot of errors over time for each set of scenes; and videos of the first model's best, median
and worst scene of each set, simulation and models side by side. Lengths are in metres, times in seconds.

--sets NAME=GROUP,GROUP@FRAMES names sets of scenes that are judged together; without @FRAMES, --steps are predicted.
Without --sets all --groups are one set.

Models: ngff, ngff_objects, ngff_published, pointformer, gcn from checkpoints, and others by names of --checkpoints;
ballistic, free flight that ends on the floor; mpm_vlm, simulations with guessed materials in
<data_root>/mpm_vlm/<group>/<scene>.

Examples:
  python -m dynamic_models.evaluate --groups 3_9 --models ngff,ballistic
  python -m dynamic_models.evaluate --models ngff,pointformer,gcn,mpm_vlm,ballistic --steps 100 \\
      --sets spatial=3_9 temporal=3_9@200 compositional=4,5,6 novel=3_novel
  python -m dynamic_models.evaluate --groups 3_9 --models ngff,rigid \\
      --checkpoints checkpoints/ngff rigid=checkpoints/ngff_without_deformation
"""

import argparse
import platform
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from dataset.layout import Layout, add_data_root
from dynamic_models.data.windows import SimulatedScene, choose_groups, load_scenes
from dynamic_models.evaluation.comparison_video import Tile, write_comparison
from dynamic_models.evaluation.contenders import BALLISTIC, GUESSED, TRUTH, Contender, Truth, load_contenders
from dynamic_models.evaluation.measurements import Result, SceneSet, evaluate, of_set, ranked
from dynamic_models.evaluation.report import Report, plot_errors, plot_name, to_json, to_markdown, trained_frames
from dynamic_models.models.registry import MODELS
from gaussians.stage.atomic_files import atomic_path, made_directory
from gaussians.stage.command_line import ArgumentParser, resolve_device, run
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import write_json

_MODEL_FREE_KEYPOINTS = 512
_ONE_SET = "all"


def main() -> None:
    args = parse_args()
    device, layout = resolve_device(args.device), Layout(args.data_root)
    if args.compile:
        torch.set_float32_matmul_precision("high")
    wanted = [SceneSet(name, groups, frames or 0) for name, groups, frames in args.sets]
    groups = choose_groups(layout, [*(args.groups or []), *(group for each in wanted for group in each.groups)])
    groups = list(dict.fromkeys(groups))
    contenders = load_contenders(args.models, args.checkpoints, layout, device, args.compile)
    num_keypoints = keypoint_count(contenders, args.num_keypoints)
    scenes = load_groups(layout, groups, num_keypoints, args.cache)
    frames = args.steps or default_frames(contenders, scenes)
    sets = [each._replace(frames=each.frames or frames) for each in wanted] or [
        SceneSet(_ONE_SET, tuple(groups), frames)
    ]
    cases = dict.fromkeys((group, each.frames) for each in sets for group in each.groups)
    cases |= dict.fromkeys((group, frames) for group in args.groups or [])
    by_group = [SceneSet(group, (group,), length) for group, length in cases]
    for case in by_group:
        check_case(case, scenes[case.groups[0]], contenders)

    with made_directory(args.output):
        report = Report(
            contenders=contenders,
            sets=sets,
            groups=by_group,
            results=evaluate(contenders, scenes, [*sets, *by_group], layout),
            frame_dt=scenes[groups[0]][0].frame_dt,
            num_keypoints=min((c.num_keypoints for c in contenders if c.num_keypoints), default=num_keypoints),
            device=describe(device),
            videos={},
        )
        write_report(report, args.output)
        for each in sets:
            plot_errors(report, each, args.output / plot_name(report, each))
        if args.videos:  # the report is whole without them, should they not come to an end
            videos = write_videos(args, contenders, scenes, sets, report.results, device)
            report = replace(report, videos=videos)
            write_report(report, args.output)
    print(to_markdown(report))
    plots = f"{len(sets)} plot{'s' if len(sets) > 1 else ''}"
    print(
        f"wrote metrics.md, metrics.json, {plots} and {sum(map(len, report.videos.values()))} videos to {args.output}"
    )


def write_report(report: Report, output: Path) -> None:
    """As metrics.json and metrics.md."""
    write_json(output / "metrics.json", to_json(report))
    with atomic_path(output / "metrics.md") as temporary:
        temporary.write_text(to_markdown(report), encoding="utf-8")


def keypoint_count(contenders: Sequence[Contender], asked: int | None) -> int:
    """Keypoints to take of every object: the most that any learned model was trained on.

    Raises:
        InputError: a model was trained on another number than the one asked for.
    """
    trained = {contender.name: contender.num_keypoints for contender in contenders if contender.num_keypoints}
    for name, count in trained.items():
        if asked is not None and count != asked:
            raise InputError(f"--num_keypoints {asked}: {name} was trained on {count}; leave the flag out")
    return max(trained.values(), default=asked or _MODEL_FREE_KEYPOINTS)


def load_groups(
    layout: Layout, groups: Sequence[str], num_keypoints: int, cache: Path | None
) -> dict[str, list[SimulatedScene]]:
    """The scenes of every group; all of one frame_dt."""
    scenes: dict[str, list[SimulatedScene]] = {}
    for scene in load_scenes(layout, groups, num_keypoints, 2, cache=cache):
        scenes.setdefault(scene.name.partition("/")[0], []).append(scene)
    for group in groups:
        if group not in scenes:
            raise InputError(f"{layout.mpm(group)}: no scenes")
    return scenes


def default_frames(contenders: Sequence[Contender], scenes: dict[str, list[SimulatedScene]]) -> int:
    """As many as the first learned model was trained on, or those of the shortest scene."""
    shortest = min(scene.num_frames for group in scenes.values() for scene in group)
    return min(shortest, trained_frames(contenders) or shortest)


def check_case(case: SceneSet, scenes: Sequence[SimulatedScene], contenders: Sequence[Contender]) -> None:
    """Raise ``InputError`` for what would end the evaluation half-way."""
    for scene in scenes:
        if scene.num_frames < case.frames:
            raise InputError(
                f"scene {scene.name}: expected at least {case.frames} frames (--steps or @ in --sets), "
                f"found {scene.num_frames}"
            )
        for contender in contenders:
            contender.check(scene, case.frames)


def write_videos(
    args: argparse.Namespace,
    contenders: Sequence[Contender],
    scenes: dict[str, list[SimulatedScene]],
    sets: Sequence[SceneSet],
    results: Sequence[Result],
    device: torch.device,
) -> dict[str, dict[str, str]]:
    """File names, by set and rank, of the videos of the first model's best, median and worst scenes."""
    by_name = {scene.name: scene for group in scenes.values() for scene in group}
    work = [(each, rank, r) for each in sets for rank, r in ranked(results, each, contenders[0].name).items()]
    written: dict[str, dict[str, str]] = {}
    for each, rank, chosen in tqdm(work, desc="videos", unit="video"):
        scene, tiles = by_name[chosen.scene], []
        for contender in (Truth(), *contenders):
            (result,) = (r for r in of_set(results, each, contender.name) if r.scene == chosen.scene)
            below = f"{each.name}, {rank}" if contender.name == TRUTH else f"RMSE {result.metrics['rmse']:.3f} m"
            tiles.append(Tile(contender.name, below, contender.roll_out(scene, each.frames).positions))
        name = f"videos/{each.name}_{rank}.mp4"
        write_comparison(args.output / name, scene, tiles, each.frames, args.resolution, device)
        written.setdefault(each.name, {})[rank] = name
    return written


def describe(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"a CPU ({platform.machine()}, {threads} thread{'s' if threads > 1 else ''})"


def parse_set(text: str) -> tuple[str, tuple[str, ...], int | None]:
    """``NAME=GROUP,GROUP@FRAMES`` as name, groups, and frames if they are given; for ``argparse``."""
    match = re.fullmatch(r"([\w-]+)=([^@=]+?)(?:@(\d+))?", text)
    groups = tuple(match[2].split(",")) if match else ()
    if not match or not all(groups):
        raise argparse.ArgumentTypeError(f"expected NAME=GROUP[,GROUP...][@FRAMES], found {text!r}")
    return match[1], groups, int(match[3]) if match[3] else None


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__)
    add_data_root(parser)
    add = parser.add_argument
    add("--groups", nargs="+", help="groups to evaluate on, besides those of --sets")
    add("--sets", nargs="+", type=parse_set, default=[], metavar="NAME=GROUP,...[@FRAMES]", help="see above")
    known = ", ".join((*MODELS, GUESSED, BALLISTIC))
    add("--models", default="ngff,ballistic", help=f"with commas, of {known}, and names of --checkpoints")
    add(
        "--checkpoints",
        nargs="+",
        default=[],
        metavar="[NAME=]PATH",
        help="of learned models, several of one kind under names of their own (default: checkpoints/<model>, or else "
        "the one that comes with the repository)",
    )
    add(
        "--steps", type=int, help="frames to predict (default: as in the first model's training, if scenes are so long)"
    )
    add("--num_keypoints", type=int, help="of every object (default: as many as in training, without training 512)")
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
    args = parser.parse_args(arguments)
    args.models = args.models.split(",")
    if not args.groups and not args.sets:
        parser.error("one of --groups and --sets is needed")
    for what, names in (("--models", args.models), ("--sets", [name for name, _, _ in args.sets])):
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{what}: {name} stands there twice")
    frames = [("sets", frames) for _, _, frames in args.sets]
    flags = [("steps", 2), ("num_keypoints", 1), ("resolution", 16)]
    for name, least, value in [(n, 2, v) for n, v in frames] + [(n, m, getattr(args, n)) for n, m in flags]:
        if value is not None and value < least:
            raise InputError(f"--{name}: expected {least} or more, found {value}")
    return args


if __name__ == "__main__":
    run(main)
