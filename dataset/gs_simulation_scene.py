"""Simulate scenes of Gaussians with MLS-MPM and write their motion.

--model_path is one scene (a directory with a 3DGS PLY, or the PLY itself) or a directory of scenes; of such a group
each scene gets a directory of its own below --output_path. What the objects are made of comes from the config, else
from the scene's objects.json; --E and --density override both. External forces on a scene's objects come from a JSON
file, in which the scene is called as its directory. A scene that is complete and was made with the same settings and
forces is skipped. Processes that are given the same scenes share them. SIGTERM drops the scene in hand, and the command
can be given again.

Units: metres, seconds, pascals, kg/m^3. docs/formats.md describes the files.

Examples:
  python -m dataset.gs_simulation_scene --model_path data/GSCollision/scenes/2/0_ball_duck \\
      --config config/dynamic_config.json --output_path data/GSCollision/mpm/2/0_ball_duck --save_h5
  python -m dataset.gs_simulation_scene --model_path data/GSCollision/scenes/2 \\
      --config config/dynamic_config.json --output_path data/GSCollision/mpm/2 --shard 0/4
  python -m dataset.gs_simulation_scene --model_path chair.ply --config config/dynamic_config.json \\
      --output_path output/chair --E '[1e5]' --density '[400]' --substep_dt auto
  python -m dataset.gs_simulation_scene --model_path data/GSCollision/scenes/2/0_ball_duck \\
      --config config/dynamic_config.json --output_path output/pushed --use_external_forces \\
      --external_forces_config forces.json
"""

import hashlib
import json
import math
import time
from argparse import ArgumentTypeError, Namespace
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

import gaussians
from dataset.config import Config, load_config, with_flag
from dataset.layout import Layout, add_data_root, find_point_cloud, subdirectories
from dataset.mpm.grid import Grid
from dataset.mpm.lattice import Lattice
from dataset.scenes.external_forces import add_force_arguments, forces_asked_for, forces_on_scene
from dataset.scenes.scene_files import read_scene
from dataset.scenes.scene_names import scene_directory, scene_of
from dataset.scenes.scene_objects import SceneObject, scene_objects
from dataset.simulation.initial_motion import check_names
from dataset.simulation.materials import ObjectMaterial, add_material_arguments, object_materials
from dataset.simulation.scene_particles import particles_of_scene, with_filling
from dataset.simulation.simulation import Simulation
from dataset.simulation.stability import check_substep, limits, with_automatic_substep
from gaussians.files.external_forces import ExternalForce
from gaussians.files.storage_options import COMPRESSIONS, FIELDS
from gaussians.files.trajectory_format import TrajectoryMeta, read_meta
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.stage.atomic_files import file_hash
from gaussians.stage.claims import claim_each
from gaussians.stage.command_line import ArgumentParser, resolve_device, run, take_shard
from gaussians.stage.errors import InputError


@dataclass(frozen=True)
class Job:
    """One scene to simulate, with everything checked that can be without reading its Gaussians."""

    path: Path
    output: Path
    objects: list[SceneObject]
    materials: list[ObjectMaterial]
    config: Config
    forces: tuple[ExternalForce, ...]


def parse_fields(text: str) -> tuple[str, ...]:
    """Names of a frame's datasets, separated by commas; for ``argparse``."""
    fields = tuple(dict.fromkeys(text.split(",")))
    if "pos" not in fields or not set(fields) <= set(FIELDS):
        raise ArgumentTypeError(f"expected pos and any of {', '.join(FIELDS)}, found {text!r}")
    return fields


def parse_substep(text: str) -> float | Literal["auto"]:
    """A positive number or ``auto``; for ``argparse``."""
    if text == "auto":
        return "auto"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"expected auto or a positive number of seconds, found {text!r}")
    return value


