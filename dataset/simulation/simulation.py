"""This module simulates a scene of Gaussians with the MLS-MPM solver, frame by frame."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
import warp as wp

from dataset.config import MIN_N_GRID, Config
from dataset.mpm.contact import MOST_BODIES, BodyContact
from dataset.mpm.deformation import Problem
from dataset.mpm.grid import Grid
from dataset.mpm.lattice import Lattice
from dataset.mpm.model import MPMModel, ParticleMaterials, law_parameters
from dataset.mpm.object_forces import ObjectForces
from dataset.mpm.solver import MPMSolver
from dataset.mpm.state import MPMState
from dataset.scenes.scene_files import Scene
from dataset.scenes.scene_objects import DEFAULT_DENSITY, DEFAULT_YOUNGS_MODULUS
from dataset.simulation.effects import check_cuboids, conditions_without_effect, forces_without_effect
from dataset.simulation.frame_export import FrameExporter
from dataset.simulation.initial_motion import particle_motion
from dataset.simulation.materials import ObjectMaterial, object_materials, recorded_objects
from dataset.simulation.scene_particles import (
    SceneParticles,
    config_rotation,
    particle_volumes,
    particles_of_scene,
    still_gaussians,
    with_filling,
)
from dataset.simulation.stability import (
    check_substep,
    elastic_limit,
    fall_limit,
    limits,
    pushed_speed,
    with_automatic_substep,
)
from gaussians.covariance import transform_covariance
from gaussians.files.external_forces import ExternalForce
from gaussians.files.trajectory_format import Frame, TrajectoryObject, Walls
from gaussians.files.trajectory_reader import moved
from gaussians.numbers import Vector
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError
from gaussians.stage.warp_runtime import start_warp

MIN_PARTICLES_PER_CELL = 4
GOOD_PARTICLES_PER_CELL = 6

_PROBLEMS = {
    Problem.NOT_FINITE: ("is not finite", "a smaller substep_dt"),
    Problem.TOO_FAST: ("moves more than a cell each substep", "a smaller substep_dt"),
    Problem.OUTSIDE: ("left the grid", "boundary_conditions with a bounding_box"),
}


def simulate(
    scene: Scene | Gaussians,
    config: Config,
    *,
    E: Sequence[float] | None = None,
    density: Sequence[float] | None = None,
    forces: Sequence[ExternalForce] = (),
    device: torch.device | str = "cpu",
) -> Iterator[Gaussians]:
    """Simulate Gaussians and yield them frame by frame, ``config.frame_num`` times, the first as they are.

    They come on the CPU with covariances, their colours turned along, in the order of a trajectory: those that move, by
    label, then those that do not; those too faint for ``config`` are left out.

    >>> config = Config(frame_num=50, n_grid=64, substep_dt="auto", g=(0.0, 0.0, -5.0))
    >>> frames = list(simulate(read_ply("chair.ply"), config))

    Args:
        scene: a scene, or Gaussians with positions in metres, of which each label is an object, or all one without
            labels.
        config: gravity, m/s^2, grid, boundaries, times in seconds and all other settings.
        E: Young's modulus of each object by label, Pa; None: what ``config`` says, else what the scene says, else
            1e5 Pa.
        density: density of each object by label, kg/m^3; None: in the same way, else 500 kg/m^3.
        forces: external forces on the objects, in the world.
        device: where to compute.

    Raises:
        InputError: nothing is there to move or starts outside the grid, the values are not one an object, the substep
            is too long, or, while frames are taken, the simulation breaks down.
    """
    if isinstance(scene, Gaussians):
        scene = Scene.of(scene.to("cpu"))
    objects = [
        entry.model_copy(
            update={
                "youngs_modulus": entry.youngs_modulus or DEFAULT_YOUNGS_MODULUS,
                "density": entry.density or DEFAULT_DENSITY,
            }
        )
        for entry in scene.objects
    ]
    materials = object_materials(objects, config, E, density)
    config = with_automatic_substep(config, materials)
    check_substep(config, limits(config, materials))
    particles = with_filling(particles_of_scene(scene, config), config, device)
    simulation = Simulation(particles, materials, config, device, forces)
    return (_copied(particles.gaussians, frame) for frame in simulation.frames())


def _copied(gaussians: Gaussians, frame: Frame) -> Gaussians:
    """Return ``gaussians`` at ``frame`` in new memory, because the frame's is written to again."""
    assert frame.covariances is not None
    return moved(gaussians, replace(frame, means=frame.means.clone(), covariances=frame.covariances.clone()))


