"""Tell a trained model about a scene, and predict the scene's motion with it."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dataset.config import Config
from dataset.scenes.scene_files import Scene
from dataset.scenes.scene_objects import SceneObject
from dataset.simulation.initial_motion import particle_motion
from dataset.simulation.materials import check_values, object_materials, recorded_objects
from dataset.simulation.scene_particles import (
    SceneParticles,
    config_rotation,
    particle_volumes,
    particles_of_scene,
    with_filling,
)
from dynamic_models.data.scene_state import World, mean_pushes
from dynamic_models.models.checkpoints import CheckpointInfo, load_checkpoint
from dynamic_models.models.interface import DynamicsModel
from dynamic_models.models.keypoint_prediction import predict_keypoints
from dynamic_models.models.registry import MODELS, SHIPPED, default_checkpoint
from gaussians.files.external_forces import ExternalForce
from gaussians.files.trajectory_format import Frame, TrajectoryObject, Walls
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError
from gaussians.stage.memory import check_memory
from videogen.motion.dense_motion import DenseMotion
from videogen.motion.motion import Moment, with_velocities

_BYTES_OF_A_POINT = 36  # in a frame: its position as it is computed, joined with others, and by objects


@dataclass(frozen=True)
class AssumedMaterials:
    """An ``AssumedMaterials`` says what objects are assumed to be made of, by label; None stands for unknown.

    Attributes:
        youngs_moduli: Young's modulus of each object, Pa.
        densities: density of each object, kg/m^3.
        note: one line to print if the training data's medians stand for some of them.
    """

    youngs_moduli: list[float | None]
    densities: list[float | None]
    note: str | None = None

    def complete(self, objects: Sequence[SceneObject]) -> tuple[list[float], list[float]]:
        """Return Young's moduli, Pa, and densities, kg/m^3, of ``objects``, of which none may be unknown.

        Raises:
            InputError: one of them is.
        """
        return _known("--E", self.youngs_moduli, objects), _known("--density", self.densities, objects)


def _known(flag: str, values: Sequence[float | None], objects: Sequence[SceneObject]) -> list[float]:
    for entry, value in zip(objects, values, strict=True):
        if value is None:
            raise InputError(f"{flag}: expected values, because nothing says what {entry.name!r} is made of")
    return [value for value in values if value is not None]


def choose_materials(
    objects: Sequence[SceneObject],
    config: Config,
    E: Sequence[float | None] | None,
    density: Sequence[float | None] | None,
    medians: Mapping[str, float],
    what: str = "the training data's medians",
) -> AssumedMaterials:
    """Choose materials from ``E`` and ``density``, else the config, else the scene, else the training data's medians.

    Args:
        E, density: one value an object, Pa and kg/m^3, as the flags of that name give them; None: not given.
        medians: ``materials`` of a checkpoint.
        what: what ``medians`` are, in words for the note.

    Raises:
        InputError: the flags' number of values is not that of the objects.
    """
    check_values(objects, E=E, density=density)
    guessed: list[str] = []

    def choose(key: str, flag: Sequence[float | None] | None, setting: float | Mapping[str, float] | None) -> list:
        values = []
        for i, entry in enumerate(objects):
            configured = setting.get(entry.name) if isinstance(setting, Mapping) else setting
            known = [value for value in (flag and flag[i], configured, getattr(entry, key)) if value is not None]
            values.append(known[0] if known else medians.get(key))
            if not known and values[-1] is not None and entry.name not in guessed:
                guessed.append(entry.name)
        return values

    moduli, densities = choose("youngs_modulus", E, config.E), choose("density", density, config.density)
    note = None
    if guessed:
        typical = f"{medians.get('youngs_modulus', math.nan):g} Pa, {medians.get('density', math.nan):g} kg/m^3"
        note = f"nothing says what {', '.join(guessed)} consists of: {what} ({typical}) stand in; "
        note += "--E and --density say it"
    return AssumedMaterials(moduli, densities, note)


def predict(
    scene: Scene | Gaussians,
    checkpoint: str | Path = "ngff",
    num_frames: int = 100,
    *,
    config: Config | None = None,
    E: Sequence[float] | None = None,
    density: Sequence[float] | None = None,
    forces: Sequence[ExternalForce] = (),
    device: torch.device | str = "cpu",
) -> Iterator[Gaussians]:
    """Predict how Gaussians move and yield them frame by frame, ``num_frames`` times, the first as they are.

    They come on ``device`` with covariances, their colours turned along, in the order of a trajectory: those that move,
    by label, then those that do not; those too faint for ``config`` are left out.

    >>> frames = list(predict(read_ply("chair.ply"), "ngff", 50))

    Args:
        scene: a scene, or Gaussians with positions in metres, of which each label is an object, or all one without
            labels.
        checkpoint: a trained model: the path of its checkpoint; the name of a model, whose checkpoint for ``config``
            is then taken, see ``choose_checkpoint``; or the name of a directory in ``dynamic_models/pretrained``.
        num_frames: at least 2.
        config: gravity, m/s^2, seconds from frame to frame, motion at the start, and how particles fill objects; None:
            gravity and seconds of the training data, all at rest.
        E: Young's modulus of each object by label, Pa; None: what ``config`` says, else what the scene says, else the
            median of the training data.
        density: density of each object by label, kg/m^3; None: in the same way.
        forces: external forces on the objects, in the world.
        device: where to compute.

    Raises:
        InputError: the checkpoint is missing or damaged, nothing is there to move, the values are not one an object, or
            a force is on an object whose mass nothing says.
    """
    if isinstance(scene, Gaussians):
        scene = Scene.of(scene.to("cpu"))
    named = checkpoint in MODELS or (SHIPPED / checkpoint).is_dir()
    dx = config.lattice.dx if config else 0.0
    model, info = load_checkpoint(default_checkpoint(str(checkpoint), dx) if named else checkpoint)
    config = config or Config(g=info.world.gravity, frame_dt=info.frame_dt)
    materials = choose_materials(scene.objects, config, E, density, info.materials)
    particles, device = particles_of_scene(scene, config), torch.device(device)
    motion = predict_motion(
        particles, scene.objects, materials, forces, model.to(device), info, config, num_frames, device
    )
    return motion.dense.frames(motion.keypoints)


@dataclass(frozen=True)
class PredictedMotion:
    """A ``PredictedMotion`` is the motion of a scene as a model predicts it; it is a ``Motion``.

    Attributes:
        scene: what moves.
        dense: its Gaussians, bound to the keypoints of its objects.
        keypoints: (T, P, 3) of each object, metres.
        seconds: wall time that predicting the keypoints took.
        entries: the scene's objects, by label.
        materials: what they are assumed to be made of.
        particles: the scene as the simulator would see it.
        config: settings that the prediction shares with the simulator.
        world: what the model knows of the world around the scene.
    """

    scene: SceneParticles
    dense: DenseMotion
    keypoints: list[torch.Tensor]
    seconds: float
    entries: Sequence[SceneObject]
    materials: AssumedMaterials
    particles: "_Particles"
    config: Config
    world: World

    @property
    def substep_dt(self) -> float:
        return self.config.frame_dt

    def moments(self, stored: bool) -> Iterator[Moment]:
        if not stored:
            return (Moment(gaussians, None) for gaussians in self.dense.frames(self.keypoints))
        turned = self.dense.turned_frames(self.keypoints)
        pairs = ((moved, Frame(moved.means, moved.covariance(), turns)) for moved, turns in turned)
        return with_velocities(pairs, self.config.frame_dt)

    def objects(self) -> list[TrajectoryObject]:
        known = object_materials(self.entries, self.config, *self.materials.complete(self.entries))
        particles = self.particles
        return recorded_objects(self.scene, known, particles.labels, particles.masses, particles.volumes)

    def walls(self) -> Walls:
        x0, x1, y0, y1, floor = self.world.walls
        return Walls(x=(x0, x1), y=(y0, y1), floor=floor)


def predict_motion(
    scene: SceneParticles,
    objects: Sequence[SceneObject],
    materials: AssumedMaterials,
    forces: Sequence[ExternalForce],
    model: DynamicsModel,
    info: CheckpointInfo,
    config: Config,
    steps: int,
    device: torch.device,
    progress: str | None = None,
) -> PredictedMotion:
    """Predict how a scene moves, ``steps`` frames, the present one included.

    Gaussians that the scene's simulation would leave in place stay there. ``progress`` is the title of a progress bar.

    Raises:
        InputError: a force is on an object that neither it nor ``materials`` has a mass for, the frames do not fit into
            memory, or the prediction diverges.
    """
    start = time.monotonic()
    prepared = prepare(scene, objects, materials, config, device)
    gaussians, present = prepared.gaussians, prepared.labels
    points = min(info.num_keypoints, len(gaussians)) * len(present)
    check_memory(_BYTES_OF_A_POINT * points * steps, f"{steps} frames of {points} keypoints")
    pushes = mean_pushes(forces, present, prepared.masses, steps, config.frame_dt)
    keypoints = predict_keypoints(
        model,
        gaussians,
        info.num_keypoints,
        steps,
        config.frame_dt,
        World(gravity=config.g, walls=info.world.walls),
        prepared.materials,
        prepared.velocities,
        pushes,
        device,
        progress,
    )
    dense = DenseMotion(gaussians.to(device), keypoints.labels, keypoints.rows)
    seconds = time.monotonic() - start
    return PredictedMotion(
        scene, dense, keypoints.positions, seconds, objects, materials, prepared.particles, config, info.world
    )


@dataclass(frozen=True)
class PreparedScene:
    """A ``PreparedScene`` is what a model has to know of a scene before it moves.

    Attributes:
        gaussians: those of the scene; what its simulation would leave in place has the label -1.
        labels: the labels of the O objects, ascending.
        masses: their masses, kg; NaN for unknown.
        materials: (O, 4), see ``SceneState``.
        velocities: (N, 3), of the Gaussians, m/s.
        particles: the scene as the simulator would see it.
    """

    gaussians: Gaussians
    labels: list[int]
    masses: list[float]
    materials: torch.Tensor
    velocities: torch.Tensor
    particles: "_Particles"


def prepare(
    scene: SceneParticles,
    objects: Sequence[SceneObject],
    materials: AssumedMaterials,
    config: Config,
    device: torch.device,
) -> PreparedScene:
    """Measure masses and velocities at the start of a scene's objects; see ``predict_motion``."""
    still = torch.arange(len(scene.gaussians)) >= scene.moving
    assert scene.gaussians.labels is not None
    labels = torch.where(still, -1, scene.gaussians.labels)
    present = labels[labels >= 0].unique().tolist()
    particles = _Particles.of(scene, materials, config, device)
    masses = [particles.mass_of(label) for label in present]
    rows = [
        [_or_nan(materials.youngs_moduli[label]), config.nu, _or_nan(materials.densities[label]), mass]
        for label, mass in zip(present, masses, strict=True)
    ]
    velocities = torch.zeros_like(scene.gaussians.means)
    velocities[: scene.moving] = particles.velocities(config, objects)[: scene.moving]
    gaussians = replace(scene.gaussians, labels=labels)
    return PreparedScene(gaussians, present, masses, torch.tensor(rows), velocities, particles)