def parse_arguments() -> Namespace:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--model_path", type=Path, required=True, help="a scene or a directory of scenes")
    parser.add_argument("--config", type=Path, required=True, help="JSON of settings, e.g. config/dynamic_config.json")
    parser.add_argument("--output_path", type=Path, required=True, help="directory for the trajectory (or one a scene)")
    parser.add_argument(
        "--save_h5", action="store_true", help="accepted as published; the trajectory is always written as HDF5"
    )
    add_material_arguments(parser)
    parser.add_argument(
        "--substep_dt",
        type=parse_substep,
        metavar="auto|SECONDS",
        help="time step of the solver instead of the config's; auto: for each scene a safe one, which is printed",
    )
    parser.add_argument("--frame_num", type=int, help="frames to simulate instead of the config's")
    add_force_arguments(parser)
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16"),
        default="float32",
        help="type of positions, rotations and velocities on disk; float16 is the published one, half the size",
    )
    parser.add_argument(
        "--compression",
        choices=COMPRESSIONS,
        default="none",
        help="how frames lie on disk; any but none detects damaged bytes when read (docs/formats.md: sizes and times)",
    )
    parser.add_argument(
        "--save_fields",
        type=parse_fields,
        default=FIELDS,
        metavar=",".join(FIELDS),
        help="what a frame holds; pos alone suffices for training",
    )
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="bitwise equal results in each run on the same GPU, a little slower; CPU runs always are",
    )
    add_data_root(parser)
    parser.add_device()
    parser.add_shard()
    parser.add_overwrite()
    return parser.parse_args()


def find_scenes(model_path: Path, output_path: Path) -> list[tuple[Path, Path]]:
    """Pairs of scene and output directory.

    Raises:
        InputError: ``model_path`` is neither a scene nor a directory of scenes.
    """
    try:
        find_point_cloud(model_path)
    except InputError:
        scenes = [path for path in subdirectories(model_path) if _is_scene(path)]
        if not scenes:
            raise
        return [(path, output_path / path.name) for path in scenes]
    return [(model_path, output_path)]


def _is_scene(path: Path) -> bool:
    try:
        find_point_cloud(path)
    except InputError:
        return False
    return True


def plan(arguments: Namespace, config: Config) -> list[Job]:
    """The scenes of this shard, with the materials of their objects, their substep and their forces.

    Raises:
        InputError: a scene cannot be simulated with these settings.
    """
    layout = Layout(arguments.data_root)
    forces = forces_asked_for(arguments)
    where = f"{arguments.config}: " if arguments.substep_dt is None else "--"
    jobs = []
    for path, output in take_shard(find_scenes(arguments.model_path, arguments.output_path), arguments.shard):
        objects = scene_objects(path, layout)
        materials = object_materials(objects, config, arguments.E, arguments.density, arguments.config)
        check_names(config, [entry.name for entry in objects], layout, arguments.config)
        own = with_automatic_substep(config, materials)
        check_substep(own, limits(own, materials), where)
        pushes = forces_on_scene(forces, scene_of(path), len(objects), arguments.external_forces_config)
        jobs.append(Job(path, output, objects, materials, own, pushes))
    return jobs


def input_hashes(path: Path) -> dict[str, str]:
    """SHA-256 of the scene's files that a trajectory depends on."""
    segmentation = scene_directory(path) / "segmentation.npy"
    hashes = {"point_cloud": file_hash(find_point_cloud(path))}
    return hashes | ({"segmentation": file_hash(segmentation)} if segmentation.is_file() else {})


def describe(job: Job, arguments: Namespace) -> dict[str, Any]:
    """What a trajectory is made from, as plain values: those of equal descriptions are equal."""
    materials = [
        {key: getattr(material, key) for key in ("name", "youngs_modulus", "nu", "density", "material")}
        for material in job.materials
    ]
    stored = {
        "dtype": arguments.dtype,
        "save_fields": list(arguments.save_fields),
        "compression": arguments.compression,
    }
    forces = {"external_forces": [force.model_dump(mode="json") for force in job.forces]}
    settings = job.config.simulation_settings() | {"materials": materials} | forces | stored
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return {"settings": settings, "hashes": {"config": digest} | input_hashes(job.path)}


def is_complete(output: Path, description: dict[str, Any]) -> bool:
    """Whether ``output`` holds the whole trajectory that ``description`` would give.

    Raises:
        InputError: it holds a trajectory that other settings or inputs gave, or a published one.
    """
    meta = read_meta(output)
    if meta is None:
        if (output / "0000.h5").is_file():
            raise InputError(f"{output}: holds a trajectory that was not made here; --overwrite replaces it")
        return False
    if not meta.complete:
        return False
    wanted, found = description["settings"], meta.settings
    # A setting that did not exist yet was what its default does now.
    defaults = Config().simulation_settings() | {"external_forces": [], "compression": "none"}
    different = [key for key in wanted if found.get(key, defaults.get(key)) != wanted[key]]
    if not different and meta.hashes != description["hashes"]:
        different = [key for key in {**meta.hashes, **description["hashes"]} if key != "config"]
        different = [key for key in different if meta.hashes.get(key) != description["hashes"].get(key)]
    if different:
        raise InputError(
            f"{output}: complete, but made with other {', '.join(different)}; --overwrite simulates it again"
        )
    try:
        TrajectoryReader(output).check_frames(drawable=False)
    except InputError:  # somebody removed or damaged a file since
        return False
    return True


