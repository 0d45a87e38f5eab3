"""Render a simulated scene, reconstruct it from the pictures, predict its motion, and measure all against the truth."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dataset.config import Config
from dataset.layout import Layout
from dataset.rendering.frame_reader import moving_gaussians
from dataset.rendering.picture_inputs import drawn_from
from dataset.rendering.render_jobs import RenderJob, missing, render
from dataset.rendering.scene_renderer import SceneRenderer, create_renderer
from dataset.rendering.settings import RenderSettings
from dataset.rendering.views import View
from dataset.scenes.capture_settings import CaptureSettings
from dataset.scenes.scene_objects import TrajectoryObjects, trajectory_objects
from dataset.simulation.jobs import input_hashes
from dynamic_models.models.checkpoints import CheckpointInfo
from gaussians.captions import gravity_caption
from gaussians.files.trajectory_format import trajectory_digest
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.representation import Gaussians
from gaussians.stage.claims import sole_claim
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json
from videogen.evaluation.frame_comparison import FrameComparison, MovingScene
from videogen.evaluation.scene_result import BACKGROUND, NOVEL, RECONSTRUCTED, SEEN, TRUE, SceneResult
from videogen.evaluation.settings import INTERVAL, VideoEvaluationSettings
from videogen.reconstruction.scene_reconstruction import reconstruct_scene
from videogen.reconstruction.settings import HOLD_OUT, ReconstructionSettings, SceneInput
from videogen.reconstruction.stage_results import StageResults, Tensors
from videogen.videos.predicted_video import Loader, PredictionCase
from videogen.videos.settings import SIMULATOR, PredictSettings

_MEASUREMENTS = "measurements"
_REPORTED = ("held_out_psnr", "held_out_ssim", "seen_psnr", "mask_iou", "problems", "seconds")


@dataclass(frozen=True)
class SceneEvaluation:
    """A ``SceneEvaluation`` is the evaluation of one scene.

    Attributes:
        group, scene: their names.
        settings: the settings of the command.
        config: settings of the world.
        device: where to compute.
        load: what loads the model.
        model: what the model's checkpoint says, None for the simulator.
    """

    group: str
    scene: str
    settings: VideoEvaluationSettings
    config: Config
    device: torch.device
    load: Loader
    model: CheckpointInfo | None

    @property
    def folder(self) -> Path:
        """Return the directory of all that is made of the scene."""
        return self.settings.output / "scenes" / self.group / self.scene

    def result(self) -> SceneResult:
        """Return what is measured of the scene; what is there already and made from the same is not made again.

        Raises:
            InputError: the scene or its trajectory is missing, damaged or unfit, or another process has it, a stage
                fails, or its results are those of something else.
        """
        truth = self._truth()
        with sole_claim(self.folder):
            stages = StageResults(self.folder, self.settings.overwrite)
            made_from = self._made_from(truth)
            tensors, facts, _ = stages.get(_MEASUREMENTS, made_from, partial(self._measured, truth))
        return SceneResult(self.group, self.scene, tensors, facts)

    @property
    def _layout(self) -> Layout:
        return Layout(self.settings.data_root)

    @property
    def _scene_path(self) -> Path:
        return self._layout.scene_dir(self.group, self.scene)

    @property
    def _background(self) -> Path | None:
        return next(iter(self.settings.pictures.backgrounds), None)

    @property
    def _views(self) -> dict[str, View]:
        settings = self.settings
        views = {SEEN: settings.seen_view, NOVEL: settings.novel_view}
        return views | ({BACKGROUND: settings.seen_view} if settings.novel_background is not None else {})

    def _truth(self) -> TrajectoryReader:
        """Return the scene's trajectory, checked.

        Raises:
            InputError: it is missing or damaged, too short, cannot be drawn, or is of another world than the config's.
        """
        reader = TrajectoryReader(self._layout.mpm_dir(self.group, self.scene))
        reader.check_frames()
        if (steps := self.settings.steps or 2) > reader.num_frames:
            raise InputError(f"{reader.path}: expected at least {steps} frames, found {reader.num_frames}")
        if abs(reader.frame_dt - self.config.frame_dt) > 1e-6:
            raise InputError(
                f"{reader.path}: simulated with frames of {reader.frame_dt:g} s, the frame_dt of "
                f"{self.settings.pictures.config} is {self.config.frame_dt:g} s"
            )
        if reader.meta is not None and reader.meta.gravity != self.config.g:
            raise InputError(
                f"{reader.path}: simulated under {gravity_caption(reader.meta.gravity)}, the g of "
                f"{self.settings.pictures.config} is {gravity_caption(self.config.g)}"
            )
        return reader

    def _made_from(self, truth: TrajectoryReader) -> dict[str, Any]:
        """Return all that the measurements depend on, as JSON values."""
        settings, orbit = self.settings, self.config.orbit()
        other = settings.novel_background
        model: Any = SIMULATOR
        if self.model is not None:
            model = self.model.model_dump(mode="json", exclude={"training", "weights"})
        return {
            "trajectory": trajectory_digest(truth.path),
            "scene": input_hashes(self._scene_path),
            "config": self.config.simulation_settings(),
            "pictures": drawn_from(settings.pictures, orbit, self._background),
            "novel_background": drawn_from(settings.pictures, orbit, other)["background"] if other else None,
            "views": {kind: view.number for kind, view in self._views.items()},
            "steps": self._frames(truth),
            "model": model,
            "segmenter": settings.reconstruction.segmenter,
            "refine": settings.reconstruction.refine,
            "iterations": settings.reconstruction.iterations,
            "seed": settings.reconstruction.seed,
            "device": self.device.type,  # it decides how scenes are reconstructed
        }

    def _frames(self, truth: TrajectoryReader) -> int:
        return self.settings.steps or truth.num_frames

    def _measured(self, truth: TrajectoryReader) -> tuple[Tensors, dict[str, Any]]:
        objects = trajectory_objects(truth, self._layout)
        video = self._initial_views(truth)
        place = self.folder / "reconstruction"
        print(reconstruct_scene(SceneInput(video, place), self._reconstruction()), flush=True)
        tensors = self._compared(truth, objects, place)
        report = read_json(place / "report.json")
        return tensors, {
            "objects": list(objects.names),
            "kinds": list(self._views),
            "frame_dt": truth.frame_dt,
            "reconstruction": {key: report[key] for key in _REPORTED},
        }

    @torch.inference_mode()
    def _initial_views(self, truth: TrajectoryReader) -> Path:
        """Render the first frame from all around, and return the video."""
        settings = self.settings
        job = RenderJob(truth.path, self._background, None, self.folder / "initial")
        wanted = RenderSettings(
            model_path=truth.path,
            output_path=None,
            initial_path=job.initial,
            video=True,
            images=False,
            depth=False,
            masks=True,
            gaussians=None,
            frames=None,
            pictures=settings.pictures,
            data_root=settings.data_root,
            device=settings.device,
            shard=(0, 1),
            overwrite=settings.overwrite,
        )
        if lacks := missing(job, wanted, self.config):
            render(job, lacks, wanted, self.config.fps, self._renderer)
        return self.folder / "initial" / f"{job.scene}.mp4"

    def _reconstruction(self) -> ReconstructionSettings:
        side = self.settings.pictures.resolution
        return replace(self.settings.reconstruction, interval=INTERVAL, held_out=HOLD_OUT, max_side=side)

    def _renderer(self, background: Path | None) -> SceneRenderer:
        return create_renderer(self.settings.pictures, self.config.orbit(), self.device, background)

    @torch.inference_mode()
    def _compared(self, truth: TrajectoryReader, objects: TrajectoryObjects, reconstruction: Path) -> Tensors:
        settings, frames = self.settings, self._frames(truth)
        true, theirs = self._renderer(self._background), self._renderer(reconstruction / "bg")
        other = self._renderer(settings.novel_background) if settings.novel_background is not None else None

        def renderers(own: SceneRenderer) -> dict[str, SceneRenderer]:
            return {SEEN: own, NOVEL: own} | ({BACKGROUND: other} if other is not None else {})

        degree = settings.pictures.sh_degree
        simulated = MovingScene(
            replace(truth.gaussians(0, degree), labels=objects.labels).to(self.device),
            moving_gaussians(truth, degree, self.device, objects.labels),
            renderers(true),
        )
        ours = reconstruction / ("sim_refine" if settings.reconstruction.refine else "sim")
        predictions = {
            TRUE: self._predicted(self._scene_path, objects, frames, renderers(true)),
            RECONSTRUCTED: self._predicted(ours, objects, frames, renderers(theirs)),
        }
        comparison = FrameComparison(
            views=self._views,
            num_frames=frames,
            num_objects=len(objects.names),
            videos={kind: self.folder / f"{kind}.mp4" for kind in self._views},
            fps=max(1, round(1 / truth.frame_dt)),
            gravity=self.config.g,
        )
        return comparison.measure(simulated, predictions, f"compare {self.scene}")

    def _predicted(
        self, path: Path, objects: TrajectoryObjects, frames: int, renderers: Mapping[str, SceneRenderer]
    ) -> MovingScene:
        """Return the predicted motion of a scene of Gaussians, whose objects are made of what the simulated ones are.

        Raises:
            InputError: the scene has another number of objects, or the prediction fails.
        """
        settings = self.settings
        moduli = tuple(entry.youngs_modulus for entry in objects.objects)
        densities = tuple(entry.density for entry in objects.objects)
        case = PredictionCase.read(
            PredictSettings(
                model_path=path,
                dynamic_model=settings.dynamic_model,
                checkpoint=settings.checkpoint,
                output_path=self.folder,
                youngs_moduli=None if None in moduli else moduli,  # type: ignore[arg-type]
                densities=None if None in densities else densities,  # type: ignore[arg-type]
                capture=CaptureSettings(),
                external_forces=None,
                steps=frames,
                images=False,
                trajectory=False,
                gaussians=None,
                frames=None,
                view_folders=False,
                pictures=settings.pictures,
                data_root=settings.data_root,
                device=settings.device,
                overwrite=settings.overwrite,
            ),
            self.load,
        )
        motion = case.motion(self.device)
        rest = motion.scene.gaussians.to(self.device)

        def moments() -> Iterator[Gaussians]:
            for moment in motion.moments(stored=False):
                # Gaussians that the motion leaves in place belong to their objects nevertheless, as in a trajectory.
                yield replace(moment.gaussians, labels=rest.labels)

        return MovingScene(rest, moments(), renderers)
