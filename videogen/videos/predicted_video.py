"""Predict the motion of a scene with a trained model, or simulate it, and write videos and files of it."""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dataset.config import Config, load_config, with_flag
from dataset.layout import Layout, find_point_cloud
from dataset.rendering.clip_writer import Outputs
from dataset.rendering.picture_inputs import drawn_from
from dataset.rendering.scene_renderer import check_pictures, create_renderer, write_clip
from dataset.rendering.views import View
from dataset.scenes.scene_files import Scene, read_scene
from dataset.scenes.scene_names import scene_of
from dataset.simulation.initial_motion import check_names
from dataset.simulation.jobs import input_hashes
from dataset.simulation.materials import assumed_material
from dataset.simulation.scene_particles import SceneParticles, particles_of_scene, still_gaussians
from dynamic_models.models.checkpoints import CheckpointInfo, load_checkpoint
from dynamic_models.models.interface import FrameModel
from dynamic_models.models.registry import ChosenCheckpoint, choose_checkpoint
from gaussians.files.external_forces import ExternalForce, forces_on_scene, read_external_forces
from gaussians.stage.atomic_files import file_hash
from gaussians.stage.claims import sole_claim
from gaussians.stage.command_line import resolve_device
from gaussians.stage.provenance import Provenance
from videogen.motion.motion import Motion
from videogen.motion.scene_motion import AssumedMaterials, choose_materials, predict_motion
from videogen.motion.simulated_motion import ASSUMED_MATERIAL, SimulatedMotion
from videogen.videos.motion_files import Taker, gaussians_taker, passed_on, trajectory_meta, trajectory_taker
from videogen.videos.settings import SIMULATOR, PredictSettings

Loader = Callable[[Path, str], tuple[FrameModel, CheckpointInfo]]
"""What loads the model of a name from a checkpoint: ``load_checkpoint``, or one that remembers what it has loaded."""


def predict_videos(settings: PredictSettings, load: Loader = load_checkpoint) -> str:
    """Predict or simulate the motion of a scene, write videos and what else is asked for, and return a line on it.

    Raises:
        InputError: a file is missing or damaged, or does not fit the scene, or another process predicts it there.
    """
    # Images and Gaussians of all scenes have the same names.
    shared = settings.images or settings.gaussians is not None
    with ExitStack() as claims:
        for folder in [settings.output_path / f".{scene_of(settings.model_path)}"] + [settings.output_path] * shared:
            claims.enter_context(sole_claim(folder))
        return _predict_videos(settings, load)


@torch.inference_mode()
def _predict_videos(settings: PredictSettings, load: Loader) -> str:
    device = resolve_device(settings.device)
    check_pictures(settings.pictures)
    case = PredictionCase.read(settings, load)
    config, name, made_from = case.config, case.name, case.made_from()
    background = next(iter(settings.pictures.backgrounds), None)
    renderer = create_renderer(settings.pictures, config.orbit(), device, background)
    outputs, kinds = _outputs(settings, name), Outputs(images=settings.images)
    folder, trajectory = settings.output_path / "gaussians", settings.output_path / "trajectory" / name
    seen = made_from | drawn_from(settings.pictures, config.orbit(), background)
    drawn = [Provenance(video.with_name(f"{name}.json"), seen | {"views": [view.name]}) for view, video in outputs]
    chosen = {"format": settings.gaussians, "frames": settings.frames and list(settings.frames)}
    splats = Provenance(folder.with_suffix(".json"), made_from | chosen)
    stored = Provenance(trajectory.with_name(f"{name}.json"), made_from)
    wanted = {record: kinds.pictures(video) for record, (_, video) in zip(drawn, outputs, strict=True)}
    wanted |= {splats: [folder]} if settings.gaussians is not None else {}
    wanted |= {stored: [trajectory]} if settings.trajectory else {}
    todo = _stale(wanted, settings.overwrite)
    if not todo:
        return f"nothing to do: {', '.join(str(path) for _, path in outputs)}; --overwrite makes it anew"
    for note in case.notes():
        print(f"{name}: {note}")
    motion = case.motion(device)
    if isinstance(motion, SimulatedMotion):
        for warning in motion.warnings():
            print(f"{name}: warning: {warning}")
    further = {key: value for key, value in made_from.items() if key in ("checkpoint", "capture")}
    hashes, takers = input_hashes(settings.model_path), list[Taker]()
    meta = trajectory_meta(motion, settings.steps, case.forces, hashes, further) if stored in todo else None
    for record in todo:
        record.begin()
    with ExitStack() as stack:
        if settings.gaussians is not None and splats in todo:
            takers.append(stack.enter_context(gaussians_taker(folder, settings.gaussians, settings.frames)))
        if meta is not None:
            takers.append(stack.enter_context(trajectory_taker(trajectory, motion, meta)))
        frames = passed_on(motion, takers, stored=meta is not None)
        if missing := [output for record, output in zip(drawn, outputs, strict=True) if record in todo]:
            count = len(outputs)  # of encoders: it decides bits of the videos
            write_clip(renderer, frames, settings.steps, missing, config.fps, kinds, num_encoders=count)
        else:
            for _ in tqdm(frames, f"write {name}", settings.steps, leave=False, unit="frame"):
                pass
    for record, files in todo.items():
        record.write(files)
    how = "simulated" if case.model is None else "predicted"
    by = "" if case.model is None else f" with {case.checkpoint.path}"
    where = outputs[0][1] if len(outputs) == 1 else settings.output_path
    what = "a video" if len(outputs) == 1 else f"{len(outputs)} videos"
    also = f", and its trajectory: {trajectory}" if settings.trajectory else ""
    return f"{how} {settings.steps} frames in {motion.seconds:.1f} s{by} and wrote {what}: {where}{also}"


