"""This module plans which trajectories are rendered before which backgrounds, and renders what is missing."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from tqdm import tqdm

from dataset.config import load_config
from dataset.layout import BACKGROUND_CLOUDS, Layout, find_point_cloud, subdirectories
from dataset.rendering.clip_writer import Outputs
from dataset.rendering.frame_reader import moving_gaussians
from dataset.rendering.initial_views import depth_is_there, write_depth, write_initial_views
from dataset.rendering.prompts import object_prompt
from dataset.rendering.scene_renderer import SceneRenderer, create_renderer, write_clip
from dataset.rendering.settings import RenderSettings
from dataset.rendering.views import View, orbit_views
from dataset.scenes.scene_objects import TrajectoryObjects, trajectory_objects
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.claims import claim_each
from gaussians.stage.command_line import resolve_device, take_shard
from gaussians.stage.errors import InputError

NO_BACKGROUND = "ground"
"""Name of directories for pictures on the checkered ground."""


@dataclass(frozen=True)
class RenderJob:
    """Describes the rendering of one trajectory before one background.

    Attributes:
        trajectory: the trajectory's directory.
        background: the background's directory or PLY file, None for the checkered ground.
        output: directory for the motion, None if that is not asked for.
        initial: directory for the views of the first frame, None if those are not asked for.
    """

    trajectory: Path
    background: Path | None
    output: Path | None
    initial: Path | None

    @property
    def scene(self) -> str:
        return self.trajectory.resolve().name

    @property
    def directory(self) -> Path:
        """Return the directory that a process claims while it does the job."""
        directory = self.output or self.initial
        assert directory is not None
        return directory

    def video(self, output: Path, view: View) -> Path:
        """Return the path of the motion's video from ``view`` below ``output``."""
        return output / view.name / f"{self.scene}.mp4"


@dataclass(frozen=True)
class Missing:
    """Says which files a job's directories still lack.

    Attributes:
        initial: whether the video of the first frame's views, or its masks, are missing.
        initial_depth: whether the depth of the first frame at those views is missing.
        motion: the views of the motion of which some file is missing.
        motion_depth: whether the depth of the first frame at the views of the motion is missing.
    """

    initial: bool = False
    initial_depth: bool = False
    motion: tuple[View, ...] = ()
    motion_depth: bool = False

    def __bool__(self) -> bool:
        return self.initial or self.initial_depth or bool(self.motion) or self.motion_depth


@torch.inference_mode()
def render_all(settings: RenderSettings) -> str:
    """Render every trajectory of this shard before every background, leaving out what is complete.

    Returns:
        A line that says what was rendered where.

    Raises:
        InputError: a path holds nothing to render, or a trajectory or background is damaged; of several jobs the others
            are done all the same.
    """
    config, device = load_config(settings.pictures.config), resolve_device(settings.device)
    found = find_jobs(settings.model_path, settings.pictures.backgrounds, settings.output_path, settings.initial_path)
    jobs = take_shard(found, settings.shard)

    @cache
    def renderer(background: Path | None) -> SceneRenderer:
        return create_renderer(settings.pictures, config.orbit(), device, background)

    rendered, failures = 0, []
    shown = tqdm(jobs, desc="scenes", unit="scene", disable=len(jobs) < 2)
    with closing(claim_each(shown, lambda job: job.directory, lambda job: not missing(job, settings))) as todo:
        for job in todo:
            try:
                render(job, missing(job, settings), settings, config.fps, renderer)
                rendered += 1
            except InputError as error:
                if len(jobs) == 1:
                    raise
                tqdm.write(f"{job.trajectory.name}: {error}")
                failures.append(error)
    if failures:
        raise InputError(f"{len(failures)} of {len(jobs)} failed, the first of them: {failures[0]}")
    what = jobs[0].scene if len(jobs) == 1 else f"{rendered} of {len(jobs)} scenes"
    already = " (was there already)" if len(jobs) == 1 and not rendered else ""
    where = " and ".join(str(path) for path in (settings.initial_path, settings.output_path) if path is not None)
    return f"rendered {what}{already}: {where}"


def find_jobs(
    model_path: Path, background_paths: Sequence[Path], output_path: Path | None, initial_path: Path | None
) -> list[RenderJob]:
    """Return a job for each trajectory at ``model_path`` before each background at ``background_paths``.

    Raises:
        InputError: a path holds no trajectory or no background, or two backgrounds have one name.
    """
    trajectories, backgrounds = find_trajectories(model_path), find_backgrounds(background_paths)
    group = trajectories != [model_path]
    jobs = []
    for trajectory in trajectories:
        for name, background in backgrounds.items():
            place = Path(trajectory.name if group else "", name if group or len(backgrounds) > 1 else "")
            output = None if output_path is None else output_path / place
            jobs.append(
                RenderJob(trajectory, background, output, None if initial_path is None else initial_path / place)
            )
    return jobs


