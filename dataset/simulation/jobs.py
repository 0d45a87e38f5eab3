"""This module plans which scenes are simulated with which settings, and simulates those that are not done."""

import hashlib
import json
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

import gaussians
from dataset.config import Config, load_config, with_flag
from dataset.layout import Layout, find_point_cloud, subdirectories
from dataset.mpm.grid import Grid
from dataset.scenes.scene_files import objects_of, read_scene
from dataset.scenes.scene_names import scene_directory, scene_of
from dataset.scenes.scene_objects import SceneObject, is_described
from dataset.simulation.initial_motion import check_names
from dataset.simulation.materials import ObjectMaterial, assumed_material, object_materials
from dataset.simulation.scene_particles import particles_of_scene, with_filling
from dataset.simulation.settings import SimulationSettings
from dataset.simulation.simulation import Simulation
from dataset.simulation.stability import check_substep, limits, with_automatic_substep
from gaussians.files.external_forces import ExternalForce, forces_on_scene, read_external_forces
from gaussians.files.trajectory_format import TrajectoryMeta, read_meta
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.stage.atomic_files import file_hash
from gaussians.stage.claims import claim_each
from gaussians.stage.command_line import resolve_device, take_shard
from gaussians.stage.errors import InputError


@dataclass(frozen=True)
class Job:
    """Describes one scene to simulate; all of it that does not need the scene's Gaussians is checked.

    Attributes:
        path: the scene's directory or PLY file.
        output: the trajectory's directory.
        objects: the scene's objects, by label.
        materials: what each of them is made of.
        config: the simulation's settings, with a substep in seconds.
        forces: external forces on the objects.
        captured: whether the scene is a capture, which nothing describes.
    """

    path: Path
    output: Path
    objects: list[SceneObject]
    materials: list[ObjectMaterial]
    config: Config
    forces: tuple[ExternalForce, ...]
    captured: bool


@dataclass(frozen=True)
class TrajectoryRecord:
    """Records what a trajectory is made from, as its meta.json does.

    Attributes:
        settings: the settings that its frames and files depend on, as plain values.
        hashes: SHA-256 of ``settings`` and of each of the scene's files.
    """

    settings: dict[str, Any]
    hashes: dict[str, str]


def simulate_all(settings: SimulationSettings) -> str:
    """Simulate every scene of this shard, leaving out what is complete.

    Returns:
        A line that says what was simulated and where its trajectories are.

    Raises:
        InputError: the path holds no scene, or a scene cannot be simulated with these settings or breaks down.
    """
    device = resolve_device(settings.device)
    config = load_config(settings.config)
    for name in ("substep_dt", "frame_num"):
        if (value := getattr(settings, name)) is not None:
            config = with_flag(config, name, value)
    jobs = plan(settings, config)
    grid, simulated = None, 0
    layers = max(len(job.objects) for job in jobs) if jobs and config.contact.type == "frictional" else 1
    records = {job.output: record_of(job, settings) for job in tqdm(jobs, desc="check", leave=False)}

    def is_done(job: Job) -> bool:
        return not settings.overwrite and is_complete(job.output, records[job.output])

    shown = tqdm(jobs, desc="scenes", unit="scene", disable=len(jobs) < 2)
    with closing(claim_each(shown, lambda job: job.output, is_done)) as todo:
        for job in todo:
            if config.substep_dt == "auto":
                tqdm.write(f"{job.path.name}: substep_dt {job.config.substep_seconds:.7g} s")
            # The grid is allocated for the first scene to simulate; later ones use it again.
            grid = grid or Grid(config.lattice, str(device), settings.deterministic, layers)
            simulate_job(job, records[job.output], settings, grid)
            simulated += 1
    skipped = len(jobs) - simulated
    what = f"{simulated} of {len(jobs)} scenes" if skipped else f"{len(jobs)} scene{'s' * (len(jobs) != 1)}"
    already = f", {skipped} were there already" if skipped else ""
    return f"simulated {what}, {config.frame_num} frames each{already}: {settings.output_path}"


