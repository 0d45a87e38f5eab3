"""This module reads the JSON files with all settings of a simulation and its cameras (``config/*.json``).

Keys and their defaults are the published ones. A key that is not listed here, or a value of another type, is an error:
a misspelt setting never falls back to a default silently.
"""

import difflib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dataset.mpm.boundary_conditions import GRID_CONDITIONS, PARTICLE_CONDITIONS, BoundaryCondition
from dataset.mpm.constitutive_laws import LAWS, LawSettings
from dataset.mpm.contact import ContactSettings
from dataset.mpm.lattice import WORLD_TO_MPM, Lattice
from dataset.mpm.particle_filling import ParticleFilling
from gaussians.cameras import FARTHEST, NEAREST, Orbit
from gaussians.limits import LARGEST, MOST_FRAMES
from gaussians.numbers import FrameTime, Positive, PositiveVector, Real, Vector, within
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json, validated

_CAMERA_KEYS = (
    *("mpm_space_vertical_upward_axis", "mpm_space_viewpoint_center", "default_camera_index", "show_hint"),
    *("init_azimuthm", "init_elevation", "init_radius", "move_camera", "delta_a", "delta_e", "delta_r"),
)

MOST_SUBSTEPS = 100_000
"""The most substeps that a frame may have: several times what diamond needs on a grid of 200 cells."""
MIN_N_GRID = 16
"""The coarsest grid, cells along a side."""


Coordinate = Annotated[float, within(-FARTHEST, FARTHEST)]
PerObject = dict[str, Positive]
PoissonRatio = Annotated[float, Field(ge=0, lt=0.5)]


class MaterialRegion(BaseModel):
    """Describes a box whose particles are made of another material than their object.

    A value that is None stays the object's.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    point: Vector
    """Centre at the start, metres, in MPM coordinates: world + (2, 2, 1)."""
    size: PositiveVector
    """Half extents, metres."""
    E: Positive | None = None
    """Young's modulus, pascals."""
    nu: PoissonRatio | None = None
    """Poisson's ratio."""
    density: Positive | None = None
    """Density, kg/m^3."""

    def contains(self, positions: np.ndarray) -> np.ndarray:
        """Return which world positions (N, 3), metres, lie inside the box: (N,) bool."""
        return np.all(np.abs(positions + WORLD_TO_MPM - self.point) < self.size, axis=1)


