"""This module turns a scene into particles: it parts Gaussians that move from others, and fills objects."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from dataset.config import Config
from dataset.mpm.particle_filling import Filled, fill
from dataset.mpm.particle_volumes import object_volumes
from dataset.scenes.scene_files import Scene
from gaussians.covariance import transform_covariance
from gaussians.representation import Gaussians
from gaussians.rotations import axis_rotation
from gaussians.stage.errors import InputError


@dataclass(frozen=True)
class SceneParticles:
    """Holds a scene's Gaussians in the order of its trajectory, and the particles that fill their inside.

    Attributes:
        gaussians: N Gaussians in the world, with covariances and labels: those that move, by label, then the others.
        moving: number of Gaussians that move.
        source_index: (N,) int32, each one's row in the scene's PLY, -1 for a Gaussian that was filled in.
        filling: (M, 3), metres, in the world, positions of particles that move along, but are no Gaussians.
        filling_labels: (M,), the objects of those particles.
    """

    gaussians: Gaussians
    moving: int
    source_index: torch.Tensor
    filling: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    filling_labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))


def particles_of_scene(scene: Scene, config: Config) -> SceneParticles:
    """Leave out a scene's Gaussians below the opacity threshold, and part those that move from the others.

    Gaussians outside ``sim_area`` or of no object do not move.

    Raises:
        InputError: nothing is left that could move.
    """
    gaussians = scene.gaussians
    assert gaussians.labels is not None
    labels = gaussians.labels.numpy()
    visible = np.flatnonzero(gaussians.opacities.numpy() > config.opacity_threshold)
    moves = labels[visible] >= 0
    if config.sim_area is not None:
        rotated = gaussians.means[visible].numpy() @ config_rotation(config).numpy().T
        low, high = config.sim_area[0::2], config.sim_area[1::2]
        moves &= ((rotated > low) & (rotated < high)).all(1)
    if not moves.any():
        raise InputError(
            f"{scene.path or 'scene'}: no Gaussian to simulate: expected some of opacity over "
            f"{config.opacity_threshold:g} inside sim_area {config.sim_area}"
        )
    order = np.lexsort((labels[visible], ~moves))
    source = torch.from_numpy(visible[order].astype(np.int32))
    kept = gaussians.with_covariances()[source.long()]
    rows = source if scene.rows is None else scene.rows[source.long()].int()
    return SceneParticles(kept, int(moves.sum()), rows)


def still_gaussians(scene: SceneParticles, names: Sequence[str], config: Config) -> list[str]:
    """Return a line for each object of which some Gaussians stay where they are, outside ``sim_area``.

    Args:
        names: the objects' names, by label.
    """
    labels = scene.gaussians.labels
    assert labels is not None
    found = []
    for label, name in enumerate(names):
        still, count = int((labels[scene.moving :] == label).sum()), int((labels == label).sum())
        if still:
            area = list(config.sim_area or ())
            found.append(
                f"{still:,} of {count:,} Gaussians of object {name!r} lie outside sim_area {area} and stay where they "
                "are: move the object, or widen sim_area"
            )
    return found


def particle_volumes(positions: np.ndarray, labels: np.ndarray, config: Config) -> np.ndarray:
    """Return the volumes (N,) of particles, m^3, as ``config.volume`` says.

    Args:
        positions: (N, 3), metres, in the simulation.
        labels: (N,), the object of each.
    """
    if config.volume == "cells":
        return config.lattice.particle_volumes(positions)
    volumes = np.zeros(len(positions))
    for label in np.unique(labels):
        rows = labels == label
        volumes[rows] = object_volumes(positions[rows])
    return volumes


def config_rotation(config: Config) -> torch.Tensor:
    """Return the rotation (3, 3) from the world to the simulation, which a config's list of rotations makes up."""
    rotation = torch.eye(3)
    for degrees, axis in zip(config.rotation_degree, config.rotation_axis, strict=True):
        rotation = axis_rotation(axis, degrees) @ rotation
    return rotation


def with_filling(scene: SceneParticles, config: Config, device: torch.device | str) -> SceneParticles:
    """Return ``scene`` with new particles inside its objects, as ``config.particle_filling`` says.

    If that says ``visualize``, they are Gaussians, each like the nearest one of its object.

    Raises:
        InputError: an object needs too many cells.
    """
    settings = config.particle_filling
    if settings is None:
        return scene
    moving, rotation = scene.gaussians[: scene.moving], config_rotation(config)
    assert moving.labels is not None
    means = (moving.means.double() @ rotation.double().T).numpy()
    covariances = transform_covariance(moving.covariance(), rotation).numpy()
    opacities, labels = moving.opacities.numpy(), moving.labels.numpy()
    filled = fill(means, covariances, opacities, labels, settings, config.lattice, str(device))
    positions = filled.positions @ rotation.numpy()
    if settings.visualize:
        return _with_visible_filling(scene, filled, positions, filled.nearest(means, labels))
    return replace(scene, filling=positions, filling_labels=filled.labels)


def _with_visible_filling(
    scene: SceneParticles, filled: Filled, positions: np.ndarray, nearest: np.ndarray
) -> SceneParticles:
    new = replace(scene.gaussians[torch.from_numpy(nearest)], means=torch.from_numpy(positions))
    moving, still = scene.gaussians[: scene.moving], scene.gaussians[scene.moving :]
    assert moving.labels is not None
    order = torch.from_numpy(np.argsort(np.concatenate([moving.labels.numpy(), filled.labels]), kind="stable"))
    source = torch.cat([scene.source_index[: scene.moving], torch.full((len(filled),), -1, dtype=torch.int32)])[order]
    return SceneParticles(
        Gaussians.cat([Gaussians.cat([moving, new])[order], still]),
        scene.moving + len(filled),
        torch.cat([source, scene.source_index[scene.moving :]]),
    )
