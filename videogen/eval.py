"""Predict the motion of a scene with a trained model and render it.

--model_path is a scene of Gaussians at rest: a directory with a 3DGS PLY and the labels of its objects, from
dataset.generate_scene or reconstructed from photographs. Keypoints of every object are rolled out by the model, all
Gaussians follow them, and each view is written as <output_path>/<scene>.mp4 (in a folder for each view, if there are
several), with a JSON file that says what it was made from: made from the same, it is not made again. Cameras stand on
the orbit that --config describes.

What the objects are made of is told by --E and --density, else by the config, else by the scene's objects.json or the
catalogue, else the medians of the training data stand in. The config also says how the objects move at the start, and
--external_forces_config how they are pushed later on: what it may hold is the same as for dataset.gs_simulation_scene.

Units: metres, seconds, pascals, kg/m^3.

Examples:
  python -m videogen.eval --model_path data/GSCollision/scenes/3_9/2810_bowl_pillow_can --dynamic_model ngff \\
      --config config/dynamic_config.json --output_path output/2810_bowl_pillow_can --white_bg --single_view 0
  python -m videogen.eval --model_path data/GSCollision/scenes/2/0_ball_duck --config config/dynamic_config.json \\
      --output_path output/pushed --single_view 0 --use_external_forces --external_forces_config forces.json
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dataset.config import Config, load_config
from dataset.layout import Layout, add_data_root, find_point_cloud
from dataset.rendering.clip_writer import Outputs
from dataset.rendering.scene_renderer import create_renderer, write_clip
from dataset.rendering.settings import add_picture_arguments, picture_settings
from dataset.rendering.views import View
from dataset.scenes.scene_files import read_scene
from dataset.scenes.scene_names import scene_of
from dataset.simulation.initial_motion import check_names
from dataset.simulation.scene_particles import particles_of_scene
from dataset.simulation.settings import add_force_arguments, add_material_arguments, external_forces_file
from dynamic_models.models.checkpoints import CheckpointInfo, load_checkpoint
from dynamic_models.models.registry import MODELS, default_checkpoint
from gaussians.files.external_forces import ExternalForce, forces_on_scene, read_external_forces
from gaussians.stage.atomic_files import file_hash
from gaussians.stage.command_line import ArgumentParser, resolve_device, run
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json, write_json
from videogen.motion.scene_motion import AssumedMaterials, choose_materials, predict_motion


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--model_path", type=Path, required=True, help="scene directory or PLY file")
    parser.add_argument("--dynamic_model", choices=MODELS, default="ngff", help="which model predicts")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="its .json file or directory (default: checkpoints/<model>, where training writes, or else the one that "
        "comes with the repository)",
    )
    parser.add_argument("--output_path", type=Path, required=True, help="directory for the videos")
    add_material_arguments(parser)
    add_force_arguments(parser)
    parser.add_argument("--steps", type=int, default=100, help="frames to predict, the present one included")
    parser.add_argument(
        "--compile_video", action="store_true", help="accepted as published; the video is always written"
    )
    parser.add_argument("--render_img", action="store_true", help="write every frame as a PNG, too")
    add_picture_arguments(parser)
    parser.add_overwrite()
    parser.add_device()
    add_data_root(parser)
    args = parser.parse_args()
    if args.steps < 2:
        raise InputError(f"--steps: expected at least 2, found {args.steps}")
    return args


def main() -> None:
    args = parse_arguments()
    config = load_config(args.config)
    pictures = picture_settings(args)
    views = pictures.views
    device = resolve_device(args.device)
    scene = read_scene(args.model_path, Layout(args.data_root))
    objects, particles = scene.objects, particles_of_scene(scene, config)
    checkpoint = args.checkpoint or default_checkpoint(args.dynamic_model)
    model, info = load_checkpoint(checkpoint, args.dynamic_model)
    name = scene_of(args.model_path)
    check_names(config, [entry.name for entry in objects], Layout(args.data_root), args.config)
    file = external_forces_file(args)
    forces = forces_on_scene(read_external_forces(file) if file else {}, name, len(objects), file or "")
    materials = choose_materials(objects, config, args.E, args.density, info.materials)
    renderer = create_renderer(pictures, config.orbit(), device, args.background_path)
    outputs = _outputs(args.output_path, name, views)
    record, made_from = args.output_path / f"{name}.json", _description(args, config, info, views, materials, forces)
    if not args.overwrite and _is_current(record, made_from, [path for _, path in outputs]):
        print(f"nothing to do: all {len(views)} videos are in {args.output_path}; --overwrite makes them anew")
        return
    record.unlink(missing_ok=True)
    if materials.note:
        print(f"{name}: {materials.note}")
    if args.use_external_forces:
        print(f"{name}: {len(forces)} external forces")
    start = time.monotonic()
    motion, keypoints = predict_motion(
        particles, objects, materials, forces, model.to(device), info, config, args.steps, device
    )
    seconds = time.monotonic() - start
    frames = motion.frames(keypoints)
    write_clip(renderer, frames, args.steps, outputs, config.fps, Outputs(images=args.render_img))
    write_json(record, made_from)
    where = outputs[0][1] if len(outputs) == 1 else args.output_path
    print(
        f"predicted {args.steps} frames in {seconds:.1f} s with {checkpoint} and wrote {len(outputs)} videos: {where}"
    )


def _description(
    args: argparse.Namespace,
    config: Config,
    info: CheckpointInfo,
    views: Sequence[View],
    materials: AssumedMaterials,
    forces: Sequence[ExternalForce],
) -> dict[str, Any]:
    """What the videos depend on, as plain values: recorded beside them, so that others are never taken for them."""
    flags = ("steps", "resolution", "shs_degree", "white_bg", "render_img")
    return {
        "model_path": str(args.model_path.resolve()),
        "scene": file_hash(find_point_cloud(args.model_path)),
        "background": args.background_path and file_hash(find_point_cloud(args.background_path)),
        "checkpoint": info.sha256,
        "views": [view.name for view in views],
        "config": config.settings(),
        "youngs_moduli": materials.youngs_moduli,
        "densities": materials.densities,
        "external_forces": [force.model_dump(mode="json") for force in forces],
        **{flag: getattr(args, flag) for flag in flags},
    }


def _is_current(record: Path, made_from: dict[str, Any], videos: list[Path]) -> bool:
    try:
        return bool(read_json(record) == made_from) and all(video.is_file() for video in videos)
    except InputError:  # none yet, or damaged
        return False


def _outputs(path: Path, scene: str, views: Sequence[View]) -> list[tuple[View, Path]]:
    if len(views) == 1:
        return [(views[0], path / f"{scene}.mp4")]
    return [(view, path / view.name / f"{scene}.mp4") for view in views]


if __name__ == "__main__":
    with torch.inference_mode():
        run(main)
