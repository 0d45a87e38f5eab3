"""Put the objects of each scene together: scaled, moved, and joined to one 3D Gaussian point cloud.

Example:
    python -m dataset.generate_scene --group 2
    python -m dataset.generate_scene --input scenes.json --output out/scenes

Reads scene configs (see dataset.generate_configs; metres) and writes for each scene a folder with
point_cloud/iteration_30000/point_cloud.ply, cameras.json (100 views of the default orbit), segmentation.npy (int32, the
object 0..K-1 of each Gaussian) and objects.json (what each object is made of). A folder appears when it is whole.
"""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from dataset.layout import Layout, add_data_root
from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError


@dataclass(frozen=True)
class SceneSettings:
    """Holds the settings of ``dataset.generate_scene``.

    Attributes:
        layout: paths of the dataset, which holds the objects.
        source: JSON file of scene configs.
        output: folder for the scenes.
        shard: (i, n), which chooses every n-th scene from the i-th on.
        overwrite: whether to put together again what is complete.
    """

    layout: Layout
    source: Path
    output: Path
    shard: tuple[int, int]
    overwrite: bool


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    add_data_root(parser)
    parser.add_argument("--group", help="the group of scenes; names --input and --output where they are not given")
    parser.add_argument("--input", type=Path, help="scene configs (default: <data_root>/scene_configs/<group>.json)")
    parser.add_argument("--output", type=Path, help="folder for the scenes (default: <data_root>/scenes/<group>)")
    parser.add_shard()
    parser.add_overwrite()
    return parser


def _settings(args: Namespace) -> SceneSettings:
    if args.input is None and args.group is None:
        raise InputError("expected --input JSON or --group NAME")
    layout = Layout(args.data_root)
    source = args.input or layout.scene_config(args.group)
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    output = args.output or layout.scenes(args.group or source.stem)
    return SceneSettings(layout, source, output, args.shard, args.overwrite)


def main() -> None:
    settings = _settings(_parser().parse_args())

    from dataset.scenes.composition import compose_scenes

    written, there = compose_scenes(
        settings.source, settings.output, settings.layout, settings.shard, settings.overwrite
    )
    print(f"wrote {written} scenes to {settings.output} ({there} were there already)")


if __name__ == "__main__":
    run(main)