@dataclass(frozen=True)
class PredictionCase:
    """A ``PredictionCase`` is a scene to predict with all that its motion depends on, read and checked.

    Attributes:
        settings: the settings of the command.
        config: settings of the world, of a simulation with its number of frames.
        scene: the scene at rest.
        particles: what of it moves.
        name: the scene's name.
        forces: external forces on its objects.
        materials: what they are assumed to be made of.
        checkpoint: where the model is from, of no meaning for the simulator.
        model: the model and what its checkpoint says; None: the simulator moves the scene.
    """

    settings: PredictSettings
    config: Config
    scene: Scene
    particles: SceneParticles
    name: str
    forces: tuple[ExternalForce, ...]
    materials: AssumedMaterials
    checkpoint: ChosenCheckpoint
    model: tuple[FrameModel, CheckpointInfo] | None

    @staticmethod
    def read(settings: PredictSettings, load: Loader) -> "PredictionCase":
        """Read what ``settings`` name.

        Raises:
            InputError: a file is missing or damaged, or does not fit the scene.
        """
        config, layout = load_config(settings.pictures.config), Layout(settings.data_root)
        scene = read_scene(settings.model_path, layout, capture=settings.capture)
        particles, name = particles_of_scene(scene, config), scene_of(settings.model_path)
        checkpoint = ChosenCheckpoint(Path(), ())
        if settings.dynamic_model == SIMULATOR:
            model, usual, whose = None, ASSUMED_MATERIAL, "usual values"
            config = with_flag(config, "frame_num", settings.steps)
        else:
            checkpoint = choose_checkpoint(settings.dynamic_model, config.lattice.dx, named=settings.checkpoint)
            model = load(checkpoint.path, settings.dynamic_model)
            usual, whose = model[1].materials, "the training data's medians"
        check_names(config, [entry.name for entry in scene.objects], layout, settings.pictures.config)
        forces: tuple[ExternalForce, ...] = ()
        if (file := settings.external_forces) is not None:
            forces = forces_on_scene(read_external_forces(file), name, len(scene.objects), file)
        given = settings.youngs_moduli, settings.densities
        materials = choose_materials(scene.objects, config, *given, usual, whose)
        if settings.trajectory or model is None:
            materials.complete(scene.objects)
        return PredictionCase(settings, config, scene, particles, name, forces, materials, checkpoint, model)

    def made_from(self) -> dict[str, Any]:
        """Return what the motion depends on, for the records beside what shows it."""
        labels = self.scene.gaussians.labels
        assert labels is not None
        model: dict[str, Any] = {"dynamic_model": SIMULATOR}
        if self.model is not None:
            model = {"checkpoint": self.model[1].model_dump(mode="json", exclude={"training", "weights", "dx"})}
        return {
            "scene": file_hash(find_point_cloud(self.settings.model_path)),
            "labels": hashlib.sha256(labels.numpy().tobytes()).hexdigest(),
            "objects": [entry.name for entry in self.scene.objects],
            **model,
            "config": self.config.simulation_settings(),
            "youngs_moduli": self.materials.youngs_moduli,
            "densities": self.materials.densities,
            "external_forces": [force.model_dump(mode="json") for force in self.forces],
            "steps": self.settings.steps,
            **({"capture": self.settings.capture.record()} if self.scene.captured else {}),
        }

    def notes(self) -> list[str]:
        """Return what the user should know before the work begins, a line each."""
        settings, objects = self.settings, self.scene.objects
        notes = list(self.checkpoint.notes)
        if self.model is not None:  # the simulator has warnings of its own
            still = still_gaussians(self.particles, [entry.name for entry in objects], self.config)
            notes += [f"warning: {warning}" for warning in still]
        notes += self.scene.notes
        if self.materials.note is not None:
            notes.append(self.materials.note)
        if self.scene.captured:
            notes += assumed_material(objects[0], self.config, settings.youngs_moduli, settings.densities)
        if settings.external_forces:
            notes.append(f"{len(self.forces)} external forces")
        return notes

    def motion(self, device: torch.device) -> Motion:
        """Return how the scene moves.

        Raises:
            InputError: the prediction diverges, or the scene cannot be simulated with these settings.
        """
        told = self.particles, self.scene.objects, self.materials, self.forces
        if self.model is None:
            return SimulatedMotion(*told, self.config, device)
        model, info = self.model
        title = f"predict {self.name}"
        return predict_motion(*told, model.to(device), info, self.config, self.settings.steps, device, title)


def _stale(wanted: dict[Provenance, list[Path]], overwrite: bool) -> dict[Provenance, list[Path]]:
    """Return what of ``wanted`` is to be made, and say so where it is there, but made from something else."""
    if overwrite:
        return wanted
    different = {record: record.different() for record in wanted}
    reasons = [
        f"{record.path.stem}: made with other {', '.join(names)}" for record, names in different.items() if names
    ]
    for reason in dict.fromkeys(reasons):  # of several views it is one
        print(f"{reason}: made anew")
    return {record: files for record, files in wanted.items() if different[record] or not record.is_current(files)}


def _outputs(settings: PredictSettings, scene: str) -> list[tuple[View, Path]]:
    path, views = settings.output_path, settings.pictures.views
    folders = settings.view_folders or len(views) > 1
    return [(view, (path / view.name if folders else path) / f"{scene}.mp4") for view in views]