class Config(LawSettings):
    """Holds the settings of a simulation and of the cameras that look at it, lengths in metres and times in seconds.

    ``LawSettings`` adds the settings of the plastic materials.
    """

    opacity_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Gaussians of this opacity or less (0 to 1) are left out."""
    rotation_degree: tuple[Real, ...] = ()
    """Rotations about the origin, degrees, done one after the other before the simulation and undone after it."""
    rotation_axis: tuple[Literal[0, 1, 2], ...] = ()
    """The world axis (0, 1 or 2) of each rotation."""
    sim_area: tuple[Real, Real, Real, Real, Real, Real] | None = None
    """x0, x1, y0, y1, z0, z1, world metres after the rotations: Gaussians outside do not move. None: all move."""

    substep_dt: Positive | Literal["auto"] = 1e-4
    """Time step of the solver, seconds; must stay under 0.68 cell size / speed of sound. auto: a safe one a scene."""
    frame_dt: FrameTime = 2e-2
    """Time between two frames, seconds: a whole number of substeps."""
    frame_num: Annotated[int, Field(ge=1, le=MOST_FRAMES)] = 100
    """Number of frames; the first is the initial state."""

    material: str | dict[str, str] | None = None
    """Constitutive law, for all or by object name. None: what the scene says of its objects, else jelly."""
    E: Positive | PerObject | None = None
    """Young's modulus, pascals, for all or by object name. None: what the scene says of its objects."""
    density: Positive | PerObject | None = None
    """Density, kg/m^3, for all or by object name. None: what the scene says of its objects."""
    nu: PoissonRatio = 0.3
    """Poisson's ratio."""
    additional_material_params: tuple[MaterialRegion, ...] = ()
    """Boxes of another stiffness or density; where they overlap the last one counts."""
    particle_filling: ParticleFilling | None = None
    """How to fill the inside of objects with particles. None: not."""
    volume: Literal["cells", "object"] = "cells"
    """What particles have their volume from: cells of the grid, as published; or their object, the same on any grid."""
    g: Vector = (0.0, 0.0, 0.0)
    """Gravity, m/s^2."""

    initial_velocity: Vector | dict[str, Vector] = (0.0, 0.0, 0.0)
    """Velocity at the start, m/s in the world, for all or by object name; objects that the map lacks are at rest."""
    initial_angular_velocity: Vector | dict[str, Vector] = (0.0, 0.0, 0.0)
    """Angular velocity at the start, rad/s in the world about the object's centre of mass, in the same way."""

    n_grid: Annotated[int, Field(ge=MIN_N_GRID, le=1024)] = 200
    """Cells along each side of the grid."""
    grid_lim: Annotated[float, Field(ge=1, le=100)] = 4.0
    """Side of the grid, metres."""
    rpic_damping: Annotated[float, Field(ge=-LARGEST, le=1)] = 0.0
    """0: APIC, 1: only the rotational part of the affine velocity is kept (RPIC), negative: PIC."""
    pic_damping: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the affine velocity that is dropped each substep; 1: PIC."""
    grid_v_damping_scale: Positive = 1.0
    """Grid velocities are multiplied by this each substep, if it is below 1."""
    boundaries: Literal["nodes", "surfaces"] = "nodes"
    """Where walls and colliders hold: at nodes of the grid, as published, up to half a cell off, or at surfaces."""
    boundary_conditions: tuple[BoundaryCondition, ...] = ()
    """Walls and colliders, each {"type": name, ...}."""
    contact: ContactSettings = ContactSettings()
    """How objects meet: {"type": "grid"} or {"type": "frictional", "friction": number or map by pair}."""

    mpm_space_vertical_upward_axis: Vector = (0.0, 0.0, 1.0)
    """The direction up; only (0, 0, 1)."""
    mpm_space_viewpoint_center: tuple[Coordinate, Coordinate, Coordinate] = (2.0, 2.0, 0.7)
    """What the cameras look at, metres, in MPM coordinates: world + (2, 2, 1)."""
    default_camera_index: Literal[-1] = -1
    """-1: the orbit below."""
    show_hint: bool = False
    """Accepted because published files have it; it has no effect."""
    init_azimuthm: Real = 120.0
    """Azimuth of the first view, degrees, clockwise from above."""
    init_elevation: Annotated[float, Field(gt=-90, lt=90)] = 20.0
    """Elevation of the first view, degrees."""
    init_radius: Annotated[float, Field(gt=0), within(NEAREST, FARTHEST)] = 4.0
    """Distance of the first view from the centre, metres."""
    move_camera: bool = True
    """Whether the views differ by the three deltas; if not, all are like the first."""
    delta_a: Real = 3.6
    """Change of azimuth from view to view, degrees."""
    delta_e: Real = 0.0
    """Change of elevation from view to view, degrees."""
    delta_r: Real = 0.0
    """Change of radius from view to view, metres."""

    @field_validator("substep_dt", mode="before")
    @classmethod
    def _substep_is_a_number_or_auto(cls, substep_dt: Any) -> Any:
        if substep_dt != "auto" and type(substep_dt) not in (int, float):
            raise ValueError(f'expected a number of seconds or "auto", found {json.dumps(substep_dt)}')
        return substep_dt

    @field_validator("material")
    @classmethod
    def _material_has_a_law(cls, material: str | dict[str, str] | None) -> str | dict[str, str] | None:
        for name in material.values() if isinstance(material, dict) else (material,):
            if name is not None and name not in LAWS:
                raise ValueError(f"the material {name!r} is not supported: expected one of {', '.join(LAWS)}")
        return material

    @field_validator("sim_area")
    @classmethod
    def _area_is_not_empty(cls, area: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if area is not None and any(area[i] >= area[i + 1] for i in (0, 2, 4)):
            raise ValueError("expected x0 < x1, y0 < y1, z0 < z1")
        return area

    @field_validator("mpm_space_vertical_upward_axis")
    @classmethod
    def _up_is_z(cls, axis: Vector) -> Vector:
        if axis != (0.0, 0.0, 1.0):
            raise ValueError("expected [0, 0, 1]: z is up")
        return axis

    @model_validator(mode="after")
    def _fields_fit_together(self) -> "Config":
        if len(self.rotation_degree) != len(self.rotation_axis):
            raise ValueError("rotation_degree and rotation_axis: expected lists of the same length")
        if self.substep_dt == "auto":
            return self
        ratio = self.frame_dt / self.substep_dt
        if ratio > MOST_SUBSTEPS:
            raise ValueError(
                f"substep_dt: expected at most {MOST_SUBSTEPS} substeps in a frame, found {ratio:.4g} of "
                f"{self.substep_dt:.4g} s in {self.frame_dt:g} s"
            )
        if ratio < 0.5 or not math.isclose(ratio, round(ratio), rel_tol=1e-6):
            fitting = self.frame_dt / max(1, math.ceil(ratio))
            raise ValueError(
                f"substep_dt: expected frame_dt = {self.frame_dt:g} to be a whole number of substeps, "
                f"found {ratio:.8g} of {self.substep_dt:g}: {fitting:.8g} fits"
            )
        return self

    @property
    def substep_seconds(self) -> float:
        """Return ``substep_dt`` as a number of seconds.

        Raises:
            ValueError: it is still ``auto``; ``dataset.simulation.stability`` chooses one.
        """
        if self.substep_dt == "auto":
            raise ValueError("substep_dt: expected a number of seconds, found auto")
        return self.substep_dt

    @property
    def substeps(self) -> int:
        """Return the number of substeps from one frame to the next."""
        return round(self.frame_dt / self.substep_seconds)

    @property
    def duration(self) -> float:
        """Return the time from the first frame to the last, s."""
        return (self.frame_num - 1) * self.frame_dt

    @property
    def fps(self) -> int:
        """Return the frames per second of a video that runs in real time, at least 1."""
        return max(1, round(1 / self.frame_dt))

    @property
    def lattice(self) -> Lattice:
        """Return the simulation's grid."""
        return Lattice(self.n_grid, self.grid_lim)

    def orbit(self) -> Orbit:
        """Return the orbit of cameras around ``mpm_space_viewpoint_center``, in world coordinates."""
        x, y, z = (c - shift for c, shift in zip(self.mpm_space_viewpoint_center, WORLD_TO_MPM, strict=True))
        deltas = (self.delta_a, self.delta_e, self.delta_r) if self.move_camera else (0.0, 0.0, 0.0)
        return Orbit((x, y, z), self.init_azimuthm, self.init_elevation, self.init_radius, *deltas)

    def settings(self) -> dict[str, Any]:
        """Return all settings as plain JSON values, defaults included, as results record them."""
        return self.model_dump(mode="json")

    def simulation_settings(self) -> dict[str, Any]:
        """Return those settings that a trajectory depends on: all but the cameras', as plain JSON values."""
        return self.model_dump(mode="json", exclude=set(_CAMERA_KEYS))