@dataclass(frozen=True)
class _Particles:
    """A ``_Particles`` is what the simulation would move: a scene's Gaussians, then those that fill their inside.

    Attributes:
        positions: (N, 3), metres, in the world.
        labels: (N,), the object of each.
        masses: (N,), kg; NaN for unknown.
        volumes: (N,), m^3.
    """

    positions: np.ndarray
    labels: np.ndarray
    masses: np.ndarray
    volumes: np.ndarray

    @staticmethod
    def of(scene: SceneParticles, materials: AssumedMaterials, config: Config, device: torch.device) -> "_Particles":
        if config.particle_filling is not None:  # by particles without Gaussians, so that the picture does not change
            filling = config.particle_filling.model_copy(update={"visualize": False})
            scene = with_filling(scene, config.model_copy(update={"particle_filling": filling}), device)
        moving = scene.gaussians[: scene.moving]
        assert moving.labels is not None
        positions = np.concatenate([moving.means.double().numpy(), scene.filling])
        labels = np.concatenate([moving.labels.numpy(), scene.filling_labels])
        in_simulation = positions @ config_rotation(config).double().numpy().T
        densities = np.array([_or_nan(density) for density in materials.densities])[labels]
        for region in config.additional_material_params:
            if region.density is not None:
                densities[region.contains(in_simulation)] = region.density
        volumes = particle_volumes(in_simulation, labels, config)
        return _Particles(positions, labels, densities * volumes, volumes)

    def mass_of(self, label: int) -> float:
        """Return the mass of an object, kg; NaN for unknown."""
        return float(self.masses[self.labels == label].sum())

    def velocities(self, config: Config, objects: Sequence[SceneObject]) -> torch.Tensor:
        """Return the velocities at the start, (N, 3), m/s."""
        weights = np.nan_to_num(self.masses, nan=1.0)
        names = [entry.name for entry in objects]
        velocities, _ = particle_motion(config, names, self.labels, self.positions, weights)
        return torch.from_numpy(velocities).float()


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
