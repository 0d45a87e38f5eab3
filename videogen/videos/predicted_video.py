"""Predict the motion of a scene with a trained model, and render it."""

import hashlib
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dataset.config import Config, load_config
from dataset.layout import Layout, find_point_cloud
from dataset.rendering.clip_writer import Outputs
from dataset.rendering.picture_inputs import drawn_from
from dataset.rendering.scene_renderer import check_pictures, create_renderer, write_clip
from dataset.rendering.views import View
from dataset.scenes.scene_files import Scene, read_scene
from dataset.scenes.scene_names import scene_of
from dataset.simulation.initial_motion import check_names
from dataset.simulation.materials import assumed_material
from dataset.simulation.scene_particles import particles_of_scene, still_gaussians
from dynamic_models.models.checkpoints import CheckpointInfo, load_checkpoint
from dynamic_models.models.registry import default_checkpoint
from gaussians.files.external_forces import ExternalForce, forces_on_scene, read_external_forces
from gaussians.files.splats.splat_formats import write_sequence
from gaussians.stage.atomic_files import file_hash
from gaussians.stage.claims import sole_claim
from gaussians.stage.command_line import resolve_device
from gaussians.stage.provenance import Provenance
from videogen.motion.scene_motion import AssumedMaterials, choose_materials, predict_motion
from videogen.videos.settings import PredictSettings


def predict_videos(settings: PredictSettings) -> str:
    """Predict the motion of a scene, write a video of every view, and return a line that says so.

    Raises:
        InputError: a file is missing or damaged, or does not fit the scene, or another process predicts it there.
    """
    # Images and Gaussians of all scenes have the same names.
    shared = settings.images or settings.gaussians is not None
    with ExitStack() as claims:
        for folder in [settings.output_path / f".{scene_of(settings.model_path)}"] + [settings.output_path] * shared:
            claims.enter_context(sole_claim(folder))
        return _predict_videos(settings)


@torch.inference_mode()
def _predict_videos(settings: PredictSettings) -> str:
    config = load_config(settings.pictures.config)
    views, layout = settings.pictures.views, Layout(settings.data_root)
    device = resolve_device(settings.device)
    check_pictures(settings.pictures)
    scene = read_scene(settings.model_path, layout, capture=settings.capture)
    objects, particles = scene.objects, particles_of_scene(scene, config)
    checkpoint = settings.checkpoint or default_checkpoint(settings.dynamic_model)
    model, info = load_checkpoint(checkpoint, settings.dynamic_model)
    name = scene_of(settings.model_path)
    check_names(config, [entry.name for entry in objects], layout, settings.pictures.config)
    forces = _forces(settings, name, len(objects))
    materials = choose_materials(objects, config, settings.youngs_moduli, settings.densities, info.materials)
    background = next(iter(settings.pictures.backgrounds), None)
    renderer = create_renderer(settings.pictures, config.orbit(), device, background)
    outputs = _outputs(settings.output_path, name, views)
    predicted_from = _predicted_from(settings, config, scene, info, materials, forces)
    kinds, folder = Outputs(images=settings.images), settings.output_path / "gaussians"
    drawn = Provenance(settings.output_path / f"{name}.json", predicted_from | _drawn_from(settings, config))
    wanted = {drawn: [file for _, video in outputs for file in kinds.pictures(video)]}
    if settings.gaussians is not None:
        chosen = {"format": settings.gaussians, "frames": settings.frames and list(settings.frames)}
        wanted[Provenance(folder.with_suffix(".json"), predicted_from | chosen)] = [folder]
    todo = {record: files for record, files in wanted.items() if _is_stale(record, files, settings.overwrite)}
    if not todo:
        return f"nothing to do: {', '.join(str(path) for _, path in outputs)}; --overwrite makes it anew"
    for warning in still_gaussians(particles, [entry.name for entry in objects], config):
        print(f"{name}: warning: {warning}")
    notes = scene.notes if materials.note is None else (*scene.notes, materials.note)
    if scene.captured:
        notes += assumed_material(objects[0], config, settings.youngs_moduli, settings.densities)
    for note in notes:
        print(f"{name}: {note}")
    if settings.external_forces:
        print(f"{name}: {len(forces)} external forces")
    start = time.monotonic()
    motion, keypoints = predict_motion(
        particles, objects, materials, forces, model.to(device), info, config, settings.steps, device, f"predict {name}"
    )
    seconds = time.monotonic() - start
    for record in todo:
        record.begin()
    if drawn in todo:
        write_clip(renderer, motion.frames(keypoints), settings.steps, outputs, config.fps, kinds)
    if settings.gaussians is not None and len(todo) > (drawn in todo):
        numbered = enumerate(tqdm(motion.frames(keypoints), "gaussians", settings.steps, leave=False, unit="frame"))
        some = ((k, frame) for k, frame in numbered if settings.frames is None or k in settings.frames)
        write_sequence(folder, some, settings.gaussians)
    for record, files in todo.items():
        record.write(files)
    where = outputs[0][1] if len(outputs) == 1 else settings.output_path
    made = f"predicted {settings.steps} frames in {seconds:.1f} s with {checkpoint}"
    return f"{made} and wrote {'a video' if len(outputs) == 1 else f'{len(outputs)} videos'}: {where}"


def _forces(settings: PredictSettings, scene: str, objects: int) -> tuple[ExternalForce, ...]:
    if settings.external_forces is None:
        return ()
    return forces_on_scene(read_external_forces(settings.external_forces), scene, objects, settings.external_forces)


def _is_stale(record: Provenance, files: list[Path], overwrite: bool) -> bool:
    """Return whether outputs are to be made, and say so where they are there, but made from something else."""
    if overwrite:
        return True
    if different := record.different():
        print(f"{record.path.stem}: made with other {', '.join(different)}: made anew")
        return True
    return not record.is_current(files)


def _predicted_from(
    settings: PredictSettings,
    config: Config,
    scene: Scene,
    info: CheckpointInfo,
    materials: AssumedMaterials,
    forces: Sequence[ExternalForce],
) -> dict[str, Any]:
    """Return what the predicted motion depends on, for the records beside what shows it."""
    labels = scene.gaussians.labels
    assert labels is not None
    return {
        "scene": file_hash(find_point_cloud(settings.model_path)),
        "labels": hashlib.sha256(labels.numpy().tobytes()).hexdigest(),
        "objects": [entry.name for entry in scene.objects],
        "checkpoint": info.model_dump(mode="json", exclude={"training", "weights"}),
        "config": config.simulation_settings(),
        "youngs_moduli": materials.youngs_moduli,
        "densities": materials.densities,
        "external_forces": [force.model_dump(mode="json") for force in forces],
        "steps": settings.steps,
        **({"capture": settings.capture.record()} if scene.captured else {}),
    }


def _drawn_from(settings: PredictSettings, config: Config) -> dict[str, Any]:
    """Return what the videos depend on beside the motion."""
    background = next(iter(settings.pictures.backgrounds), None)
    views = [view.name for view in settings.pictures.views]
    return {**drawn_from(settings.pictures, config.orbit(), background), "views": views}


def _outputs(path: Path, scene: str, views: Sequence[View]) -> list[tuple[View, Path]]:
    if len(views) == 1:
        return [(views[0], path / f"{scene}.mp4")]
    return [(view, path / view.name / f"{scene}.mp4") for view in views]
