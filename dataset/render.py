"""Render a trajectory: videos, images and depth of Gaussians in motion, before a background or on a checkered ground.

Cameras stand on the orbit of 100 views that --config describes. Without --fixed_view the camera moves along it,
one view a frame (circle360); --fixed_view -1 renders every fourth view (25 videos), --fixed_view K only view K.

Examples:
  python -m dataset.render --model_path data/GSCollision/mpm/2/0_ball_duck --config config/dynamic_config.json \\
      --output_path output/0_ball_duck --compile_video --white_bg --fixed_view 0 --resolution 448
  python -m dataset.render --model_path data/GSCollision/mpm/2/0_ball_duck --config config/dynamic_config.json \\
      --background_path data/GSCollision/backgrounds/table6 --initial_path output/initial --render_depth
"""

import argparse
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import torch
from tqdm import tqdm

from dataset.catalog import object_by_name
from dataset.config import load_config
from dataset.layout import Layout, add_data_root
from dataset.prompts import object_prompts
from dataset.rendering import SceneRenderer, add_picture_arguments, chosen_by, renderer_for, write_clip
from dataset.views import ORBIT_VIEWS, View, fixed_view
from gaussians.cameras import write_cameras
from gaussians.command_line import ArgumentParser, resolve_device, run
from gaussians.errors import InputError
from gaussians.files import atomic_path, write_json
from gaussians.hdf5 import write_hdf5
from gaussians.trajectory import TrajectoryReader
from gaussians.video import VideoWriter, to_uint8


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--model_path", type=Path, required=True, help="trajectory directory (0000.h5, ...)")
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
    add_picture_arguments(parser)
    parser.add_overwrite()
    parser.add_device()
    add_data_root(parser)
    args = parser.parse_args()
    if args.output_path is None and args.initial_path is None:
        raise InputError("expected --output_path, --initial_path or both")
    return args


def main() -> None:
    args = parse_arguments()
    config = load_config(args.config)
    views = chosen_by(args)
    trajectory = TrajectoryReader(args.model_path)
    layout = Layout(args.data_root)
    renderer = renderer_for(args, config.orbit(), resolve_device(args.device))
    scene, fps = args.model_path.resolve().name, config.fps
    if args.initial_path is not None:
        _write_initial(renderer, trajectory, layout, args.initial_path, scene, fps, args.render_depth, args.overwrite)
    if args.output_path is not None:
        video = args.compile_video or not (args.render_img or args.render_depth)
        _write_motion(renderer, trajectory, views, args, scene, fps, video)


def _write_motion(
    renderer: SceneRenderer,
    trajectory: TrajectoryReader,
    views: list[View],
    args: argparse.Namespace,
    scene: str,
    fps: int,
    video: bool,
) -> None:
    targets = [(view, args.output_path / view.name / f"{scene}.mp4") for view in views]
    missing = [
        (view, path)
        for view, path in targets
        if (video and (args.overwrite or not path.is_file()))
        or (args.render_img and (args.overwrite or not (path.parent / "rgb").is_dir()))
    ]
    if missing:
        frames = (trajectory.gaussians(k, renderer.sh_degree) for k in range(trajectory.num_frames))
        write_clip(renderer, frames, trajectory.num_frames, missing, fps, args.render_img, video)
    if args.render_depth:
        _write_depth(renderer, trajectory, views, args.output_path, args.overwrite)
    if video or args.render_img:
        done = len(targets) - len(missing)
        there = f" ({done} were there)" if done else ""
        print(f"wrote {len(missing)} views of {scene} to {args.output_path}{there}")
    else:
        print(f"wrote the depth of {len(views)} views of {scene} to {args.output_path}")


def _write_initial(
    renderer: SceneRenderer,
    trajectory: TrajectoryReader,
    layout: Layout,
    path: Path,
    scene: str,
    fps: int,
    depth: bool,
    overwrite: bool,
) -> None:
    """Frame 0 from all views: a video, cameras.json, prompts.json where the objects are known, and depth.

    The video comes last: where it is, the others belong to it and stay.
    """
    if depth:
        _write_depth(renderer, trajectory, [fixed_view(k) for k in range(ORBIT_VIEWS)], path, overwrite)
    video = path / f"{scene}.mp4"
    if video.is_file() and not overwrite:
        print(f"{video} is there already (--overwrite makes it again)")
        return
    cameras = renderer.orbit.cameras(range(ORBIT_VIEWS), renderer.resolution)
    gaussians = trajectory.gaussians(0, renderer.sh_degree)
    if trajectory.meta is not None and trajectory.meta.objects:
        texts = [_prompt(item.name, layout) for item in trajectory.meta.objects]
        write_json(path / "prompts.json", object_prompts(gaussians, cameras, texts))
    write_cameras(path / "cameras.json", cameras)
    with VideoWriter(video, fps) as writer:
        for k in tqdm(range(ORBIT_VIEWS), desc=f"initial views {scene}", unit="view"):
            writer.write(to_uint8(renderer.draw(gaussians, cameras[k : k + 1]).rgb)[0])
    print(f"wrote {ORBIT_VIEWS} initial views of {scene} to {path}")


def _prompt(name: str, layout: Layout) -> str:
    """The catalogue's prompt of an object; one that came with a scene only is called by its name."""
    try:
        return object_by_name(name, layout).prompt
    except InputError:
        return f"A {name}."


def _write_depth(
    renderer: SceneRenderer, trajectory: TrajectoryReader, views: list[View], path: Path, overwrite: bool
) -> None:
    """Accumulated depth of frame 0 at ``views``, scaled to uint16: depth.h5 and depth/<view>.png."""
    target, pictures = path / "depth.h5", path / "depth"
    names = [f"{view.name}.png" for view in views]
    if target.is_file() and sorted(file.name for file in pictures.glob("*.png")) == sorted(names) and not overwrite:
        return
    gaussians = trajectory.gaussians(0, 0)
    depths = []
    for view in tqdm(views, desc="depth", unit="view"):
        camera = view.cameras(renderer.orbit, renderer.resolution, 1)
        depths.append(renderer.draw(gaussians, camera, accumulated_depth=True).depth[0].cpu().numpy())
    depth_max = max(float(depth.max()) for depth in depths)
    scale = 65535 / depth_max if depth_max > 0 else 0.0
    levels = np.stack([np.round(depth * scale).astype(np.uint16) for depth in depths])
    datasets: dict[str, np.ndarray] = {"depth": levels, "depth_max": np.array(depth_max, np.float32)}
    write_hdf5(target, datasets, chunks=(1, *levels.shape[1:]), compression="gzip")
    with atomic_path(pictures) as folder:  # last: it says that all is there
        folder.mkdir()
        for name, level in zip(names, levels, strict=True):
            imageio.imwrite(folder / name, level)


if __name__ == "__main__":
    with torch.inference_mode():
        run(main)
