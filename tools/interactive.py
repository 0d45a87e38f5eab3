"""Push, twist and drop objects in a web browser while a model predicts how they move on.

--model_path is a scene as for videogen.eval: a directory with a 3DGS PLY and the labels of its objects, or a capture.
Drag an object to push it along an arrow, with the Shift key to twist it. The panel says how strongly and for how long,
drops objects of the catalogue and the files of --palette, makes objects of other materials, pauses, resets and replays;
"Simulate this" runs the simulator from the same start with the same pushes and shows both; "Save pushes" writes the
scene and a JSON of external forces, with which videogen.eval --use_external_forces predicts the same frames again.
docs/live.md shows all of it.

Only this machine can connect, unless --host names an address that others reach; from another machine run
`ssh -L 8089:localhost:8089 USER@SERVER` there and open http://localhost:8089.

Units: metres, seconds, newtons, pascals, kg/m^3.

Examples:
  python -m tools.interactive --model_path data/GSCollision/scenes/2/0_ball_duck
  python -m tools.interactive --model_path output/desk/sim --background_path output/desk/bg --palette chair.ply
  python -m tools.interactive --model_path data/GSCollision/scenes/2/0_ball_duck --config config/dynamic_config.json
"""

import argparse
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataset.layout import Layout, add_data_root, check_config_path, find_point_cloud
from dataset.scenes.capture_settings import CaptureSettings, add_capture_arguments, capture_settings
from dataset.simulation.settings import add_material_arguments
from dynamic_models.models.registry import MODELS
from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError

if TYPE_CHECKING:
    from tools.live.live_world import LiveWorld


@dataclass(frozen=True)
class InteractiveSettings:
    """An ``InteractiveSettings`` says what to predict live, and on which address to show it.

    Attributes:
        model_path: scene directory or file of Gaussians.
        dynamic_model: name of the model.
        checkpoint: of the model; None: the one that fits the config's cells.
        config: JSON file of settings.
        youngs_moduli, densities: of each object by label, Pa and kg/m^3; None: what config and scene say.
        capture: how a file of another program is placed in the world.
        background_path: a background's directory or PLY file; None: that of a reconstruction, if it is one.
        palette: files that can be dropped.
        port: port to serve on; 0 for any free one.
        host: address to serve on.
        save_folder: where what a person saves goes.
        layout: layout of the dataset, whose objects can be dropped.
        device: where to compute: ``auto``, ``cpu`` or ``cuda``.
    """

    model_path: Path
    dynamic_model: str
    checkpoint: Path | None
    config: Path
    youngs_moduli: tuple[float, ...] | None
    densities: tuple[float, ...] | None
    capture: CaptureSettings
    background_path: Path | None
    palette: tuple[Path, ...]
    port: int
    host: str
    save_folder: Path
    layout: Layout
    device: str


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--model_path", type=Path, required=True, help="scene directory or file of Gaussians")
    parser.add_argument("--dynamic_model", choices=tuple(MODELS), default="ngff", help="model that predicts")
    parser.add_argument(
        "--checkpoint", type=Path, help="checkpoint of the model (default: as videogen.eval chooses it for the config)"
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("quickstart_config"),
        help="JSON of settings; the default's grid of 64 cells is simulated in seconds",
    )
    add_material_arguments(parser)
    add_capture_arguments(parser)
    parser.add_argument(
        "--background_path", type=Path, help="a background's directory or PLY file, placed as rendering places it"
    )
    parser.add_argument("--palette", type=Path, nargs="+", default=[], help="files of Gaussians that can be dropped")
    parser.add_argument("--port", type=_port, default=8089, help="port to serve on; 0: any free one")
    parser.add_argument("--host", default="localhost", help="address to serve on; 0.0.0.0: let other machines connect")
    parser.add_argument("--save_path", type=Path, default=Path("output/live"), help="where the panel saves")
    add_data_root(parser)
    parser.add_device()
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, found {text!r}")
    return int(text)


def _settings(args: Namespace) -> InteractiveSettings:
    if not args.model_path.exists():
        find_point_cloud(args.model_path)
    check_config_path(args.config)
    for path in args.palette:
        if not path.exists():
            raise InputError(f"--palette: {path}: no such file or directory")
    return InteractiveSettings(
        model_path=args.model_path,
        dynamic_model=args.dynamic_model,
        checkpoint=args.checkpoint,
        config=args.config,
        youngs_moduli=args.E,
        densities=args.density,
        capture=capture_settings(args),
        background_path=args.background_path,
        palette=tuple(args.palette),
        port=args.port,
        host=args.host,
        save_folder=args.save_path,
        layout=Layout(args.data_root),
        device=args.device,
    )


def main() -> None:
    settings = _settings(_parser().parse_args())

    from tools.live.live_viewer import LiveViewer
    from tools.live.palette import Palette
    from tools.live.simulation import Simulator
    from tools.viewer.scene.splat_source import open_background, reconstructed_background
    from tools.viewer.serving.panel_server import check_port, run_until_interrupted

    check_port(settings.host, settings.port)
    world = _open_world(settings)
    behind = settings.background_path or reconstructed_background(settings.model_path)
    background = open_background(behind) if behind else None
    palette = Palette(settings.layout, settings.palette)
    simulator = Simulator(settings.config, settings.layout.root, settings.device)
    viewer = LiveViewer(world, background, palette, simulator, settings.host, settings.port, settings.save_folder)
    shown = f"{settings.model_path}: {len(world.source()):,} Gaussians, {len(world.names)} objects"
    run_until_interrupted(viewer, settings.host, shown)


def _open_world(settings: InteractiveSettings) -> "LiveWorld":
    """Read the scene and the model, and tell what a person should know of them."""
    from dataset.config import load_config
    from dataset.scenes.scene_files import read_scene
    from dataset.scenes.scene_names import scene_of
    from dataset.simulation.initial_motion import check_names
    from dynamic_models.models.checkpoints import load_checkpoint
    from dynamic_models.models.registry import choose_checkpoint
    from gaussians.stage.command_line import resolve_device
    from tools.live.live_world import LiveWorld

    device, config = resolve_device(settings.device), load_config(settings.config)
    scene = read_scene(settings.model_path, settings.layout, capture=settings.capture)
    check_names(config, [entry.name for entry in scene.objects], settings.layout, settings.config)
    checkpoint = choose_checkpoint(settings.dynamic_model, config.lattice.dx, named=settings.checkpoint)
    model, info = load_checkpoint(checkpoint.path, settings.dynamic_model)
    name, given = scene_of(settings.model_path), (settings.youngs_moduli, settings.densities)
    world = LiveWorld(scene, name, model.to(device), info, config, device, *given)
    # What is loaded and compiled with the first frame must not keep a person waiting who has pushed.
    world.step()
    world.source().frame(1, ())
    world.reset()
    assumed = world.motion.materials.note
    for note in (*checkpoint.notes, *scene.notes, *([assumed] if assumed else [])):
        print(note, file=sys.stderr)
    return world


if __name__ == "__main__":
    run(main)