def find_scenes(model_path: Path, output_path: Path) -> list[tuple[Path, Path]]:
    """Return pairs of a scene and the directory for its trajectory.

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


def plan(settings: SimulationSettings, config: Config) -> list[Job]:
    """Return the scenes of this shard, with the materials of their objects, their substep and their forces.

    Raises:
        InputError: a scene cannot be simulated with these settings.
    """
    layout, file = Layout(settings.data_root), settings.external_forces
    forces = read_external_forces(file) if file else {}
    where = f"{settings.config}: " if settings.substep_dt is None else "--"
    jobs = []
    for path, output in take_shard(find_scenes(settings.model_path, settings.output_path), settings.shard):
        objects = objects_of(path, settings.capture, layout)
        materials = object_materials(
            objects, config, settings.youngs_moduli, settings.densities, config_path=settings.config
        )
        check_names(config, [entry.name for entry in objects], layout, settings.config)
        own = with_automatic_substep(config, materials)
        check_substep(own, limits(own, materials), where)
        pushes = forces_on_scene(forces, scene_of(path), len(objects), file or "")
        jobs.append(Job(path, output, objects, materials, own, pushes, not is_described(path, layout)))
    return jobs


def input_hashes(path: Path) -> dict[str, str]:
    """Return the SHA-256 of each of a scene's files that a trajectory depends on."""
    segmentation = scene_directory(path) / "segmentation.npy"
    hashes = {"point_cloud": file_hash(find_point_cloud(path))}
    return hashes | ({"segmentation": file_hash(segmentation)} if segmentation.is_file() else {})


def record_of(job: Job, settings: SimulationSettings) -> TrajectoryRecord:
    """Return the record of a job's trajectory; trajectories of equal records are equal."""
    materials = [
        {key: getattr(material, key) for key in ("name", "youngs_modulus", "nu", "density", "material")}
        for material in job.materials
    ]
    recorded = job.config.simulation_settings() | {
        "materials": materials,
        "external_forces": [force.model_dump(mode="json") for force in job.forces],
        "dtype": settings.dtype,
        "save_fields": list(settings.save_fields),
        "compression": settings.compression,
    }
    if job.captured:
        recorded["capture"] = settings.capture.record()
    digest = hashlib.sha256(json.dumps(recorded, sort_keys=True).encode()).hexdigest()
    return TrajectoryRecord(recorded, {"config": digest} | input_hashes(job.path))


def is_complete(output: Path, record: TrajectoryRecord) -> bool:
    """Return whether ``output`` holds the whole trajectory that is made from ``record``.

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
    wanted, found = record.settings, meta.settings
    # Before a setting existed, simulations did what its default does now.
    defaults = Config().simulation_settings() | {"external_forces": [], "compression": "none"}
    different = [key for key in wanted if found.get(key, defaults.get(key)) != wanted[key]]
    if not different and meta.hashes != record.hashes:
        different = [key for key in {**meta.hashes, **record.hashes} if key != "config"]
        different = [key for key in different if meta.hashes.get(key) != record.hashes.get(key)]
    if different:
        raise InputError(
            f"{output}: complete, but made with other {', '.join(different)}; --overwrite simulates it again"
        )
    try:
        TrajectoryReader(output).check_frames(drawable=False)
    except InputError:  # a file was removed or damaged since
        return False
    return True


def simulate_job(job: Job, record: TrajectoryRecord, settings: SimulationSettings, grid: Grid) -> None:
    """Simulate one scene on the device and in the memory of ``grid``, and write its trajectory.

    Raises:
        InputError: a file is damaged, the output cannot be written, or the simulation breaks down; the frames until
            then stay, marked incomplete.
    """
    start, config, device = time.monotonic(), job.config, str(grid.device)
    read = read_scene(job.path, Layout(settings.data_root), job.objects, settings.capture)
    notes = read.notes
    if job.captured:
        notes += assumed_material(job.objects[0], config, settings.youngs_moduli, settings.densities)
    for note in notes:
        tqdm.write(f"{job.path.name}: {note}")
    scene = particles_of_scene(read, config)
    try:
        scene = with_filling(scene, config, device)
        simulation = Simulation(scene, job.materials, config, device, job.forces, grid)
    except InputError as error:
        raise InputError(f"{job.path}: {error}") from None
    for warning in simulation.warnings():
        tqdm.write(f"{job.path.name}: warning: {warning}")
    if config.particle_filling is not None:
        filled = len(scene.filling) + int((scene.source_index < 0).sum())
        tqdm.write(f"{job.path.name}: filled with {filled} particles")
    if settings.external_forces:
        tqdm.write(f"{job.path.name}: {len(job.forces)} external forces")
    meta = TrajectoryMeta(
        frame_dt=config.frame_dt,
        substep_dt=config.substep_seconds,
        frame_count=config.frame_num,
        dx=simulation.lattice.dx,
        gravity=config.g,
        walls=simulation.walls(),
        objects=simulation.objects(),
        settings=config.settings() | record.settings,
        hashes=record.hashes,
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
        dtype=settings.dtype,
        fields=settings.save_fields,
        compression=settings.compression,
    ) as writer:
        frames = tqdm(simulation.frames(), desc=job.path.name, total=config.frame_num, unit="frame", leave=False)
        try:
            for frame in frames:
                writer.write(frame)
        except InputError as error:
            raise InputError(f"{job.path}: {error} ({job.output} is marked incomplete)") from None
        writer.finish(wall_time=round(time.monotonic() - start, 3))
