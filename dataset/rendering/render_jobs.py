"""This module plans which trajectories are rendered before which backgrounds, and renders what is missing."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import torch
from tqdm import tqdm

from dataset.config import Config, load_config
from dataset.layout import BACKGROUND_CLOUDS, Layout, find_point_cloud, subdirectories
from dataset.rendering.clip_writer import Outputs
from dataset.rendering.frame_reader import moving_gaussians
from dataset.rendering.initial_views import depth_files, write_depth, write_initial_views
from dataset.rendering.picture_inputs import drawn_from
from dataset.rendering.prompts import object_prompt
from dataset.rendering.scene_renderer import SceneRenderer, check_pictures, create_renderer, write_clip
from dataset.rendering.settings import RenderSettings
from dataset.rendering.views import View, orbit_views
from dataset.scenes.scene_objects import TrajectoryObjects, trajectory_objects
from gaussians.files.splats.splat_formats import splat_sequence
from gaussians.files.trajectory_format import trajectory_digest
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.representation import Gaussians
from gaussians.stage.claims import claim_each
from gaussians.stage.command_line import resolve_device, take_shard
from gaussians.stage.errors import InputError
from gaussians.stage.provenance import Provenance

_GAUSSIANS = "gaussians"
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
    """Holds what a job's directories still lack: records of what is to be made, with the files that belong to each.

    Attributes:
        initial: records of the first frame's views: their video, cameras and prompts, and their masks.
        initial_depth: record of the first frame's depth at those views.
        motion: by view, records of the motion: its video and images, and its masks.
        motion_depth: record of the first frame's depth at the views of the motion.
        gaussians: record of the Gaussians of frames.
    """

    initial: dict[Provenance, list[Path]] = field(default_factory=dict)
    initial_depth: dict[Provenance, list[Path]] = field(default_factory=dict)
    motion: dict[View, dict[Provenance, list[Path]]] = field(default_factory=dict)
    motion_depth: dict[Provenance, list[Path]] = field(default_factory=dict)
    gaussians: dict[Provenance, list[Path]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any((self.initial, self.initial_depth, self.motion, self.motion_depth, self.gaussians))


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
    check_pictures(settings.pictures)
    found = find_jobs(settings.model_path, settings.pictures.backgrounds, settings.output_path, settings.initial_path)
    jobs = take_shard(found, settings.shard)

    @cache
    def renderer(background: Path | None) -> SceneRenderer:
        return create_renderer(settings.pictures, config.orbit(), device, background)

    def is_done(job: RenderJob) -> bool:
        try:
            return not missing(job, settings, config)
        except InputError:  # it comes up again when it is this job's turn
            return False

    rendered, failures = 0, []
    shown = tqdm(jobs, desc="scenes", unit="scene", disable=len(jobs) < 2)
    with closing(claim_each(shown, lambda job: job.directory, is_done)) as todo:
        for job in todo:
            try:
                render(job, missing(job, settings, config), settings, config.fps, renderer)
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
    places = [settings.initial_path, settings.output_path]
    if len(jobs) == len(settings.pictures.views) == 1 and settings.video and jobs[0].output is not None:
        places[1] = jobs[0].video(jobs[0].output, settings.pictures.views[0])
    return f"rendered {what}{already}: {' and '.join(str(path) for path in places if path is not None)}"


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


def missing(job: RenderJob, settings: RenderSettings, config: Config) -> Missing:
    """Return what the settings ask for and a job's directories lack, or with ``overwrite`` all of it.

    Raises:
        InputError: a directory holds pictures that were made from something else, or an input is damaged.
    """
    pictures, layout = settings.pictures, Layout(settings.data_root)
    source = {
        "trajectory": trajectory_digest(job.trajectory),
        **drawn_from(pictures, config.orbit(), job.background),
        "fps": config.fps,  # of published trajectories
    }
    told_apart = {"objects": _objects_digest(job.trajectory, layout)} if settings.masks or job.initial else {}

    def lacking(records: dict[Provenance, list[Path]]) -> dict[Provenance, list[Path]]:
        """Return the records of what is drawn together, if any of it is to be drawn."""
        asked = {record: files for record, files in records.items() if files}
        current = [record.is_current(files) for record, files in asked.items() if not settings.overwrite]
        return asked if settings.overwrite or not all(current) else {}

    found = Missing()
    if job.initial is not None:
        video, outputs = job.initial / f"{job.scene}.mp4", _initial_outputs(settings)
        whole = source | told_apart
        files = [*outputs.pictures(video), job.initial / "cameras.json"]
        if told_apart["objects"] is not None:
            files.append(job.initial / "prompts.json")
        records = {
            Provenance(video.with_suffix(".json"), whole): files,
            Provenance(video.with_name("masks.json"), whole): outputs.mask_files(video),
        }
        found = replace(found, initial=lacking(records))
        if settings.depth:
            depth = Provenance(job.initial / "depth.json", source)
            found = replace(found, initial_depth=lacking({depth: depth_files(job.initial)}))
    if job.output is not None:
        motion = {}
        for view in pictures.views:
            video, outputs = job.video(job.output, view), _motion_outputs(settings)
            records = {
                Provenance(video.with_suffix(".json"), source): outputs.pictures(video),
                Provenance(video.with_name("masks.json"), source | told_apart): outputs.mask_files(video),
            }
            if lacks := lacking(records):
                motion[view] = lacks
        found = replace(found, motion=motion)
        if settings.depth:
            views = [view.name for view in pictures.views]
            depth = Provenance(job.output / "depth.json", source | {"views": views})
            found = replace(found, motion_depth=lacking({depth: depth_files(job.output)}))
        if settings.gaussians is not None:
            written = {"trajectory": source["trajectory"], "format": settings.gaussians, "frames": settings.frames}
            record = Provenance(job.output / f"{_GAUSSIANS}.json", json.loads(json.dumps(written)))
            found = replace(found, gaussians=lacking({record: [job.output / _GAUSSIANS]}))
    return found


def _objects_digest(trajectory: Path, layout: Layout) -> str | None:
    """Return a SHA-256 of which Gaussian belongs to which object and how prompts call these; None if nothing tells."""
    try:
        objects = trajectory_objects(TrajectoryReader(trajectory), layout)
    except InputError:
        return None
    prompts = [object_prompt(name, layout) for name in objects.names]
    digest = hashlib.sha256(json.dumps([objects.names, prompts]).encode())
    digest.update(objects.labels.numpy().tobytes())
    return digest.hexdigest()


def _initial_outputs(settings: RenderSettings) -> Outputs:
    return Outputs(video=True, masks=settings.masks)


def _motion_outputs(settings: RenderSettings) -> Outputs:
    return Outputs(settings.video, settings.images, settings.masks)


@contextmanager
def _recording(records: Iterable[dict[Provenance, list[Path]]]) -> Iterator[None]:
    """Record what the block makes: first that it is to be made, and at the end that it was."""
    together = [pair for each in records for pair in each.items()]
    for record, _ in together:
        record.begin()
    yield
    for record, files in together:
        record.write(files)


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
        with _recording([lacks.initial_depth]):
            write_depth(renderer, first, orbit_views(), job.initial)
    if lacks.initial:
        assert job.initial is not None
        texts = [object_prompt(name, layout) for name in objects.names] if objects else []
        video = job.initial / f"{job.scene}.mp4"
        with _recording([lacks.initial]):
            write_initial_views(renderer, first, texts, video, fps, _initial_outputs(settings))
    if lacks.motion:
        assert job.output is not None
        frames = moving_gaussians(trajectory, renderer.sh_degree, renderer.device, labels)
        with _recording(lacks.motion.values()):
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
        with _recording([lacks.motion_depth]):
            write_depth(renderer, first, views, job.output)
    if lacks.gaussians:
        assert job.output is not None
        assert settings.gaussians is not None
        with (
            _recording([lacks.gaussians]),
            splat_sequence(job.output / _GAUSSIANS, settings.gaussians) as write,
        ):
            for number, frame in _frames(trajectory, settings.frames):
                write(number, frame)


def _frames(trajectory: TrajectoryReader, chosen: Sequence[int] | None) -> Iterator[tuple[int, Gaussians]]:
    """Yield the numbers and the Gaussians of the chosen frames of a trajectory, of all for None.

    Raises:
        InputError: the trajectory has fewer frames.
    """
    numbers = range(len(trajectory)) if chosen is None else chosen
    if numbers and numbers[-1] >= len(trajectory):
        raise InputError(f"--frames: expected 0 to {len(trajectory) - 1} of {trajectory.path}, found {numbers[-1]}")
    for number in tqdm(numbers, desc="gaussians", unit="frame", leave=False):
        yield number, trajectory.gaussians(number)


def _objects(trajectory: TrajectoryReader, layout: Layout, needed: bool) -> TrajectoryObjects | None:
    """Return the objects of prompts and masks; None if nothing tells them apart and they are not ``needed``."""
    try:
        return trajectory_objects(trajectory, layout)
    except InputError as error:
        if needed:
            raise
        tqdm.write(f"{trajectory.path.name}: no prompts: {error}")
        return None
