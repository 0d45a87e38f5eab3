"""Reconstruct scenes, and predict the motion of each with several models."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from dataset.config import load_config
from dataset.scenes.capture_settings import CaptureSettings
from dataset.scenes.scene_names import objects_in_name
from dynamic_models.models.checkpoints import load_checkpoint
from dynamic_models.models.registry import choose_checkpoint
from gaussians.stage.errors import InputError
from gaussians.stage.failures import reporting
from videogen.pipeline.settings import BatchScene, PipelineSettings, published_name
from videogen.reconstruction.scene_reconstruction import reconstruct_scene
from videogen.reconstruction.settings import SceneInput
from videogen.videos.predicted_video import Loader, predict_videos
from videogen.videos.settings import SIMULATOR, PredictSettings


def run_batch(scenes: Sequence[BatchScene], settings: PipelineSettings) -> list[str]:
    """Reconstruct and predict ``scenes``, each model loaded once, and return a line for each failure.

    A line is printed for all that was made. What fails does not stop the rest.

    Raises:
        InputError: a checkpoint is missing or damaged, or two scenes would be written to one folder.
    """
    load: Loader = cache(load_checkpoint)
    dx = load_config(settings.pictures.config).lattice.dx
    for model in settings.models:
        if model != SIMULATOR:
            load(choose_checkpoint(model, dx, named=settings.checkpoints.get(model)).path, model)
    places = [place_of(scene.data_path) for scene in scenes]
    for place, count in Counter(places).items():
        if count > 1:
            raise InputError(f"{count} scenes would be written to {place}: give their folders other names")
    failures: list[str] = []
    for scene, place in zip(scenes, places, strict=True):
        folder = settings.output_root / "reconstruct" / place
        with reporting(failures, f"{scene.data_path}: not reconstructed"):
            print(reconstruct_scene(SceneInput(_source(scene.data_path), folder), settings.reconstruction), flush=True)
            for kind, name in (("base", "sim"), ("refine", "sim_refine"))[: 1 + settings.reconstruction.refine]:
                for model in settings.models:
                    named = f"{published_name(model)}_V"
                    with reporting(failures, f"{scene.data_path}: {named}/{kind} not made"):
                        output = settings.output_root / named / kind / place
                        wanted = _prediction(settings, scene, model, folder / name, folder / "bg", output)
                        print(predict_videos(wanted, load), flush=True)
    return failures


def place_of(data_path: Path) -> Path:
    """Return where below a root the outputs of a scene go.

    That is ``<group>/<scene>/<background>`` for pictures in such folders, as those of a dataset are, where the scene's
    name lists its objects; else the name of the folder of pictures, or of the video without its suffix.

    >>> place_of(Path("initial/3_9/7_panda_ball/table4/7_panda_ball.mp4"))
    PosixPath('3_9/7_panda_ball/table4')
    """
    path = Path(os.path.abspath(data_path))
    folder = path if path.is_dir() or not path.suffix else path.parent
    group, scene, background = ("", "", "", *folder.parts[1:])[-3:]
    if objects_in_name(scene):
        return Path(group, scene, background)
    return Path(folder.name if folder == path else path.stem)


def _source(data_path: Path) -> Path:
    """Return the video that a published folder has of its scene, ``+<scene>.mp4``, else the path itself."""
    published = data_path / f"+{Path(os.path.abspath(data_path)).parent.name}.mp4"
    return published if published.is_file() else data_path


def _prediction(
    settings: PipelineSettings, scene: BatchScene, model: str, gaussians: Path, background: Path, output: Path
) -> PredictSettings:
    return PredictSettings(
        model_path=gaussians,
        dynamic_model=model,
        checkpoint=settings.checkpoints.get(model),
        output_path=output,
        youngs_moduli=None,
        densities=None,
        capture=CaptureSettings(),
        external_forces=None,
        steps=settings.steps,
        images=False,
        trajectory=settings.trajectory,
        gaussians=None,
        frames=None,
        view_folders=True,
        pictures=replace(settings.pictures, views=scene.views, backgrounds=(background,)),
        data_root=settings.data_root,
        device=settings.device,
        overwrite=settings.overwrite,
    )
