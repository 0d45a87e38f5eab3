"""Draw scenes at random: objects, placed so that they fall onto each other without touching at the start.

Examples:
    python -m dataset.generate_configs --obj_num 2 --scene_num 5
    python -m dataset.generate_configs --objects statue duck can --obj_num 2 --group mine
    python -m dataset.generate_configs --obj_num 3 --scene_num 300 --group 3_9
    python -m dataset.generate_configs --obj_num 2 --floor -0.93 --group 2_0

Writes <output_path>/<group>.json, {"<i>_<object>_<object>": {scene_object_idxs, translation, scale}}. Objects are drawn
with replacement, of a split or of those that --objects names, builtin ones or your own; with --objects and without
--obj_num each of them stands in every scene once. The first stands at the origin, the others above, below or beside
it, with bounding spheres inside [-0.9, 0.9]^3 m and at least 0.05 m between surfaces. Draws that find no room are
repeated with other objects. With --floor the first one stands there instead, and the others fall onto it; the
simulation's floor, with the configurations that come with the repository, is at -0.94 m.
Scene i depends only on the seed, the group and i, so that groups differ and a longer file begins like a shorter one.
"""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from dataset.layout import Layout, add_data_root
from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError


@dataclass(frozen=True)
class ConfigSettings:
    """Holds the settings of ``dataset.generate_configs``.

    Attributes:
        layout: paths of the dataset, which holds the objects.
        path: the JSON file to write.
        group: name of the scenes' group.
        obj_num: number of objects in each scene; None: each object of ``names`` once.
        scene_num: number of scenes.
        split: which of the objects are drawn: ``train``, ``novel`` or ``all``.
        names: names of the objects that are drawn; empty for those of the split.
        seed: seed of the random numbers.
        floor: height of the floor on which the first object of every scene stands, metres; None: it is at the origin.
        overwrite: whether to replace a file that holds other scenes.
    """

    layout: Layout
    path: Path
    group: str
    obj_num: int | None
    scene_num: int
    split: str
    names: tuple[str, ...]
    seed: int
    floor: float | None
    overwrite: bool


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    add_data_root(parser)
    parser.add_argument(
        "--obj_num", type=int, help="number of objects in each scene, 1 to about 8 (default: each of --objects once)"
    )
    parser.add_argument("--scene_num", type=int, default=5, help="number of scenes")
    parser.add_argument("--input_path", type=Path, help="folder of the objects (default: <data_root>/objects)")
    parser.add_argument("--output_path", type=Path, help="folder for the file (default: <data_root>/scene_configs)")
    parser.add_argument("--group", help="name of the file and of the scenes' folder (default: the number of objects)")
    parser.add_argument(
        "--split", choices=("train", "novel", "all"), help="which objects to draw from (default: train)"
    )
    parser.add_argument("--objects", nargs="+", metavar="NAME", help="objects to draw from, instead of a split's")
    parser.add_argument(
        "--floor",
        type=float,
        metavar="HEIGHT",
        help="height of the floor on which the first object of every scene stands, metres (default: it is at the "
        "origin)",
    )
    parser.add_argument("--seed", type=int, default=42, help="same seed, same file")
    parser.add_overwrite()
    return parser


def _settings(args: Namespace) -> ConfigSettings:
    for name in ("obj_num", "scene_num"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise InputError(f"--{name}: expected 1 or more, found {value}")
    # Several words or one word with commas, as generate_objects takes them.
    names = tuple(dict.fromkeys(name for word in args.objects or () for name in word.split(",") if name))
    if args.objects is not None and not names:
        raise InputError("--objects: expected names of objects")
    if names and args.split is not None:
        raise InputError("--split, --objects: say both which objects to draw from: expected one of them")
    if args.obj_num is None and not names:
        raise InputError("--obj_num: expected the number of objects in each scene")
    if args.floor is not None and not -1 <= args.floor <= 0:
        raise InputError(f"--floor: expected a height from -1 to 0 metres, found {args.floor:g}")
    if args.seed < 0:
        raise InputError(f"--seed: expected 0 or more, found {args.seed}")
    group = args.group or str(args.obj_num or len(names))
    if Path(group).name != group or group.startswith("."):
        raise InputError(f"--group: expected a plain name such as 3_0, found {group!r}")
    layout = Layout(args.data_root, args.input_path)
    path = (args.output_path or layout.scene_configs) / f"{group}.json"
    return ConfigSettings(
        layout=layout,
        path=path,
        group=group,
        obj_num=args.obj_num,
        scene_num=args.scene_num,
        split=args.split or "train",
        names=names,
        seed=args.seed,
        floor=args.floor,
        overwrite=args.overwrite,
    )


def main() -> None:
    settings = _settings(_parser().parse_args())

    from dataset.catalog import object_by_name, objects_of_split
    from dataset.scenes.random_scenes import draw_scenes, load_bodies
    from dataset.scenes.scene_configs import scenes_to_json, write_scenes
    from gaussians.stage.json_files import read_json

    layout, path = settings.layout, settings.path
    if settings.names:
        entries = [object_by_name(name, layout) for name in settings.names]
    else:
        entries = objects_of_split(settings.split, layout)
    bodies = load_bodies(entries, layout)
    scenes = draw_scenes(bodies, settings.obj_num, settings.scene_num, settings.group, settings.seed, settings.floor)
    if path.exists() and not settings.overwrite:
        if read_json(path) != scenes_to_json(scenes):
            raise InputError(f"{path}: holds other scenes already: expected another --group, or --overwrite")
        print(f"{path} holds these {len(scenes)} scenes already")
        return
    write_scenes(path, scenes)
    print(f"wrote {len(scenes)} scenes to {path}")


if __name__ == "__main__":
    run(main)
