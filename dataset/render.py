"""Render trajectories: videos, images, depth and instance masks of Gaussians in motion.

--model_path is one trajectory or a directory of them, --background_path any number of backgrounds or directories of
backgrounds; without one there is a checkered ground. Of several scenes each goes to <scene>/<background> below
--output_path and --initial_path (<scene>/ground without a background), of one scene before several backgrounds to
<background>. What is complete is skipped. Processes that are given the same scenes share them.

Cameras stand on the orbit of 100 views that --config describes. Without --fixed_view the camera moves along it,
one view a frame (circle360); --fixed_view -1 renders every fourth view (25 videos), --fixed_view K only view K.

--output_path gets, in a folder for each view, <scene>.mp4 (H.264), rgb/0000.png, ... (--render_img), masks.h5 and
masks/0000.png, ... (--render_masks); and for all views of frame 0 depth.h5 and depth/<view>.png (--render_depth).
--initial_path gets frame 0 from all 100 views: <scene>.mp4, cameras.json, prompts.json, and depth and masks if asked.

Masks are 8-bit: 0 where no object shows, otherwise the object's label + 1. Depth is 16-bit, in units of depth_max /
65535 metres, where depth_max stands in depth.h5. docs/formats.md describes all files.

Examples:
  python -m dataset.render --model_path data/GSCollision/mpm/2/0_ball_duck --config config/dynamic_config.json \\
      --output_path output/0_ball_duck --compile_video --white_bg --fixed_view 0 --resolution 448
  python -m dataset.render --model_path data/GSCollision/mpm/2/0_ball_duck --config config/dynamic_config.json \\
      --background_path data/GSCollision/backgrounds/table6 --initial_path output/initial --render_depth
  python -m dataset.render --model_path data/GSCollision/mpm/2 --background_path data/GSCollision/backgrounds \\
      --config config/dynamic_config.json --output_path data/GSCollision/dynamic/2 --fixed_view -1 --shard 0/4
"""

import argparse
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from tqdm import tqdm

from dataset.config import Config, load_config
from dataset.layout import Layout, add_data_root
from dataset.rendering.clip_writer import Outputs
from dataset.rendering.frame_reader import moving_gaussians
from dataset.rendering.initial_views import depth_is_there, orbit_views, write_depth, write_initial_views
from dataset.rendering.prompts import object_prompt
from dataset.rendering.render_jobs import RenderJob, find_jobs
from dataset.rendering.scene_renderer import SceneRenderer, add_picture_arguments, chosen_by, renderer_for, write_clip
from dataset.rendering.views import View
from dataset.scenes.scene_objects import TrajectoryObjects, trajectory_objects
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.claims import claim_each
from gaussians.stage.command_line import ArgumentParser, resolve_device, run, take_shard
from gaussians.stage.errors import InputError


@dataclass(frozen=True)
class Task:
    """What a job still lacks.

    Attributes:
        initial: the initial views' video, or their masks.
        initial_depth: the initial views' depth.
        motion: the views of which something is not there.
        motion_depth: the depth of frame 0 at all of them.
    """

    initial: bool = False
    initial_depth: bool = False
    motion: tuple[View, ...] = ()
    motion_depth: bool = False

    def __bool__(self) -> bool:
        return self.initial or self.initial_depth or bool(self.motion) or self.motion_depth


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(__doc__)
    parser.add_argument(
        "--model_path", type=Path, required=True, help="trajectory directory (0000.h5, ...) or a directory of them"
    )
    parser.add_argument("--output_path", type=Path, help="directory of the videos and images in motion")
    parser.add_argument(
        "--initial_path", type=Path, help="directory of the first frame: 100 views as a video, cameras, prompts"
    )
    parser.add_argument(
        "--compile_video", action="store_true", help="write H.264 videos (the default if no other is asked)"
    )
    parser.add_argument("--render_img", action="store_true", help="write every frame as a PNG")
    parser.add_argument(
        "--render_depth", action="store_true", help="write accumulated depth of frame 0: depth.h5 and uint16 PNGs"
    )
    parser.add_argument(
        "--render_masks", action="store_true", help="write which object each pixel shows: masks.h5 and 8-bit PNGs"
    )
    add_picture_arguments(parser, several_backgrounds=True)
    parser.add_shard()
    parser.add_overwrite()
    parser.add_device()
    add_data_root(parser)
    args = parser.parse_args()
    if args.output_path is None and args.initial_path is None:
        raise InputError("expected --output_path, --initial_path or both")
    return args