def simulate(job: Job, description: dict[str, Any], arguments: Namespace, grid: Grid) -> None:
    """Simulate one scene on the device and in the memory of ``grid``, and write its trajectory.

    Raises:
        InputError: a file is damaged, the output cannot be written, or the simulation breaks down; the frames until
            then stay, marked incomplete.
    """
    start, config, device = time.monotonic(), job.config, str(grid.device)
    scene = particles_of_scene(read_scene(job.path, objects=job.objects), config)
    try:
        scene = with_filling(scene, config, device)
        simulation = Simulation(scene, job.materials, config, device, job.forces, grid)
    except InputError as error:
        raise InputError(f"{job.path}: {error}") from None
    if warning := simulation.warning():
        tqdm.write(f"{job.path.name}: warning: {warning}")
    if config.particle_filling is not None:
        filled = len(scene.filling) + int((scene.source_index < 0).sum())
        tqdm.write(f"{job.path.name}: filled with {filled} particles")
    if arguments.use_external_forces:
        tqdm.write(f"{job.path.name}: {len(job.forces)} external forces")
    meta = TrajectoryMeta(
        frame_dt=config.frame_dt,
        substep_dt=config.substep_seconds,
        frame_count=config.frame_num,
        dx=simulation.lattice.dx,
        gravity=config.g,
        walls=simulation.walls(),
        objects=simulation.objects(),
        settings=config.settings() | description["settings"],
        hashes=description["hashes"],
        code_version=gaussians.__version__,
    )
    cloud = scene.gaussians
    with TrajectoryWriter(
        job.output,
        meta,
        cloud.opacities,
        cloud.sh,
        labels=cloud.labels,
        source_index=scene.source_index,
        dtype=arguments.dtype,
        fields=arguments.save_fields,
        compression=arguments.compression,
    ) as writer:
        frames = tqdm(simulation.frames(), desc=job.path.name, total=config.frame_num, unit="frame", leave=False)
        try:
            for frame in frames:
                writer.write(frame)
        except InputError as error:
            raise InputError(f"{job.path}: {error} ({job.output} is marked incomplete)") from None
        writer.finish(wall_time=round(time.monotonic() - start, 3))


def main() -> None:
    arguments = parse_arguments()
    device = resolve_device(arguments.device)
    config = load_config(arguments.config)
    for name in ("substep_dt", "frame_num"):
        if (value := getattr(arguments, name)) is not None:
            config = with_flag(config, name, value)
    jobs = plan(arguments, config)
    lattice, grid, simulated = Lattice(config.n_grid, config.grid_lim), None, 0
    descriptions = {job.output: describe(job, arguments) for job in tqdm(jobs, desc="check", leave=False)}

    def is_done(job: Job) -> bool:
        return not arguments.overwrite and is_complete(job.output, descriptions[job.output])

    shown = tqdm(jobs, desc="scenes", unit="scene", disable=len(jobs) < 2)
    with closing(claim_each(shown, lambda job: job.output, is_done)) as todo:
        for job in todo:
            if config.substep_dt == "auto":
                tqdm.write(f"{job.path.name}: substep_dt {job.config.substep_seconds:.7g} s")
            # Allocated for the first scene to simulate; those after it use the same.
            grid = grid or Grid(lattice, str(device), arguments.deterministic)
            simulate(job, descriptions[job.output], arguments, grid)
            simulated += 1
    skipped = len(jobs) - simulated
    what = f"{simulated} of {len(jobs)} scenes" if skipped else f"{len(jobs)} scene{'s' * (len(jobs) != 1)}"
    already = f", {skipped} were there already" if skipped else ""
    print(f"simulated {what}, {config.frame_num} frames each{already}: {arguments.output_path}")


if __name__ == "__main__":
    run(main)
