"""Predict the motion of a scene with a trained model and render it.

--model_path is a scene of Gaussians at rest: a directory with a 3DGS PLY and the labels of its objects, from
dataset.generate_scene or reconstructed from photographs. It may also be a capture, a file of Gaussians of another
program (PLY, compressed PLY, .splat, .spz, .pt): that is made upright, moved to the origin and scaled to 1 m where it
does not fit into the box [-1, 1]^3 as it is, and what floats far around it is left out; --up and --scale say otherwise.

Keypoints of every object are rolled out by the model, all Gaussians follow them, and each view is written as
<output_path>/<scene>.mp4 (in a folder for each view, if there are several), with a JSON file beside it that says what
it was made from: made from the same, it is not made again. Cameras stand on the orbit that --config describes.

--save_ply (or --render_gaussians) writes the predicted Gaussians themselves, too, for other programs:
<output_path>/gaussians/0000.ply, ... --save_trajectory writes <output_path>/trajectory/<scene>, a trajectory as
dataset.gs_simulation_scene writes it, for whatever reads those.

--dynamic_model mpm asks the simulator in the place of a model, on the grid and with the boundaries of the config.

What the objects are made of is told by --E and --density, else by the config, else by the scene's objects.json or the
catalogue, else the medians of the training data stand in, in a simulation 1e5 Pa and 500 kg/m^3. The config also says
how the objects move at the start, and --external_forces_config how they are pushed later on: what it may hold is the
same as for dataset.gs_simulation_scene.

Units: metres, seconds, pascals, kg/m^3.

Examples:
  python -m videogen.eval --model_path data/GSCollision/scenes/3_9/2810_bowl_pillow_can --dynamic_model ngff \\
      --config config/dynamic_config.json --output_path output/2810_bowl_pillow_can --white_bg --single_view 0
  python -m videogen.eval --model_path data/GSCollision/scenes/2/0_ball_duck --config config/dynamic_config.json \\
      --output_path output/pushed --single_view 0 --use_external_forces --external_forces_config forces.json
  python -m videogen.eval --model_path output/desk/sim_refine --background_path output/desk/bg --dynamic_model mpm \\
      --config config/quickstart_config.json --output_path output/desk/simulated --views 0,circle360 --save_trajectory
"""

from argparse import Namespace
from pathlib import Path

from dataset.layout import add_data_root
from dataset.rendering.settings import (
    add_gaussians_arguments,
    add_picture_arguments,
    gaussians_settings,
    picture_settings,
)
from dataset.scenes.capture_settings import add_capture_arguments, capture_settings
from dataset.simulation.settings import add_force_arguments, add_material_arguments, external_forces_file
from dynamic_models.models.registry import MODELS
from gaussians.limits import MOST_FRAMES
from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError
from videogen.videos.settings import SIMULATOR, PredictSettings


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--model_path", type=Path, required=True, help="scene directory or PLY file")
    parser.add_argument(
        "--dynamic_model",
        choices=(*MODELS, SIMULATOR),
        default="ngff",
        help=f"model that predicts; {SIMULATOR}: the simulator",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="checkpoint of the model, a .json file or directory (default: of checkpoints/<model>, where training "
        "writes, and those that come with the repository the one that was trained on cells as large as the config's)",
    )
    parser.add_argument("--output_path", type=Path, required=True, help="directory for the videos")
    add_material_arguments(parser)
    add_capture_arguments(parser)
    add_force_arguments(parser)
    parser.add_argument("--steps", type=int, default=100, help="frames to predict, the present one included")
    parser.add_argument(
        "--compile_video", action="store_true", help="accepted as published; the video is always written"
    )
    parser.add_argument("--render_img", action="store_true", help="write every frame as a PNG, too")
    parser.add_argument(
        "--save_trajectory", action="store_true", help="write the motion as a trajectory, trajectory/<scene>, too"
    )
    add_gaussians_arguments(parser)
    add_picture_arguments(parser)
    parser.add_overwrite()
    parser.add_device()
    add_data_root(parser)
    return parser


def _settings(args: Namespace) -> PredictSettings:
    if args.steps < 2:
        raise InputError(f"--steps: expected at least 2, found {args.steps}")
    if args.steps > MOST_FRAMES:
        raise InputError(f"--steps: expected at most {MOST_FRAMES}, found {args.steps}")
    if args.dynamic_model == SIMULATOR and args.checkpoint is not None:
        raise InputError(f"--checkpoint: --dynamic_model {SIMULATOR} has none")
    kind, frames = gaussians_settings(args)
    if frames is not None and frames[-1] >= args.steps:
        raise InputError(f"--frames: expected 0 to {args.steps - 1}, found {frames[-1]}")
    return PredictSettings(
        model_path=args.model_path,
        dynamic_model=args.dynamic_model,
        checkpoint=args.checkpoint,
        output_path=args.output_path,
        youngs_moduli=args.E,
        densities=args.density,
        capture=capture_settings(args),
        external_forces=external_forces_file(args),
        steps=args.steps,
        images=args.render_img,
        trajectory=args.save_trajectory,
        gaussians=kind,
        frames=frames,
        view_folders=False,
        pictures=picture_settings(args),
        data_root=args.data_root,
        device=args.device,
        overwrite=args.overwrite,
    )


def main() -> None:
    settings = _settings(_parser().parse_args())

    from videogen.videos.predicted_video import predict_videos

    print(predict_videos(settings))


if __name__ == "__main__":
    run(main)
