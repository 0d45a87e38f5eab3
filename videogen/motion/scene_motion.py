"""What a trained model is told of a scene, and the motion that it predicts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from dataset.config import Config
from dataset.scenes.scene_objects import SceneObject
from dataset.simulation.initial_motion import particle_motion
from dataset.simulation.materials import check_values
from dataset.simulation.scene_particles import SceneParticles, config_rotation, with_filling
from dynamic_models.data.scene_state import World, mean_pushes
from dynamic_models.models.checkpoints import CheckpointInfo
from dynamic_models.models.interface import DynamicsModel
from dynamic_models.models.keypoint_prediction import predict_keypoints
from gaussians.files.external_forces import ExternalForce
from videogen.motion.dense_motion import DenseMotion


@dataclass(frozen=True)
class AssumedMaterials:
    """Says what prediction assumes the objects of a scene to be made of, by label; None stands for unknown.

    Attributes:
        youngs_moduli: Pa.
        densities: kg/m^3.
        note: one line if the training data's medians stand for some of them.
    """

    youngs_moduli: list[float | None]
    densities: list[float | None]
    note: str | None = None


def choose_materials(
    objects: Sequence[SceneObject],
    config: Config,
    E: Sequence[float] | None,
    density: Sequence[float] | None,
    medians: Mapping[str, float],
) -> AssumedMaterials:
    """From ``E`` and ``density`` if given, else the config, else the scene, else the training data's medians.

    Args:
        E, density: one value an object, Pa and kg/m^3, as the flags of that name give them.
        medians: ``materials`` of a checkpoint.

    Raises:
        InputError: the flags' number of values is not that of the objects.
    """
    check_values(objects, E=E, density=density)
    guessed: list[str] = []

    def choose(key: str, flag: Sequence[float] | None, setting: float | Mapping[str, float] | None) -> list:
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
        note = f"nothing says what {', '.join(guessed)} consists of: the training data's medians ({typical}) stand in; "
        note += "--E and --density say it"
    return AssumedMaterials(moduli, densities, note)


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
) -> tuple[DenseMotion, list[torch.Tensor]]:
    """How a scene moves: its Gaussians bound to keypoints, and these (steps, P, 3) for each object.

    Gaussians that the scene's simulation would leave in place stay there.

    Raises:
        InputError: a force is on an object that neither it nor ``materials`` has a mass for.
    """
    still = torch.arange(len(scene.gaussians)) >= scene.moving
    assert scene.gaussians.labels is not None
    labels = torch.where(still, -1, scene.gaussians.labels)
    gaussians = replace(scene.gaussians, labels=labels)
    present = labels[labels >= 0].unique().tolist()
    particles = _Particles.of(scene, materials, config, device)
    masses = [particles.mass_of(label) for label in present]
    rows = [
        [_or_nan(materials.youngs_moduli[label]), config.nu, _or_nan(materials.densities[label]), mass]
        for label, mass in zip(present, masses, strict=True)
    ]
    velocities = torch.zeros_like(gaussians.means)
    velocities[: scene.moving] = particles.velocities(config, objects)[: scene.moving]
    pushes = mean_pushes(forces, present, masses, steps, config.frame_dt)
    keypoints = predict_keypoints(
        model,
        gaussians,
        info.num_keypoints,
        steps,
        config.frame_dt,
        World(gravity=config.g, walls=info.world.walls),
        torch.tensor(rows),
        velocities,
        pushes,
        device,
    )
    return DenseMotion(gaussians.to(device), keypoints.labels, keypoints.rows), keypoints.positions


@dataclass(frozen=True)
class _Particles:
    """What the simulation would make of a scene: the Gaussians that move, then those that fill their inside.

    Attributes:
        positions: (N, 3), metres, in the world.
        labels: (N,), the object of each.
        masses: (N,), kg; NaN for unknown.
    """

    positions: np.ndarray
    labels: np.ndarray
    masses: np.ndarray

    @staticmethod
    def of(scene: SceneParticles, materials: AssumedMaterials, config: Config, device: torch.device) -> "_Particles":
        if config.particle_filling is not None:  # invisibly, so that the Gaussians stay what they are
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
        volumes = config.lattice.particle_volumes(in_simulation)
        return _Particles(positions, labels, densities * volumes)

    def mass_of(self, label: int) -> float:
        """Of an object, kg; NaN for unknown."""
        return float(self.masses[self.labels == label].sum())

    def velocities(self, config: Config, objects: Sequence[SceneObject]) -> torch.Tensor:
        """(N, 3), m/s, at the start."""
        weights = np.nan_to_num(self.masses, nan=1.0)
        names = [entry.name for entry in objects]
        velocities, _ = particle_motion(config, names, self.labels, self.positions, weights)
        return torch.from_numpy(velocities).float()


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
