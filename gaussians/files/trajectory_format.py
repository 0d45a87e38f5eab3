"""Describe a trajectory directory: Gaussians in motion, one HDF5 file for each frame, and what produced them.

A directory holds ``opacity.h5`` and ``shs.h5`` once, ``0000.h5``, ``0001.h5``, ... with ``pos`` and, unless left out,
``cov3D``, ``rot`` and ``vel``; and what the published format lacks: ``labels.npy``, ``source_index.npy`` and
``meta.json``. docs/formats.md describes all of it. Frame k is the state at time k * frame_dt.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from gaussians.numbers import FrameTime, NotNegative, Positive, Real, Vector
from gaussians.stage.json_files import read_versioned_json

FORMAT_VERSION = 1
PUBLISHED_FRAME_DT = 0.02


class _Record(BaseModel):
    # Files of a later version may hold fields that this one does not know.
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True)


class TrajectoryObject(_Record):
    """A ``TrajectoryObject`` describes one object of a trajectory."""

    name: str
    label: int
    """Its value in labels.npy."""
    index: int
    """Its number in the catalogue, 100 and up for objects that people added, -1 for unknown."""
    count: int
    """Its number of Gaussians."""
    moving: int | None = None
    """How many of them move, the first ones; None in trajectories from before this was recorded."""
    material: str = "jelly"
    youngs_modulus: Positive
    """Pa"""
    nu: Real
    """Poisson's ratio"""
    density: Positive
    """kg/m^3"""
    mass: NotNegative
    """kg"""
    volume: NotNegative
    """m^3"""


class Walls(_Record):
    """A ``Walls`` holds the world positions of the simulation box's sides, metres; the box is open above."""

    x: tuple[Real, Real]
    y: tuple[Real, Real]
    floor: Real


PUBLISHED_WALLS = Walls(x=(-1.94, 1.94), y=(-1.94, 1.94), floor=-0.94)
"""Of the box that all scenes are simulated in."""


class TrajectoryMeta(_Record):
    """A ``TrajectoryMeta`` is the contents of meta.json: what produced a trajectory, and whether all of it is there."""

    format_version: int = FORMAT_VERSION
    complete: bool = False
    frame_dt: FrameTime
    """seconds from frame to frame"""
    substep_dt: Positive
    """seconds"""
    frame_count: int = Field(ge=0)
    """frames that a complete directory holds"""
    dx: Positive
    """cell size of the simulation grid, metres"""
    gravity: Vector
    """m/s^2"""
    walls: Walls | None = None
    objects: list[TrajectoryObject] = []
    seed: int = 0
    settings: dict[str, Any] = {}
    """the simulation's configuration"""
    hashes: dict[str, str] = {}
    """SHA-256 of each input"""
    code_version: str = ""
    wall_time: float | None = None
    """seconds that the simulation took"""


@dataclass(frozen=True)
class Frame:
    """A ``Frame`` holds what moves of N Gaussians at one moment; what a file leaves out is None.

    Attributes:
        means: (N, 3), metres.
        covariances: (N, 6), metres^2.
        rotations: (N, 3, 3), from the initial orientation to this one.
        velocities: (N, 3), metres per second.
    """

    means: torch.Tensor
    covariances: torch.Tensor | None = None
    rotations: torch.Tensor | None = None
    velocities: torch.Tensor | None = None


def read_meta(path: str | Path) -> TrajectoryMeta | None:
    """Read meta.json of a trajectory directory; return None where there is none, as in published data.

    Raises:
        InputError: the file is damaged, lacks a field, or is of a later format version.
    """
    file = Path(path) / "meta.json"
    if not file.is_file():
        return None
    return read_versioned_json(file, FORMAT_VERSION, TrajectoryMeta)


def trajectory_digest(path: str | Path) -> str:
    """Return hexadecimal digits that tell a trajectory from others: a SHA-256 of what it was made from and its files.

    Of the HDF5 files it takes names, sizes and times of change, as reading them all would take as long as drawing them.

    Raises:
        InputError: meta.json is damaged.
    """
    meta = read_meta(path)
    contents = meta.model_dump(mode="json", exclude={"wall_time", "complete"}) if meta else None
    stats = [(file.name, file.stat()) for file in sorted(Path(path).glob("*.h5"))]
    files = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(json.dumps([contents, files], sort_keys=True).encode()).hexdigest()
