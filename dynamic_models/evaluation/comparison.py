"""Roll out every contender on every scene, measure that, and write the report."""

import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from dataset.layout import Layout
from dynamic_models.data.windows import SimulatedScene, choose_groups, load_scenes
from dynamic_models.evaluation.comparison_video import Tile, write_comparison
from dynamic_models.evaluation.contenders import TRUTH, Contender, Prediction, Truth, load_contenders
from dynamic_models.evaluation.ensembles import EnsembleErrors
from dynamic_models.evaluation.measurements import Result, SceneMeasurements
from dynamic_models.evaluation.report import Report, plot_errors, plot_name, to_json, trained_frames
from dynamic_models.evaluation.report_tables import to_markdown
from dynamic_models.evaluation.settings import EvaluateSettings, SceneSet
from dynamic_models.evaluation.statistics import of_set, ranked
from gaussians.files.trajectory_format import read_meta
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.claims import sole_claim
from gaussians.stage.command_line import resolve_device
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import write_json
from gaussians.stage.threads import core_count

_MODEL_FREE_KEYPOINTS = 512
_ONE_SET = "all"
_TOGETHER = 16  # scenes that are measured at a time


def compare_models(settings: EvaluateSettings, contenders: Sequence[Contender] | None = None) -> str:
    """Roll out models on scenes, measure their errors, and write a report; return it with what was written.

    Args:
        contenders: what is compared; None: what the settings' models and checkpoints name.

    Raises:
        InputError: data or a checkpoint is missing, damaged or does not fit.
    """
    device, layout = resolve_device(settings.device), Layout(settings.data_root)
    if settings.compile:
        torch.set_float32_matmul_precision("high")
    groups = choose_groups(layout, [*settings.groups, *(group for each in settings.sets for group in each.groups)])
    groups = list(dict.fromkeys(groups))
    if contenders is None:
        dx = cell_size(layout, groups[0])
        contenders = load_contenders(settings.models, settings.checkpoints, layout, device, settings.compile, dx)
    num_keypoints = keypoint_count(contenders, settings.num_keypoints)
    scenes = load_groups(layout, groups, num_keypoints, settings.cache)
    frames = settings.steps or default_frames(contenders, scenes)
    sets = [each._replace(frames=each.frames or frames) for each in settings.sets]
    sets = sets or [SceneSet(_ONE_SET, tuple(groups), frames)]
    cases = dict.fromkeys((group, each.frames) for each in sets for group in each.groups)
    cases |= dict.fromkeys((group, frames) for group in settings.groups)
    by_group = [SceneSet(group, (group,), length) for group, length in cases]
    for case in by_group:
        check_case(case, scenes[case.groups[0]], contenders)

    with sole_claim(settings.output):
        report = Report(
            contenders=contenders,
            sets=sets,
            groups=by_group,
            results=measure(contenders, scenes, list(cases), layout, settings),
            frame_dt=scenes[groups[0]][0].frame_dt,
            num_keypoints=min((c.num_keypoints for c in contenders if c.num_keypoints), default=num_keypoints),
            device=describe(device),
            videos={},
            rollouts=settings.rollouts,
            jitter=settings.jitter,
        )
        write_report(report, settings.output)
        for each in sets:
            plot_errors(report, each, settings.output / plot_name(report, each))
        if settings.videos:  # after the report, which is then whole even if this is interrupted
            report = replace(report, videos=write_videos(settings, report, scenes, device))
            write_report(report, settings.output)
    plots = f"{len(sets)} plot{'s' if len(sets) > 1 else ''}"
    videos = sum(map(len, report.videos.values()))
    beside = f"metrics.json, {plots} and {videos} videos beside it"
    return f"{to_markdown(report)}\nwrote {settings.output / 'metrics.md'}, with {beside}"


def write_report(report: Report, output: Path) -> None:
    """Write metrics.json and metrics.md."""
    write_json(output / "metrics.json", to_json(report))
    with atomic_path(output / "metrics.md") as temporary:
        temporary.write_text(to_markdown(report), encoding="utf-8")


def cell_size(layout: Layout, group: str) -> float:
    """Return the cell size of the grid of a group's first scene, metres; 0 where nothing tells it."""
    scenes = layout.scenes_in_mpm(group)
    meta = read_meta(layout.mpm_dir(group, scenes[0])) if scenes else None
    return meta.dx if meta else 0.0


