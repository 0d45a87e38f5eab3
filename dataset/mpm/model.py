"""This module holds the constants of a simulation: grid, materials of particles, gravity and boundary conditions."""

# mypy: ignore-errors

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import warp as wp

from dataset.mpm.boundary_conditions import PARTICLE_CONDITIONS, BoundaryCondition
from dataset.mpm.constitutive_laws import LAWS, LawSettings
from dataset.mpm.contact import BodyContact
from dataset.mpm.lattice import Lattice
from gaussians.numbers import Vector
from gaussians.stage.shape_checks import check_shape
from gaussians.stage.warp_runtime import start_warp

Boundaries = Literal["nodes", "surfaces"]

STABLE_SHARE = 0.68
"""Largest stable substep, as a share of the time that sound takes through a cell.

It is stable with any damping, Poisson's ratio and number of particles, as measured on jolted bodies. APIC with nu 0.3
bears all of that time, RPIC with nu 0.45 the least.
"""


@dataclass(frozen=True)
class ParticleMaterials:
    """Holds the materials of N particles.

    Attributes:
        youngs_modulus: (N,), Pa.
        nu: (N,), Poisson's ratio, 0 to below 0.5.
        density: (N,), kg/m^3.
        law: (N,), names from ``constitutive_laws.LAWS``, or one name for all.
        parameters: (N, 4), what ``Law.parameters`` of each one's law gives; None for default settings.
    """

    youngs_modulus: np.ndarray
    nu: np.ndarray
    density: np.ndarray
    law: np.ndarray | str = "jelly"
    parameters: np.ndarray | None = None

    @property
    def lame(self) -> tuple[np.ndarray, np.ndarray]:
        """Return Lame's parameters mu and lambda, (N,) each, Pa."""
        E, nu = self.youngs_modulus, self.nu
        return E / (2 * (1 + nu)), E * nu / ((1 + nu) * (1 - 2 * nu))

    @property
    def speed_of_sound(self) -> np.ndarray:
        """Return the speed of pressure waves sqrt((lambda + 2 mu) / rho), (N,), m/s, each material at its stiffest."""
        mu, lam = self.lame
        names, index = np.unique(np.broadcast_to(self.law, mu.shape), return_inverse=True)
        stiffening = np.array([LAWS[name].stiffening for name in names.tolist()])[index]
        return np.sqrt(stiffening * (lam + 2 * mu) / self.density)


def law_parameters(law: str, youngs_modulus: np.ndarray, settings: Mapping[str, Any] | None = None) -> np.ndarray:
    """Return the parameters (N, 4) of one law for N particles, as kernels take them.

    Args:
        youngs_modulus: (N,), Pa.
        settings: values of ``LAWS[law].settings`` by name; None for the defaults.
    """
    if settings is None:
        defaults = LawSettings()
        settings = {key: getattr(defaults, key) for key in LAWS[law].settings}
    parameters = np.zeros((len(youngs_modulus), 4))
    for column, values in enumerate(LAWS[law].parameters(youngs_modulus, **settings)):
        parameters[:, column] = values
    return parameters


@wp.struct
class ModelStruct:
    """Holds the particles' constants in an ``MPMModel`` for kernels."""

    mass: wp.array(dtype=float)
    volume: wp.array(dtype=float)
    mu: wp.array(dtype=float)
    lam: wp.array(dtype=float)
    law: wp.array(dtype=int)
    parameters: wp.array(dtype=wp.vec4)
    body: wp.array(dtype=int)