def find_trajectories(path: Path) -> list[Path]:
    """Return the trajectories in a directory; without any the path itself, whose reader will say what is wrong."""
    inside = [] if _is_trajectory(path) else [folder for folder in subdirectories(path) if _is_trajectory(folder)]
    return inside or [path]


def _is_trajectory(path: Path) -> bool:
    return any((path / name).is_file() for name in ("meta.json", "opacity.h5", "0000.h5"))


def find_backgrounds(paths: Sequence[Path]) -> dict[str, Path | None]:
    """Return the backgrounds that ``paths`` are or hold, by name; without any paths the checkered ground.

    Raises:
        InputError: a path is neither a background nor a directory of backgrounds, or two have one name.
    """
    found: list[Path] = []
    for path in paths:
        try:
            find_point_cloud(path)
        except InputError:
            inside = [folder for folder in subdirectories(path) if _holds_a_cloud(folder)]
            if not inside:
                raise
            found.extend(inside)
        else:
            found.append(path)
    names = [_background_name(path) for path in found]
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(f"--background_path: {count} backgrounds are called {name!r}")
    return dict(zip(names, found, strict=True)) if found else {NO_BACKGROUND: None}


def _holds_a_cloud(folder: Path) -> bool:
    try:
        find_point_cloud(folder)
    except InputError:
        return False
    return True


def _background_name(path: Path) -> str:
    path = path.resolve()
    if path.is_file():
        return path.parent.name if path.name in BACKGROUND_CLOUDS else path.stem
    return path.name


def missing(job: RenderJob, settings: RenderSettings) -> Missing:
    """Return which files the settings ask for and a job's directories lack, or with ``overwrite`` all of them."""
    found, views, again = Missing(), settings.pictures.views, settings.overwrite
    if job.initial is not None:
        there = _initial_outputs(settings).are_there(job.initial / f"{job.scene}.mp4")
        depth = settings.depth and (again or not depth_is_there(orbit_views(), job.initial))
        found = replace(found, initial=again or not there, initial_depth=depth)
    if job.output is not None:
        outputs = _motion_outputs(settings)
        lacking = (view for view in views if again or not outputs.are_there(job.video(job.output, view)))
        motion = tuple(lacking) if outputs != Outputs(video=False) else ()
        depth = settings.depth and (again or not depth_is_there(views, job.output))
        found = replace(found, motion=motion, motion_depth=depth)
    return found


def _initial_outputs(settings: RenderSettings) -> Outputs:
    return Outputs(video=True, masks=settings.masks)


def _motion_outputs(settings: RenderSettings) -> Outputs:
    return Outputs(settings.video, settings.images, settings.masks)


def render(
    job: RenderJob,
    lacks: Missing,
    settings: RenderSettings,
    default_fps: int,
    renderer_before: Callable[[Path | None], SceneRenderer],
) -> None:
    """Render the files that a job lacks.

    Args:
        lacks: which files those are.
        default_fps: frames per second of a trajectory that does not say how long its frames last.
        renderer_before: a function that returns the renderer of a background.

    Raises:
        InputError: the trajectory or the background is damaged, or a file cannot be written.
    """
    trajectory = TrajectoryReader(job.trajectory)
    trajectory.check_frames()
    renderer = renderer_before(job.background)
    layout, views, objects = Layout(settings.data_root), settings.pictures.views, None
    if settings.masks or lacks.initial:
        objects = _objects(trajectory, layout, settings.masks)
    labels = objects.labels if objects else None
    fps = max(1, round(1 / trajectory.meta.frame_dt)) if trajectory.meta else default_fps
    if lacks.initial or lacks.initial_depth or lacks.motion_depth:
        first = replace(trajectory.gaussians(0, renderer.sh_degree), labels=labels)
    if lacks.initial_depth:
        assert job.initial is not None
        write_depth(renderer, first, orbit_views(), job.initial)
    if lacks.initial:
        assert job.initial is not None
        texts = [object_prompt(name, layout) for name in objects.names] if objects else []
        video = job.initial / f"{job.scene}.mp4"
        write_initial_views(renderer, first, texts, video, fps, _initial_outputs(settings))
    if lacks.motion:
        assert job.output is not None
        frames = moving_gaussians(trajectory, renderer.sh_degree, renderer.device, labels)
        write_clip(
            renderer,
            frames,
            trajectory.num_frames,
            [(view, job.video(job.output, view)) for view in lacks.motion],
            fps,
            _motion_outputs(settings),
            num_objects=len(objects.names) if objects else 0,
            num_encoders=len(views),
        )
    if lacks.motion_depth:
        assert job.output is not None
        write_depth(renderer, first, views, job.output)


def _objects(trajectory: TrajectoryReader, layout: Layout, needed: bool) -> TrajectoryObjects | None:
    """Return the objects of prompts and masks; None if nothing tells them apart and they are not ``needed``."""
    try:
        return trajectory_objects(trajectory, layout)
    except InputError as error:
        if needed:
            raise
        tqdm.write(f"{trajectory.path.name}: no prompts: {error}")
        return None