def main() -> None:
    args = parse_arguments()
    config, views, device = load_config(args.config), chosen_by(args), resolve_device(args.device)
    found = find_jobs(args.model_path, args.background_path or [], args.output_path, args.initial_path)
    jobs = take_shard(found, args.shard)

    @cache
    def renderer(background: Path | None) -> SceneRenderer:
        return renderer_for(args, config.orbit(), device, background)

    rendered, failures = 0, []
    shown = tqdm(jobs, desc="scenes", unit="scene", disable=len(jobs) < 2)
    with closing(claim_each(shown, lambda job: job.directory, lambda job: not missing(job, args, views))) as todo:
        for job in todo:
            try:
                render(job, missing(job, args, views), args, config, views, renderer)
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
    where = " and ".join(str(path) for path in (args.initial_path, args.output_path) if path is not None)
    print(f"rendered {what}{already}: {where}")


def missing(job: RenderJob, args: argparse.Namespace, views: list[View]) -> Task:
    """What the flags ask for and a job's directories do not hold, or all of it with --overwrite."""
    task = Task()
    if job.initial is not None:
        there = _initial_outputs(args).are_there(job.initial / f"{job.scene}.mp4")
        depth = args.render_depth and (args.overwrite or not depth_is_there(orbit_views(), job.initial))
        task = replace(task, initial=args.overwrite or not there, initial_depth=depth)
    if job.output is not None:
        outputs = _motion_outputs(args)
        motion = [view for view in views if args.overwrite or not outputs.are_there(job.video(job.output, view))]
        depth = args.render_depth and (args.overwrite or not depth_is_there(views, job.output))
        task = replace(task, motion=tuple(motion) if outputs else (), motion_depth=depth)
    return task


def _initial_outputs(args: argparse.Namespace) -> Outputs:
    return Outputs(video=True, masks=args.render_masks)


def _motion_outputs(args: argparse.Namespace) -> Outputs:
    others = args.render_img or args.render_depth or args.render_masks
    return Outputs(args.compile_video or not others, args.render_img, args.render_masks)


def render(
    job: RenderJob,
    task: Task,
    args: argparse.Namespace,
    config: Config,
    views: list[View],
    renderer_before: Callable[[Path | None], SceneRenderer],
) -> None:
    """Do a job's task.

    Raises:
        InputError: the trajectory or the background is damaged, or a file cannot be written.
    """
    trajectory = TrajectoryReader(job.trajectory)
    trajectory.check_frames()
    renderer = renderer_before(job.background)
    layout, objects = Layout(args.data_root), None
    if args.render_masks or task.initial:
        objects = _objects(trajectory, layout, args.render_masks)
    labels = objects.labels if objects else None
    fps = max(1, round(1 / trajectory.meta.frame_dt)) if trajectory.meta else config.fps
    if task.initial or task.initial_depth or task.motion_depth:
        first = replace(trajectory.gaussians(0, renderer.sh_degree), labels=labels)
    if task.initial_depth:
        assert job.initial is not None
        write_depth(renderer, first, orbit_views(), job.initial)
    if task.initial:
        assert job.initial is not None
        texts = [object_prompt(name, layout) for name in objects.names] if objects else []
        outputs = _initial_outputs(args)
        write_initial_views(renderer, first, texts, job.initial / f"{job.scene}.mp4", fps, outputs)
    if task.motion:
        assert job.output is not None
        frames = moving_gaussians(trajectory, renderer.sh_degree, renderer.device, labels)
        write_clip(
            renderer,
            frames,
            trajectory.num_frames,
            [(view, job.video(job.output, view)) for view in task.motion],
            fps,
            _motion_outputs(args),
            num_objects=len(objects.names) if objects else 0,
            num_encoders=len(views),
        )
    if task.motion_depth:
        assert job.output is not None
        write_depth(renderer, first, views, job.output)


def _objects(trajectory: TrajectoryReader, layout: Layout, needed: bool) -> TrajectoryObjects | None:
    """The objects that prompts and masks are about; None if nothing tells them apart and they are not ``needed``."""
    try:
        return trajectory_objects(trajectory, layout)
    except InputError as error:
        if needed:
            raise
        tqdm.write(f"{trajectory.path.name}: no prompts: {error}")
        return None


if __name__ == "__main__":
    with torch.inference_mode():
        run(main)