@dataclass(frozen=True)
class MPMModel:
    """Holds the constants of N particles on one device; ``create`` makes it.

    Attributes:
        lattice: the grid.
        gravity: m/s^2.
        rpic_damping: 0 for APIC, up to 1 for RPIC, negative for PIC.
        pic_damping: share of the affine velocity that is dropped each substep, 0 to 1.
        grid_damping: factor on grid velocities each substep; above 1 it has no effect.
        boundary_conditions: what stops or moves grid and particles.
        boundaries: where those of the grid hold, at "nodes" or "surfaces", see ``boundary_conditions.grid_conditions``.
        laws: names of the constitutive laws in use; ``law`` indexes them.
        largest_substep: (N,) seconds, the substep that each particle's elastic waves allow.
        mass, volume, mu, lam, law: (N,) on the device: kg, m^3, Pa, Pa, index.
        parameters: (N,) vec4 on the device, the laws' own numbers.
        start: (N,) vec3 on the device, metres, by which conditions choose particles; None if none do.
        contact: of bodies with a velocity field each; None: all share one.
        body: (N,) on the device, the body of each particle; None without contact.
    """

    lattice: Lattice
    gravity: Vector
    rpic_damping: float
    pic_damping: float
    grid_damping: float
    boundary_conditions: tuple[BoundaryCondition, ...]
    boundaries: Boundaries
    laws: tuple[str, ...]
    largest_substep: np.ndarray
    mass: wp.array
    volume: wp.array
    mu: wp.array
    lam: wp.array
    law: wp.array
    parameters: wp.array
    start: wp.array | None
    contact: BodyContact | None = None
    body: wp.array | None = None

    @classmethod
    def create(
        cls,
        lattice: Lattice,
        volumes: np.ndarray,
        material: ParticleMaterials,
        gravity: Vector = (0.0, 0.0, 0.0),
        rpic_damping: float = 0.0,
        pic_damping: float = 0.0,
        grid_damping: float = 1.0,
        boundary_conditions: Sequence[BoundaryCondition] = (),
        positions: np.ndarray | None = None,
        device: str = "cpu",
        boundaries: Boundaries = "nodes",
        contact: BodyContact | None = None,
    ) -> "MPMModel":
        """Check the particles' constants and copy them to ``device``.

        Args:
            volumes: (N,), m^3, usually ``lattice.particle_volumes(positions)``.
            positions: (N, 3), metres, where the particles start; for conditions of particles.
            contact: of bodies with a velocity field each; None: all share one.

        Raises:
            ValueError: arrays of other lengths, no such law, or no positions for a condition of particles.
        """
        count = len(volumes)
        start = None
        if any(condition.type in PARTICLE_CONDITIONS for condition in boundary_conditions):
            if positions is None:
                raise ValueError("positions: expected where the particles start, for conditions of particles")
            check_shape("positions", positions, count, 3)
            start = positions.astype(np.float32)
        for name in ("youngs_modulus", "nu", "density"):
            check_shape(name, getattr(material, name), count)
        names = np.broadcast_to(np.asarray(material.law), (count,))
        laws, law = np.unique(names, return_inverse=True)
        unknown = [name for name in laws.tolist() if name not in LAWS]
        if unknown:
            raise ValueError(f"law: expected one of {', '.join(LAWS)}, found {unknown[0]!r}")
        mu, lam = material.lame
        if material.parameters is None:
            parameters = np.zeros((count, 4))
            for name in laws.tolist():
                parameters[names == name] = law_parameters(name, material.youngs_modulus[names == name])
        else:
            parameters = material.parameters
            check_shape("parameters", parameters, count, 4)

        if contact is not None:
            check_shape("contact.body", contact.body, count)
        start_warp()

        def on_device(values: np.ndarray, dtype: type = np.float32) -> wp.array:
            return wp.array(np.ascontiguousarray(values, dtype), device=device)

        return cls(
            lattice=lattice,
            gravity=gravity,
            rpic_damping=rpic_damping,
            pic_damping=pic_damping,
            grid_damping=grid_damping,
            boundary_conditions=tuple(boundary_conditions),
            boundaries=boundaries,
            laws=tuple(laws.tolist()),
            largest_substep=STABLE_SHARE * lattice.dx / material.speed_of_sound,
            mass=on_device(volumes * material.density),
            volume=on_device(volumes),
            mu=on_device(mu),
            lam=on_device(lam),
            law=on_device(law, np.int32),
            parameters=wp.array(parameters.astype(np.float32), dtype=wp.vec4, device=device),
            start=None if start is None else wp.array(start, dtype=wp.vec3, device=device),
            contact=contact,
            body=None if contact is None else on_device(contact.body, np.int32),
        )

    def __len__(self) -> int:
        return len(self.mass)

    @property
    def device(self) -> wp.Device:
        return wp.get_device(self.mass.device)

    @property
    def plastic(self) -> bool:
        """Return whether any of the materials is plastic."""
        return any(LAWS[name].return_mapping is not None for name in self.laws)

    @property
    def affine_kept(self) -> tuple[float, float]:
        """Return the shares of the symmetric and of the skew affine velocity that stay after each substep."""
        if self.rpic_damping < 0:
            return 0.0, 0.0
        return (1 - self.pic_damping) * (1 - self.rpic_damping), 1 - self.pic_damping

    @cached_property
    def struct(self) -> ModelStruct:
        """Return the particles' constants for kernels."""
        struct = ModelStruct()
        for name in ("mass", "volume", "mu", "lam", "law", "parameters"):
            setattr(struct, name, getattr(self, name))
        if self.body is not None:
            struct.body = self.body
        return struct
