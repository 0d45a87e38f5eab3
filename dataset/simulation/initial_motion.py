"""This module gives objects and particles their velocities at the start of a simulation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dataset.catalog import object_by_name
from dataset.config import Config
from dataset.layout import Layout
from dataset.mpm.constitutive_laws import LAWS
from gaussians.numbers import Vector
from gaussians.stage.errors import InputError
from gaussians.stage.shape_checks import check_shape


def check_names(config: Config, names: Sequence[str], layout: Layout, config_path: Path | str = "config") -> None:
    """Refuse initial velocities and friction of objects that exist nowhere: a misspelt one would have none.

    Args:
        names: names of the scene's objects.
        layout: where objects that people added are described.

    Raises:
        InputError: naming the key and what it may have meant.
    """
    named = {key: getattr(config, key) for key in ("initial_velocity", "initial_angular_velocity")}
    named["contact.friction"] = dict.fromkeys(sorted(config.contact.names - LAWS.keys()))
    for key, value in named.items():
        for name in value if isinstance(value, Mapping) else ():
            if name not in names:
                try:
                    object_by_name(name, layout)
                except InputError as error:
                    raise InputError(f"{config_path}: {key}: {error}") from None


def initial_velocity(config: Config, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the velocity (3,), m/s, and angular velocity (3,), rad/s, that an object starts with in the world."""
    return _of(config.initial_velocity, name), _of(config.initial_angular_velocity, name)


def _of(value: Vector | Mapping[str, Vector], name: str) -> np.ndarray:
    return np.array(value.get(name, (0.0, 0.0, 0.0)) if isinstance(value, Mapping) else value)


def particle_motion(
    config: Config, names: Sequence[str], labels: np.ndarray, positions: np.ndarray, masses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how N particles start to move: rigidly about their objects' centres of mass, all in the world.

    Args:
        names: names of the objects, by label.
        labels: (N,), the object of each particle.
        positions: (N, 3), metres.
        masses: (N,), kg.

    Returns:
        Velocities (N, 3), m/s, and their gradients (N, 3, 3), 1/s.
    """
    check_shape("positions", positions, len(labels), 3)
    velocities, gradients = np.zeros((len(labels), 3)), np.zeros((len(labels), 3, 3))
    for label in np.unique(labels).tolist():
        rows = labels == label
        linear, angular = initial_velocity(config, names[label])
        centre = np.average(positions[rows], axis=0, weights=masses[rows])
        # Column i is the cross product of the angular velocity with unit vector i.
        gradients[rows] = np.cross(angular, np.eye(3)).T
        velocities[rows] = linear + np.cross(angular, positions[rows] - centre)
    return velocities, gradients
