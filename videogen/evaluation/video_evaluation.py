"""Evaluate all scenes of the sets, one after the other, and report."""

from dataclasses import dataclass
from functools import cache

from dataset.config import load_config
from dataset.layout import Layout
from dataset.rendering.scene_renderer import check_pictures
from dynamic_models.evaluation.comparison import describe
from dynamic_models.evaluation.settings import SceneSet
from dynamic_models.models.checkpoints import load_checkpoint
from dynamic_models.models.registry import choose_checkpoint
from gaussians.stage.command_line import resolve_device, take_shard
from gaussians.stage.errors import InputError
from gaussians.stage.failures import reporting
from videogen.evaluation.report import VideoReport, write_video_report
from videogen.evaluation.scene_evaluation import SceneEvaluation
from videogen.evaluation.scene_result import SceneResult
from videogen.evaluation.settings import VideoEvaluationSettings
from videogen.videos.predicted_video import Loader
from videogen.videos.settings import SIMULATOR


@dataclass(frozen=True)
class Outcome:
    """An ``Outcome`` is how an evaluation ended.

    Attributes:
        summary: a line that says what was written where.
        failures: a line for each scene that could not be measured.
    """

    summary: str
    failures: list[str]


def evaluate_videos(settings: VideoEvaluationSettings) -> Outcome:
    """Evaluate the scenes of this shard, and write the report if that is all of them.

    A scene that fails is named and does not stop the others.

    Raises:
        InputError: the config, the checkpoint or a background is missing or damaged, a set has no scenes, or the report
            cannot be written.
    """
    config, device = load_config(settings.pictures.config), resolve_device(settings.device)
    check_pictures(settings.pictures)
    load: Loader = cache(load_checkpoint)
    model = None
    if settings.dynamic_model != SIMULATOR:
        checkpoint, notes = choose_checkpoint(settings.dynamic_model, config.lattice.dx, named=settings.checkpoint)
        for note in notes:
            print(note)
        model = load(checkpoint, settings.dynamic_model)[1]
    chosen = {each: choose_scenes(Layout(settings.data_root), each, settings.scenes) for each in settings.sets}
    everything = list(dict.fromkeys(scene for scenes in chosen.values() for scene in scenes))
    mine = take_shard(everything, settings.shard)
    results: dict[tuple[str, str], SceneResult] = {}
    failures: list[str] = []
    for number, (group, scene) in enumerate(mine, 1):
        print(f"{group}/{scene}: scene {number} of {len(mine)}", flush=True)
        with reporting(failures, f"{group}/{scene}"):  # of hours of work, one scene is little
            results[group, scene] = SceneEvaluation(group, scene, settings, config, device, load, model).result()
    measured = f"measured {len(results)} of {len(mine)} scenes"
    if settings.shard[1] > 1:
        return Outcome(f"{measured}; without --shard the same command reports all, once they are there", failures)
    about = {
        "dynamic_model": settings.dynamic_model,
        "checkpoint": None if model is None else str(checkpoint),
        "sha256": None if model is None else model.sha256,
        "resolution": settings.pictures.resolution,
        "views": {"seen": settings.seen_view.number, "novel": settings.novel_view.number},
        "background": [path.name for path in settings.pictures.backgrounds],
        "novel_background": settings.novel_background.name if settings.novel_background else None,
        "refined": settings.reconstruction.refine,
        "segmenter": settings.reconstruction.segmenter,
        "device": describe(device),
    }
    by_set = {each: [results[scene] for scene in scenes if scene in results] for each, scenes in chosen.items()}
    write_video_report(VideoReport(by_set, failures, about), settings.output)
    return Outcome(f"{measured}; the report: {settings.output / 'results.md'}", failures)


def choose_scenes(layout: Layout, scene_set: SceneSet, count: int) -> list[tuple[str, str]]:
    """Return group and name of ``count`` simulated scenes of a set, from its groups in turn; fewer if need be.

    Raises:
        InputError: a group has none.
    """
    groups = {group: layout.scenes_in_mpm(group) for group in scene_set.groups}
    for group, scenes in groups.items():
        if not scenes:
            raise InputError(f"{layout.mpm(group)}: no trajectories, which --sets {scene_set.name} asks for")
    turns = max(map(len, groups.values()))
    by_turn = [(group, scenes[k]) for k in range(turns) for group, scenes in groups.items() if k < len(scenes)]
    return by_turn[:count]