class Simulation:
    """Simulates one scene.

    Args:
        scene: the Gaussians and particles that move.
        materials: what each object is made of, by label.
        config: all settings.
        device: where to compute.
        forces: external forces on the objects, in the world.
        grid: the grid's memory, which no other simulation uses meanwhile; None to allocate it.
        pushable: whether ``set_forces`` may be called while it runs.
        deterministic: whether each run on the same machine gives bitwise equal frames; ``grid`` has its own such
            setting.

    Attributes:
        lattice: the grid.

    Raises:
        InputError: something that should move starts outside the grid, or is too stiff or fast for the substep.
    """

    def __init__(
        self,
        scene: SceneParticles,
        materials: Sequence[ObjectMaterial],
        config: Config,
        device: torch.device | str,
        forces: Sequence[ExternalForce] = (),
        grid: Grid | None = None,
        deterministic: bool = False,
        pushable: bool = False,
    ) -> None:
        self._scene, self._materials, self._config = scene, materials, config
        self._rotation = config_rotation(config)
        start_warp()
        self._device = wp.get_device(str(device))
        self.lattice = config.lattice
        moving = scene.gaussians[: scene.moving]
        assert moving.labels is not None
        places = np.concatenate([moving.means.double().numpy(), scene.filling])
        self._positions = places @ self._rotation.double().numpy().T
        self._labels = np.concatenate([moving.labels.numpy(), scene.filling_labels])
        inside = self.lattice.contains(self._positions)
        if not inside.all():
            name = self._object_of(int(self._labels[np.flatnonzero(~inside)[0]]))
            raise InputError(f"object {name!r} starts outside the grid: place it inside, or set sim_area")
        check_cuboids(config)
        self._volumes = self._particle_volumes()
        self._model = self._create_model()
        self._state = self._create_state()
        self._check_speeds(forces)
        self._forces = self._create_forces(forces, pushable)
        self._told = forces_without_effect(forces, [material.name for material in materials], self._labels, config)
        self._solver = MPMSolver(self._model, self._forces, grid, deterministic)
        self._exporter = FrameExporter(
            self._state,
            scene.gaussians,
            transform_covariance(moving.covariance(), self._rotation),
            self._rotation,
            self.lattice,
            self.lattice.dx / config.substep_seconds,
            self._labels,
        )

    def _particle_volumes(self) -> np.ndarray:
        volumes = particle_volumes(self._positions, self._labels, self._config)
        for material in self._materials:
            rows = self._labels == material.label
            if material.material == "sand" and rows.any():
                volumes[rows] = volumes[rows].mean()
        return volumes

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
        material = ParticleMaterials(E, nu, density, law, parameters)
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
            boundaries=config.boundaries,
            device=str(self._device),
            contact=self._body_contact(),
        )

    def _body_contact(self) -> BodyContact | None:
        """Return the contact between objects that have a velocity field each, None if all share one."""
        labels, body = np.unique(self._labels, return_inverse=True)
        if self._config.contact.type == "grid" or len(labels) == 1:
            return None
        if len(labels) > MOST_BODIES:
            raise InputError(f"contact: expected at most {MOST_BODIES} objects of type frictional, found {len(labels)}")
        present = [self._materials[label] for label in labels.tolist()]
        names, laws = [material.name for material in present], [material.material for material in present]
        return BodyContact.create(self._positions, body, self._config.contact.coefficients(names, laws))

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
            pushed = pushed_speed(own, self._config.duration, places, masses[rows]) if own else 0.0
            found.append(fall_limit(self._config, self._object_of(label), float(speeds[rows].max()), pushed))
        check_substep(self._config, found)

    def _create_forces(self, forces: Sequence[ExternalForce], pushable: bool) -> ObjectForces | None:
        in_simulation = self._in_simulation(forces)
        if not in_simulation and not pushable:
            return None
        return ObjectForces(self._model, self._labels, in_simulation)

    def _in_simulation(self, forces: Sequence[ExternalForce]) -> list[ExternalForce]:
        """Turn forces from the world to the simulation, without those on objects that have no particle.

        The opacity cut or ``sim_area`` may leave an object without particles, which then cannot be pushed.
        """
        rotation = self._rotation.double().numpy()

        def turned(vector: Vector) -> Vector:
            x, y, z = (rotation @ vector).tolist()
            return x, y, z

        return [
            force.model_copy(update={"force": turned(force.force), "torque": turned(force.torque)})
            for force in forces
            if (self._labels == force.obj_id).any()
        ]

    def set_forces(self, forces: Sequence[ExternalForce]) -> None:
        """Replace all external forces, from the next frame on that the device has not begun.

        Args:
            forces: at most one an object at a time, in the world, in seconds since the start.

        Raises:
            ValueError: the simulation was not made with ``pushable``, or there are more forces than objects.
        """
        if self._forces is None:
            raise ValueError("pushable: expected True for a simulation whose forces are set while it runs")
        self._forces.set_forces(self._in_simulation(forces))

    def _object_of(self, label: int) -> str:
        return self._materials[label].name

    def frames(self) -> Iterator[Frame]:
        """Yield all frames of all N Gaussians, on the CPU; the first is the present state.

        The device simulates one frame ahead of what is taken from here. A frame's tensors are valid until the next
        frame is taken.

        Raises:
            InputError: something is no longer finite, has left the grid, or runs away; the message has the frame, the
                object and the setting to change.
        """
        self._exporter.start()
        for k in range(self._config.frame_num):
            if k + 1 < self._config.frame_num:
                self._solver.advance(self._state, self._config.substeps, self._config.substep_seconds)
                self._exporter.start()
            frame, problem, label = self._exporter.finish()
            if problem != Problem.NONE:
                what, setting = _PROBLEMS[problem]
                raise InputError(f"frame {k}: object {self._object_of(label)!r} {what}: try {setting}")
            yield frame

    def warnings(self) -> list[str]:
        """Return what is not wrong but seldom meant, a line each, with the setting that mends it."""
        still = still_gaussians(self._scene, [material.name for material in self._materials], self._config)
        return [*still, *conditions_without_effect(self._config, self._positions), *self._told, *self._torn_object()]

    def _torn_object(self) -> list[str]:
        """Return a line if an object has so few particles in its cells that it may tear."""
        found = {label: self._particles_per_cell(self.lattice, label) for label in np.unique(self._labels).tolist()}
        worst = min(found, key=lambda label: found[label])
        if found[worst] >= MIN_PARTICLES_PER_CELL:
            return []
        low, high = MIN_N_GRID - 1, self.lattice.n_grid  # low is coarse enough, or no grid is; high is too fine
        while high - low > 1:
            middle = (low + high) // 2
            enough = self._particles_per_cell(Lattice(middle, self.lattice.grid_lim), worst) >= GOOD_PARTICLES_PER_CELL
            low, high = (middle, high) if enough else (low, middle)
        advice = f"n_grid {low} gives it {GOOD_PARTICLES_PER_CELL}"
        if low < MIN_N_GRID:
            advice = "no n_grid is coarse enough: give it more Gaussians, or particle_filling"
        name = self._object_of(worst)
        return [f"object {name!r} has {found[worst]:.1f} particles in an occupied cell and may tear: {advice}"]

    def _particles_per_cell(self, lattice: Lattice, label: int) -> float:
        return lattice.mean_particles_per_cell(self._positions[self._labels == label])

    def objects(self) -> list[TrajectoryObject]:
        """Return the objects as meta.json describes them; masses and volumes are sums over the particles."""
        masses = self._model.mass.numpy().astype(np.float64)
        return recorded_objects(self._scene, self._materials, self._labels, masses, self._volumes)

    def walls(self) -> Walls | None:
        """Return the walls of the bounding box, None if there is no such boundary condition."""
        if not any(condition.type == "bounding_box" for condition in self._config.boundary_conditions):
            return None
        low, high = self.lattice.walls
        return Walls(x=(low[0], high[0]), y=(low[1], high[1]), floor=low[2])
