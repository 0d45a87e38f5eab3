"""Put the objects of each scene together: scaled, moved, and joined to one 3D Gaussian point cloud.

Example:
    python -m dataset.generate_scene --group 2
    python -m dataset.generate_scene --input scenes.json --output out/scenes

Reads scene configs (see dataset.generate_configs; metres) and writes for each scene a folder with
point_cloud/iteration_30000/point_cloud.ply, cameras.json (100 views of the default orbit), segmentation.npy (int32, the
object 0..K-1 of each Gaussian) and objects.json (what each object is made of). A folder appears when it is whole.
"""

from pathlib import Path

from tqdm import tqdm

from dataset.layout import POINT_CLOUD, Layout, add_data_root
from dataset.scenes.scene_configs import read_scenes
from dataset.scenes.scene_files import compose, describe, write_scene
from gaussians.cameras import Orbit
from gaussians.files.ply import read_ply
from gaussians.representation import Gaussians
from gaussians.stage.command_line import ArgumentParser, run, take_shard
from gaussians.stage.errors import InputError

DEFAULT_ORBIT = Orbit(center=(0.0, 0.0, -0.3), azimuth=120.0, elevation=20.0, radius=4.0)
"""The published cameras of dynamic_config.json, in world coordinates."""

_VIEWS = 100
_RESOLUTION = 1280
_FILES = (str(POINT_CLOUD), "cameras.json", "segmentation.npy", "objects.json")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    add_data_root(parser)
    parser.add_argument("--group", help="the group of scenes; names --input and --output where they are not given")
    parser.add_argument("--input", type=Path, help="scene configs (default: <data_root>/scene_configs/<group>.json)")
    parser.add_argument("--output", type=Path, help="folder for the scenes (default: <data_root>/scenes/<group>)")
    parser.add_shard()
    parser.add_overwrite()
    return parser


def main() -> None:
    args = _parser().parse_args()
    layout = Layout(args.data_root)
    if args.input is None and args.group is None:
        raise InputError("expected --input JSON or --group NAME")
    source = args.input or layout.scene_config(args.group)
    output = args.output or layout.scenes(args.group or source.stem)
    scenes = read_scenes(source, layout)
    chosen = take_shard(list(scenes), args.shard)
    todo = [name for name in chosen if args.overwrite or not all((output / name / file).is_file() for file in _FILES)]
    clouds = _read_clouds({placed.entry.name for name in todo for placed in scenes[name]}, layout)
    cameras = DEFAULT_ORBIT.cameras(range(_VIEWS), _RESOLUTION)
    for name in tqdm(todo, desc="scenes", unit="scene"):
        write_scene(output / name, compose(scenes[name], clouds), describe(scenes[name], clouds), cameras)
    print(f"wrote {len(todo)} scenes to {output} ({len(chosen) - len(todo)} were there already)")


def _read_clouds(names: set[str], layout: Layout) -> dict[str, Gaussians]:
    missing = sorted(name for name in names if not layout.object_ply(name).is_file())
    if missing:
        listed = ",".join(missing)
        raise InputError(
            f"{layout.objects}: no point cloud of {listed}: "
            f"`python -m dataset.generate_objects --data_root {layout.root} --objects {listed}` makes them"
        )
    return {name: read_ply(layout.object_ply(name)) for name in tqdm(sorted(names), desc="read objects", leave=False)}


if __name__ == "__main__":
    run(main)
