"""Draw scenes: which objects, and where, so that they fall onto each other without touching at the start.

Example:
    python -m dataset.generate_configs --obj_num 2 --scene_num 5
    python -m dataset.generate_configs --obj_num 3 --scene_num 300 --group 3_9

Writes <output_path>/<group>.json, {"<i>_<object>_<object>": {scene_object_idxs, translation, scale}}. Objects are drawn
with replacement; the first stands at the origin, the others above, below or beside it, with bounding spheres inside
[-0.9, 0.9]^3 m and at least 0.05 m between surfaces. Draws that find no room are repeated with other objects.
Scene i depends only on the seed, the group and i, so that groups differ and a longer file begins like a shorter one.
"""

import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.catalog import ObjectEntry, objects_of_split
from dataset.layout import Layout, add_data_root
from dataset.scenes.placement import GAP, SPACE, Body, fits_at_origin, place
from dataset.scenes.scene_configs import PlacedObject, Scenes, scenes_to_json, write_scenes
from dataset.scenes.scene_names import scene_name
from gaussians.files.ply import read_ply
from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json

_DRAWS = 100


def draw_scenes(bodies: dict[ObjectEntry, Body], obj_num: int, scene_num: int, group: str, seed: int) -> Scenes:
    """``scene_num`` scenes of ``obj_num`` objects each, by name.

    Raises:
        InputError: no arrangement is found within a bounded number of tries.
    """
    scenes = {}
    for i in tqdm(range(scene_num), desc="draw scenes", unit="scene"):
        rng = np.random.default_rng([seed, zlib.crc32(group.encode()), i])
        objects = _draw_scene(bodies, obj_num, rng)
        if objects is None:
            raise InputError(
                f"--obj_num {obj_num}: scene {i}: found no room for so many objects in [-{SPACE}, {SPACE}]^3 m "
                f"with gaps of {GAP} m in {_DRAWS} draws of objects: expected fewer or smaller ones"
            )
        scenes[scene_name(i, [placed.entry.name for placed in objects])] = objects
    return scenes


def _draw_scene(bodies: dict[ObjectEntry, Body], obj_num: int, rng: np.random.Generator) -> list[PlacedObject] | None:
    entries = list(bodies)
    for _ in range(_DRAWS):
        drawn = [entries[k] for k in rng.integers(len(entries), size=obj_num)]
        translations = place([bodies[entry] for entry in drawn], rng)
        if translations is not None:
            return [
                PlacedObject(entry, (float(x), float(y), float(z)), entry.scale)
                for entry, (x, y, z) in zip(drawn, translations, strict=True)
            ]
    return None


def load_bodies(entries: list[ObjectEntry], layout: Layout) -> dict[ObjectEntry, Body]:
    """The point clouds of ``entries`` at their size in a scene.

    Raises:
        InputError: one is missing, damaged, or too large.
    """
    missing = [entry.name for entry in entries if not layout.object_ply(entry.name).is_file()]
    if missing:
        names = ",".join(missing)
        raise InputError(
            f"{layout.objects}: no point cloud of {names}: "
            f"`python -m dataset.generate_objects --data_root {layout.root} --objects {names}` makes them"
        )
    bodies = {}
    for entry in tqdm(entries, desc="read objects", unit="object", leave=False):
        path = layout.object_ply(entry.name)
        body = Body.of(read_ply(path).means.double().numpy() * entry.scale)
        if not fits_at_origin(body):
            raise InputError(
                f"{path}: too large for a scene: at scale {entry.scale} its bounding sphere "
                f"of radius {body.radius:.2f} m is not inside [-{SPACE}, {SPACE}]^3 m"
            )
        bodies[entry] = body
    return bodies


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    add_data_root(parser)
    parser.add_argument("--obj_num", type=int, required=True, help="objects a scene (1 to about 8)")
    parser.add_argument("--scene_num", type=int, default=5, help="number of scenes")
    parser.add_argument("--input_path", type=Path, help="folder of the objects (default: <data_root>/objects)")
    parser.add_argument("--output_path", type=Path, help="folder for the file (default: <data_root>/scene_configs)")
    parser.add_argument("--group", help="name of the file and of the scenes' folder (default: the number of objects)")
    parser.add_argument(
        "--split", choices=("train", "novel", "all"), default="train", help="which objects to draw from"
    )
    parser.add_argument("--seed", type=int, default=42, help="same seed, same file")
    parser.add_overwrite()
    return parser


def main() -> None:
    args = _parser().parse_args()
    for name in ("obj_num", "scene_num"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name}: expected 1 or more, found {getattr(args, name)}")
    if args.seed < 0:
        raise InputError(f"--seed: expected 0 or more, found {args.seed}")
    group = args.group or str(args.obj_num)
    if Path(group).name != group or group.startswith("."):
        raise InputError(f"--group: expected a plain name such as 3_0, found {group!r}")
    layout = Layout(args.data_root, args.input_path)
    path = (args.output_path or layout.scene_configs) / f"{group}.json"
    bodies = load_bodies(objects_of_split(args.split, layout), layout)
    scenes = draw_scenes(bodies, args.obj_num, args.scene_num, group, args.seed)
    if path.exists() and not args.overwrite:
        if read_json(path) != scenes_to_json(scenes):
            raise InputError(f"{path}: holds other scenes already: expected another --group, or --overwrite")
        print(f"{path} holds these {len(scenes)} scenes already")
        return
    write_scenes(path, scenes)
    print(f"wrote {len(scenes)} scenes to {path}")


if __name__ == "__main__":
    run(main)