def keypoint_count(contenders: Sequence[Contender], asked: int | None) -> int:
    """Return how many keypoints to take of every object: the most that any learned model was trained on.

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
    """Return the scenes of every group; all have one frame_dt."""
    scenes: dict[str, list[SimulatedScene]] = {}
    for scene in load_scenes(layout, groups, num_keypoints, 2, cache=cache):
        scenes.setdefault(scene.name.partition("/")[0], []).append(scene)
    for group in groups:
        if group not in scenes:
            raise InputError(f"{layout.mpm(group)}: no scenes")
    return scenes


def default_frames(contenders: Sequence[Contender], scenes: dict[str, list[SimulatedScene]]) -> int:
    """Return the frames that the first learned model was trained on, or those of the shortest scene."""
    shortest = min(scene.num_frames for group in scenes.values() for scene in group)
    return min(shortest, trained_frames(contenders) or shortest)


def check_case(case: SceneSet, scenes: Sequence[SimulatedScene], contenders: Sequence[Contender]) -> None:
    """Check what would end the evaluation half-way.

    Raises:
        InputError: a scene is too short, or a contender cannot predict it.
    """
    for scene in scenes:
        if scene.num_frames < case.frames:
            raise InputError(
                f"scene {scene.name}: expected at least {case.frames} frames (--steps or @ in --sets), "
                f"found {scene.num_frames}"
            )
        for contender in contenders:
            contender.check(scene, case.frames)


def measure(
    contenders: Sequence[Contender],
    scenes: dict[str, list[SimulatedScene]],
    cases: Sequence[tuple[str, int]],
    layout: Layout,
    settings: EvaluateSettings,
) -> list[Result]:
    """Roll out every contender, and the truth, on every scene of ``cases``, and return the measured results.

    Args:
        scenes: the scenes of every group.
        cases: groups, each with a number of frames to predict.
    """
    keypoints = min((c.num_keypoints for c in contenders if c.num_keypoints is not None), default=None)
    work = [(scene, frames) for group, frames in cases for scene in scenes[group]]
    results: list[Result] = []
    everyone = (Truth(), *contenders)

    def prepare(case: tuple[SimulatedScene, int]) -> SceneMeasurements:
        return SceneMeasurements(*case, keypoints, layout, settings.horizons)

    def compare(
        measured: SceneMeasurements, made: dict[str, Prediction], judged: dict[str, EnsembleErrors]
    ) -> list[Result]:
        return measured.compare(made, judged)

    per_scene = len(everyone) + (len(contenders) if settings.rollouts else 0)
    with (
        ThreadPoolExecutor(core_count()) as pool,
        tqdm(total=len(work) * per_scene, desc="rollouts", unit="rollout") as bar,
    ):
        for i in range(0, len(work), _TOGETHER):
            together = work[i : i + _TOGETHER]
            rollouts: list[dict[str, Prediction]] = []
            for scene, frames in together:
                rollouts.append({})
                for contender in everyone:
                    bar.set_postfix_str(f"{contender.name}, {scene.name}")
                    rollouts[-1][contender.name] = contender.roll_out(scene, frames)
                    bar.update()
            measurements = list(pool.map(prepare, together))
            # After the others, for a GPU captures what predicts so many scenes at a time anew.
            judged: list[dict[str, EnsembleErrors]] = [{} for _ in together]
            for contender in contenders if settings.rollouts else ():
                for (scene, frames), measured, errors in zip(together, measurements, judged, strict=True):
                    bar.set_postfix_str(f"{contender.name}, {scene.name}, {settings.rollouts} starts")
                    made = contender.roll_out_jittered(scene, frames, settings.rollouts, settings.jitter)
                    if made is not None:
                        errors[contender.name] = measured.judge(made)
                    bar.update()
            # Measuring takes all cores, so it waits until no model is timed.
            for found in pool.map(compare, measurements, rollouts, judged):
                results += found
    return results


def write_videos(
    settings: EvaluateSettings, report: Report, scenes: dict[str, list[SimulatedScene]], device: torch.device
) -> dict[str, dict[str, str]]:
    """Write videos of each set's best, median and worst scene of the first contender; return names by set and rank."""
    by_name = {scene.name: scene for group in scenes.values() for scene in group}
    contenders, results = report.contenders, report.results
    work = [(each, rank, r) for each in report.sets for rank, r in ranked(results, each, contenders[0].name).items()]
    written: dict[str, dict[str, str]] = {}
    for each, rank, chosen in tqdm(work, desc="videos", unit="video"):
        scene, tiles = by_name[chosen.scene], []
        for contender in (Truth(), *contenders):
            (result,) = (r for r in of_set(results, each, contender.name) if r.scene == chosen.scene)
            below = f"{each.name}, {rank}" if contender.name == TRUTH else f"RMSE {result.metrics['rmse']:.3f} m"
            tiles.append(Tile(contender.name, below, contender.roll_out(scene, each.frames).positions))
        name = f"videos/{each.name}_{rank}.mp4"
        write_comparison(settings.output / name, scene, tiles, each.frames, settings.resolution, device)
        written.setdefault(each.name, {})[rank] = name
    return written


def describe(device: torch.device) -> str:
    """Return the device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"a CPU ({platform.machine()}, {threads} thread{'s' if threads > 1 else ''})"
