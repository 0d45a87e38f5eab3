"""This module holds the settings of the command that makes objects."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BuiltinSettings:
    """Says which builtin objects and backgrounds ``dataset.generate_objects`` makes.

    Attributes:
        data_root: root directory of the dataset.
        objects: names of the objects.
        backgrounds: names of the backgrounds.
        gaussians: number of Gaussians of each object.
        background_gaussians: number of Gaussians of each background.
        seed: seed of the random numbers.
        overwrite: whether to make again what is there.
    """

    data_root: Path
    objects: tuple[str, ...]
    backgrounds: tuple[str, ...]
    gaussians: int
    background_gaussians: int
    seed: int
    overwrite: bool


@dataclass(frozen=True)
class OwnObjectSettings:
    """Says which object of a user's own ``dataset.generate_objects`` makes.

    Attributes:
        data_root: root directory of the dataset.
        mesh: the mesh file that it is made from, None for an object made from Gaussians.
        splat: the 3D Gaussian Splatting PLY file that it is made from, None for an object made from a mesh.
        name: its name: letters, digits and hyphens.
        up: the file's axis that points upwards, such as -y; None: what the file says, else the usual one of its format.
        youngs_modulus: Young's modulus, Pa.
        density: density, kg/m^3.
        scale: factor from 0.5 m, its largest extent as stored, to its size in scenes.
        prompt: a text that says what it is.
        gaussians: number of Gaussians of an object made from a mesh.
        seed: seed of the random numbers.
        overwrite: whether to make it again if it is there.
    """

    data_root: Path
    mesh: Path | None
    splat: Path | None
    name: str
    up: str | None
    youngs_modulus: float
    density: float
    scale: float
    prompt: str
    gaussians: int
    seed: int
    overwrite: bool