def load_config(path: str | Path) -> Config:
    """Read and check a config file.

    Args:
        path: a JSON file, or the bare name of one that comes with the project, such as ``quickstart_config``.

    Raises:
        InputError: the file is missing, not JSON, or has an unknown key, a wrong type or an impossible value; the
            message names the file, the field and what was expected.
    """
    path = _shipped_config(path) or Path(path)
    values = read_json(path)
    for key in values if isinstance(values, dict) else ():
        if key not in Config.model_fields:
            shown = json.dumps(key).strip('"')  # it may hold line breaks
            raise InputError(f"{path}: {shown}: {_about_unknown_key(key)}")
    _check_condition_types(path, values)
    return validated(path, values, Config)


def _shipped_config(name: str | Path) -> Path | None:
    """Return the file of that bare name which comes with the project, if there is one."""
    if Path(name).name != str(name) or Path(name).exists():
        return None
    here = Path(__file__).parent
    folders = (here.parent / "config", here / "shipped_configs")  # of the repository, and of an installed package
    candidates = (folder / f"{Path(name).stem}.json" for folder in folders)
    return next((path for path in candidates if path.is_file()), None)


def with_flag(config: Config, name: str, value: float | str) -> Config:
    """Return ``config`` with the value that the flag ``--<name>`` gives for the setting ``name``.

    Raises:
        InputError: the setting may not have this value.
    """
    return validated(f"--{name}", config.settings() | {name: value}, Config)


def _check_condition_types(path: str | Path, values: Any) -> None:
    """Refuse boundary conditions that do not exist, in plainer words than a failed union's."""
    conditions = values.get("boundary_conditions") if isinstance(values, dict) else None
    known = (*GRID_CONDITIONS, *PARTICLE_CONDITIONS)
    for i, condition in enumerate(conditions if isinstance(conditions, list) else ()):
        kind = condition.get("type") if isinstance(condition, dict) else None
        if isinstance(condition, dict) and kind not in known:
            raise InputError(
                f"{path}: boundary_conditions.{i}.type: expected one of {', '.join(known)}, found {json.dumps(kind)}"
                + _did_you_mean(str(kind), known)
            )


def _about_unknown_key(key: str) -> str:
    return "unknown key" + _did_you_mean(key, Config.model_fields)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {close[0]!r}?" if close else ""
