"""This module chooses what each object of a scene is made of for the simulator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset.catalog import FIRST_CUSTOM_INDEX
from dataset.config import Config
from dataset.mpm.constitutive_laws import LAWS
from dataset.scenes.scene_objects import SceneObject
from dataset.simulation.scene_particles import SceneParticles
from gaussians.files.trajectory_format import TrajectoryObject
from gaussians.stage.errors import InputError


@dataclass(frozen=True)
class ObjectMaterial:
    """Describes an object with everything that the solver needs.

    Attributes:
        name: what the object is called.
        label: the label of its Gaussians.
        index: its number in the catalogue, -1 for unknown.
        youngs_modulus: Young's modulus, Pa.
        nu: Poisson's ratio.
        density: density, kg/m^3.
        material: name of the constitutive law.
        settings: values of the law's own settings, ``LAWS[material].settings``, by name.
    """

    name: str
    label: int
    index: int
    youngs_modulus: float
    nu: float
    density: float
    material: str
    settings: Mapping[str, Any]


def check_values(objects: Sequence[SceneObject], **flags: Sequence[float | None] | None) -> None:
    """Refuse flags of ``add_material_arguments``, by name, whose number of values is not that of the objects.

    Raises:
        InputError: naming the flag and the objects.
    """
    for flag, values in flags.items():
        if values is not None and len(values) != len(objects):
            names = ", ".join(entry.name for entry in objects)
            raise InputError(f"--{flag}: expected {len(objects)} values ({names}), found {len(values)}")


def assumed_material(
    entry: SceneObject, config: Config, E: Sequence[float] | None, density: Sequence[float] | None
) -> tuple[str, ...]:
    """Return a sentence that says what stands in for the material of a capture; none where all of it is told.

    Args:
        entry: the capture.
        E, density: its values in Pa and kg/m^3, as the flags of that name give them; None without a flag.
    """
    told = {"--E": (E, config.E, f"{entry.youngs_modulus:g} Pa")}
    told["--density"] = (density, config.density, f"{entry.density:g} kg/m^3")
    lacking = {
        flag: value
        for flag, (given, setting, value) in told.items()
        if given is None and (setting is None or (isinstance(setting, Mapping) and entry.name not in setting))
    }
    if not lacking:
        return ()
    return (f"nothing says what it consists of: assumed {', '.join(lacking.values())} ({', '.join(lacking)} say it)",)


def object_materials(
    objects: Sequence[SceneObject],
    config: Config,
    E: Sequence[float] | None = None,
    density: Sequence[float] | None = None,
    config_path: Path | str = "config",
) -> list[ObjectMaterial]:
    """Return what each object is made of, as ``E`` and ``density``, else the config, else the scene itself say.

    A config's map by name must name every object of the catalogue that the scene holds; objects that people added
    (index 100 and up) and captures may speak for themselves.

    Args:
        E, density: one value for each object, Pa and kg/m^3, as the flags of that name give them; None without a flag.
        config_path: name of the config in messages of errors.

    Raises:
        InputError: a value is missing, or the flags' number of values is not that of the objects.
    """
    check_values(objects, E=E, density=density)
    laws = [_law(config, entry, config_path) for entry in objects]
    return [
        ObjectMaterial(
            name=entry.name,
            label=entry.label,
            index=entry.index,
            youngs_modulus=E[i] if E else _choose("E", config.E, entry, entry.youngs_modulus, config_path),
            nu=config.nu,
            density=density[i] if density else _choose("density", config.density, entry, entry.density, config_path),
            material=laws[i],
            settings={key: _setting(key, config, entry, config_path) for key in LAWS[laws[i]].settings},
        )
        for i, entry in enumerate(objects)
    ]


def _choose(
    key: str,
    setting: float | Mapping[str, float] | None,
    entry: SceneObject,
    own: float | None,
    config_path: Path | str,
) -> float:
    if isinstance(setting, Mapping):
        if entry.name in setting:
            return setting[entry.name]
        if own is None or 0 <= entry.index < FIRST_CUSTOM_INDEX:
            raise InputError(f"{config_path}: {key}: no value for object {entry.name!r} of the scene")
    elif setting is not None:
        return setting
    if own is None:
        raise InputError(
            f"{config_path}: {key}: expected a value, because the scene does not say what {entry.name!r} is made of "
            f"(or give --{key})"
        )
    return own


def _law(config: Config, entry: SceneObject, config_path: Path | str) -> str:
    if isinstance(config.material, Mapping):
        if entry.name not in config.material:
            raise InputError(f"{config_path}: material: no value for object {entry.name!r} of the scene")
        return config.material[entry.name]
    law = config.material or entry.material or "jelly"
    if law not in LAWS:
        raise InputError(f"object {entry.name!r}: material {law!r} is not supported: expected one of {', '.join(LAWS)}")
    return law


def _setting(key: str, config: Config, entry: SceneObject, config_path: Path | str) -> Any:
    value = getattr(config, key)
    if not isinstance(value, Mapping):
        return value
    if entry.name not in value:
        raise InputError(f"{config_path}: {key}: no value for object {entry.name!r} of the scene")
    return value[entry.name]


def recorded_objects(
    scene: SceneParticles,
    materials: Sequence[ObjectMaterial],
    labels: np.ndarray,
    masses: np.ndarray,
    volumes: np.ndarray,
) -> list[TrajectoryObject]:
    """Return the objects of a scene as meta.json of its trajectory describes them.

    Args:
        materials: what each object is made of, by label.
        labels: (N,), the object of each particle, which are the Gaussians that move and those that fill them.
        masses: (N,), kg.
        volumes: (N,), m^3.
    """
    of_gaussians, found = scene.gaussians.labels, []
    assert of_gaussians is not None
    for material in materials:
        rows = labels == material.label
        found.append(
            TrajectoryObject(
                name=material.name,
                label=material.label,
                index=material.index,
                count=int((of_gaussians == material.label).sum()),
                moving=int((of_gaussians[: scene.moving] == material.label).sum()),
                material=material.material,
                youngs_modulus=material.youngs_modulus,
                nu=material.nu,
                density=material.density,
                mass=float(masses[rows].sum()),
                volume=float(volumes[rows].sum()),
            )
        )
    return found
