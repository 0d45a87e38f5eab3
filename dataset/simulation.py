"""A scene of Gaussians as particles of the MLS-MPM solver: from its files to the frames of its motion."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import warp as wp

from dataset.config import Config
from dataset.external_forces import ExternalForce
from dataset.initial_motion import particle_motion
from dataset.layout import find_point_cloud
from dataset.mpm.deformation import vec6
from dataset.mpm.lattice import Lattice
from dataset.mpm.model import Material, MPMModel, law_parameters
from dataset.mpm.object_forces import Force, ObjectForces
from dataset.mpm.solver import MPMSolver
from dataset.mpm.state import MPMState
from dataset.scene_objects import ObjectMaterial, SceneObject, label_rows
from dataset.stability import check_substep, elastic_limit, fall_limit, pushed_speed
from gaussians.covariance import transform_covariance
from gaussians.errors import InputError
from gaussians.ply import read_ply
from gaussians.representation import Gaussians
from gaussians.rotations import axis_rotation
from gaussians.trajectory import Frame, TrajectoryObject, Walls
from gaussians.warp_runtime import start_warp

MIN_PARTICLES_PER_CELL = 4
GOOD_PARTICLES_PER_CELL = 6


@dataclass(frozen=True)
class Scene:
    """A scene's Gaussians in the order of the trajectory: those that move, by label, then those that do not.

    Attributes:
        gaussians: N, in the world, with covariances and labels.
        moving: how many of them move.
        source_index: (N,) int32, row in the scene's PLY.
    """

    gaussians: Gaussians
    moving: int
    source_index: torch.Tensor


def load_scene(path: Path, objects: Sequence[SceneObject], config: Config) -> Scene:
    """Read a scene, leave out Gaussians below the opacity threshold, and part those that move from the others.

    Gaussians outside ``sim_area`` or of no object do not move.

    Raises:
        InputError: a file is missing or damaged, or nothing is left that could move.
    """
    ply = find_point_cloud(path)
    gaussians = read_ply(ply)
    labels = label_rows(path, objects, len(gaussians))
    visible = np.flatnonzero(gaussians.opacities.numpy() > config.opacity_threshold)
    moves = labels[visible] >= 0
    if config.sim_area is not None:
        rotated = gaussians.means[visible].numpy() @ config_rotation(config).numpy().T
        low, high = config.sim_area[0::2], config.sim_area[1::2]
        moves &= ((rotated > low) & (rotated < high)).all(1)
    if not moves.any():
        raise InputError(
            f"{ply}: no Gaussian to simulate: expected some of opacity over {config.opacity_threshold:g} inside "
            f"sim_area {config.sim_area}"
        )
    order = np.lexsort((labels[visible], ~moves))
    source = torch.from_numpy(visible[order].astype(np.int32))
    kept = replace(gaussians.with_covariances(), labels=torch.from_numpy(labels))[source.long()]
    return Scene(kept, int(moves.sum()), source)


def config_rotation(config: Config) -> torch.Tensor:
    """The rotation (3, 3) from the world to the simulation: ``rotation_degree`` about ``rotation_axis``, in turn."""
    rotation = torch.eye(3)
    for degrees, axis in zip(config.rotation_degree, config.rotation_axis, strict=True):
        rotation = axis_rotation(axis, degrees) @ rotation
    return rotation


class Simulation:
    """A scene in motion.

    Args:
        scene: what moves.
        materials: one an object, by label.
        config: all settings.
        device: where to compute.
        forces: on the objects, in the world.

    Attributes:
        lattice: the grid.

    Raises:
        InputError: something that should move starts outside the grid, or is too stiff or fast for the substep.
    """

    def __init__(
        self,
        scene: Scene,
        materials: Sequence[ObjectMaterial],
        config: Config,
        device: torch.device | str,
        forces: Sequence[ExternalForce] = (),
    ) -> None:
        self._scene, self._materials, self._config = scene, materials, config
        self._rotation = config_rotation(config)
        start_warp()
        self._device = wp.get_device(str(device))
        self.lattice = Lattice(config.n_grid, config.grid_lim)
        moving = scene.gaussians[: scene.moving]
        assert moving.labels is not None
        positions = (moving.means.double() @ self._rotation.double().T).numpy()
        inside = self.lattice.contains(positions)
        if not inside.all():
            name = self._object_of(int(moving.labels[np.flatnonzero(~inside)[0]]))
            raise InputError(f"object {name!r} starts outside the grid: place it inside, or set sim_area")
        order = self.lattice.order(positions)
        self._order = torch.from_numpy(order)
        self._positions, self._labels = positions[order], moving.labels.numpy()[order]
        self._volumes = self.lattice.particle_volumes(self._positions)
        self._model = self._create_model()
        self._state = self._create_state()
        self._check_speeds(forces)
        covariances = transform_covariance(moving.covariance(), self._rotation)[self._order]
        self._covariances: wp.array = wp.array(covariances.numpy(), dtype=vec6, device=self._device)
        self._solver = MPMSolver(self._model, self._create_forces(forces))
        self._frame = 0

    def _create_model(self) -> MPMModel:
        def by_particle(key: str) -> np.ndarray:
            return np.array([getattr(material, key) for material in self._materials])[self._labels]

        config = self._config
        E, nu, density, law = (by_particle(key) for key in ("youngs_modulus", "nu", "density", "material"))
        for region in config.additional_material_params:
            rows = region.contains(self._positions)
            for values, value in ((E, region.E), (nu, region.nu), (density, region.density)):
                if value is not None:
                    values[rows] = value
        parameters = np.zeros((len(self._labels), 4))
        for entry in self._materials:
            rows = self._labels == entry.label
            parameters[rows] = law_parameters(entry.material, E[rows], entry.settings)
        material = Material(E, nu, density, law, parameters)
        speeds = material.speed_of_sound
        fastest = int(speeds.argmax())
        name = self._object_of(int(self._labels[fastest]))
        check_substep(config, [elastic_limit(self.lattice.dx, name, speeds[fastest])])
        return MPMModel.create(
            self.lattice,
            self._volumes,
            material,
            gravity=config.g,
            rpic_damping=config.rpic_damping,
            pic_damping=config.pic_damping,
            grid_damping=config.grid_v_damping_scale,
            boundary_conditions=config.boundary_conditions,
            positions=self._positions,
            device=str(self._device),
        )

    def _create_state(self) -> MPMState:
        rotation = self._rotation.double().numpy()
        names, masses = [material.name for material in self._materials], self._model.mass.numpy().astype(np.float64)
        v, gradients = particle_motion(self._config, names, self._labels, self._positions @ rotation, masses)
        state = MPMState.at_rest(self._positions, v @ rotation.T, self._device, self._model.plastic)
        state.C.assign((rotation @ gradients @ rotation.T).astype(np.float32))
        return state

    def _check_speeds(self, forces: Sequence[ExternalForce]) -> None:
        """Refuse a substep in which something crosses half a cell because of how it starts, falls or is pushed."""
        masses, speeds = self._model.mass.numpy(), np.linalg.norm(self._state.v.numpy(), axis=1)
        found = []
        for label in np.unique(self._labels).tolist():
            rows = self._labels == label
            own = [force for force in forces if force.obj_id == label]
            places = self._positions[rows] @ self._rotation.double().numpy()
            pushed = pushed_speed(own, self._config.duration, places, masses[rows])
            found.append(fall_limit(self._config, self._object_of(label), float(speeds[rows].max()), pushed))
        check_substep(self._config, found)

    def _create_forces(self, forces: Sequence[ExternalForce]) -> ObjectForces | None:
        # Objects that the opacity cut or sim_area leaves no particle of cannot be pushed.
        present = [force for force in forces if (self._labels == force.obj_id).any()]
        if not present:
            return None
        rotation = self._rotation.double().numpy()

        def turned(vector: tuple[float, float, float]) -> tuple[float, float, float]:
            x, y, z = (rotation @ vector).tolist()
            return x, y, z

        in_simulation = [
            Force(force.obj_id, force.start, force.end, turned(force.force), turned(force.torque), force.mass)
            for force in present
        ]
        return ObjectForces(self._model, self._labels, in_simulation)

    def _object_of(self, label: int) -> str:
        return self._materials[label].name

    def advance(self) -> None:
        """Simulate to the next frame."""
        self._solver.advance(self._state, self._config.substeps, self._config.substep_seconds)
        self._frame += 1

    def frame(self) -> Frame:
        """The present moment of all N Gaussians, on the CPU.

        Raises:
            InputError: something is no longer finite, has left the grid, or runs away; the message has the frame, the
                object and the setting to change.
        """
        covariances, rotations = self._state.deformed(self._covariances)
        x, v = wp.to_torch(self._state.x).cpu(), wp.to_torch(self._state.v).cpu()
        self._check(x.numpy(), v.numpy())
        back = self._rotation.T
        still = self._scene.gaussians[self._scene.moving :]
        identity = torch.eye(3).expand(len(still), 3, 3)
        return Frame(
            means=torch.cat([self._unsorted(x) @ back.T, still.means]),
            covariances=torch.cat([transform_covariance(self._unsorted(covariances.cpu()), back), still.covariance()]),
            rotations=torch.cat([back @ self._unsorted(rotations.cpu()) @ back.T, identity]),
            velocities=torch.cat([self._unsorted(v) @ back.T, torch.zeros_like(still.means)]),
        )

    def _unsorted(self, values: torch.Tensor) -> torch.Tensor:
        result = torch.empty_like(values)
        result[self._order] = values
        return result

    def _check(self, x: np.ndarray, v: np.ndarray) -> None:
        speed = np.linalg.norm(v.astype(np.float64), axis=1)
        fastest = self.lattice.dx / self._config.substep_seconds
        with np.errstate(invalid="ignore"):
            problems = (
                (~(np.isfinite(x).all(1) & np.isfinite(speed)), "is not finite", "a smaller substep_dt"),
                (~(speed < fastest), "moves more than a cell each substep", "a smaller substep_dt"),
                (~self.lattice.contains(x), "left the grid", "boundary_conditions with a bounding_box"),
            )
        for rows, what, setting in problems:
            if rows.any():
                name = self._object_of(int(self._labels[np.flatnonzero(rows)[0]]))
                raise InputError(f"frame {self._frame}: object {name!r} {what}: try {setting}")

    def warning(self) -> str | None:
        """One line if some object has so few particles in its cells that it may tear, with the n_grid that mends it."""
        found = {label: self._particles_per_cell(self.lattice, label) for label in np.unique(self._labels).tolist()}
        worst = min(found, key=lambda label: found[label])
        if found[worst] >= MIN_PARTICLES_PER_CELL:
            return None
        low, high = 1, self.lattice.n_grid  # coarse enough, too fine
        while high - low > 1:
            middle = (low + high) // 2
            enough = self._particles_per_cell(Lattice(middle, self.lattice.grid_lim), worst) >= GOOD_PARTICLES_PER_CELL
            low, high = (middle, high) if enough else (low, middle)
        return (
            f"object {self._object_of(worst)!r} has {found[worst]:.1f} particles in an occupied cell and may tear: "
            f"n_grid {low} gives it {GOOD_PARTICLES_PER_CELL}"
        )

    def _particles_per_cell(self, lattice: Lattice, label: int) -> float:
        return lattice.mean_particles_per_cell(self._positions[self._labels == label])

    def objects(self) -> list[TrajectoryObject]:
        """What meta.json says of the objects; masses and volumes are those of the particles."""
        labels = self._scene.gaussians.labels
        assert labels is not None
        found, masses = [], self._model.mass.numpy().astype(np.float64)
        for material in self._materials:
            rows = self._labels == material.label
            found.append(
                TrajectoryObject(
                    name=material.name,
                    label=material.label,
                    index=material.index,
                    count=int((labels == material.label).sum()),
                    material=material.material,
                    youngs_modulus=material.youngs_modulus,
                    nu=material.nu,
                    density=material.density,
                    mass=float(masses[rows].sum()),
                    volume=float(self._volumes[rows].sum()),
                )
            )
        return found

    def walls(self) -> Walls | None:
        """Where the bounding box stands, None without one."""
        if not any(condition.type == "bounding_box" for condition in self._config.boundary_conditions):
            return None
        low, high = self.lattice.walls
        return Walls(x=(low[0], high[0]), y=(low[1], high[1]), floor=low[2])
