"""Let the simulator move a scene in the place of a model."""

import time
from collections.abc import Iterator, Sequence

import torch

from dataset.config import Config
from dataset.scenes.scene_objects import DEFAULT_DENSITY, DEFAULT_YOUNGS_MODULUS, SceneObject
from dataset.simulation.materials import object_materials
from dataset.simulation.scene_particles import SceneParticles, with_filling
from dataset.simulation.simulation import Simulation
from dataset.simulation.stability import check_substep, limits, with_automatic_substep
from gaussians.files.external_forces import ExternalForce
from gaussians.files.trajectory_format import Frame, TrajectoryObject, Walls
from gaussians.files.trajectory_reader import moved
from videogen.motion.motion import Moment
from videogen.motion.scene_motion import AssumedMaterials

ASSUMED_MATERIAL = {"youngs_modulus": DEFAULT_YOUNGS_MODULUS, "density": DEFAULT_DENSITY}
"""What stands in for the material of objects that nothing is known of, Pa and kg/m^3."""


class SimulatedMotion:
    """A ``SimulatedMotion`` is the motion of a scene as the simulator computes it; it is a ``Motion``.

    The simulator runs while the moments are taken, which can be done once.

    Args:
        scene: what moves; it is filled as ``config`` says.
        objects: its objects, by label.
        materials: what they are made of.
        forces: external forces on them, in the world.
        config: all settings, of which ``frame_num`` is the number of frames.
        device: where to compute.

    Attributes:
        scene: what moves, filled.
        config: all settings, with a substep in seconds.
        seconds: wall time that simulating took so far.
        substep_dt: time step of the solver, seconds.

    Raises:
        InputError: a material is unknown, something starts outside the grid, or the substep is too long.
    """

    def __init__(
        self,
        scene: SceneParticles,
        objects: Sequence[SceneObject],
        materials: AssumedMaterials,
        forces: Sequence[ExternalForce],
        config: Config,
        device: torch.device,
    ) -> None:
        start = time.monotonic()
        own = object_materials(objects, config, *materials.complete(objects))
        config = with_automatic_substep(config, own)
        check_substep(config, limits(config, own))
        self.config, self.substep_dt = config, config.substep_seconds
        self.scene = with_filling(scene, config, device)
        self._device = device
        self._simulation = Simulation(self.scene, own, config, device, forces)
        self.seconds = time.monotonic() - start

    def moments(self, stored: bool) -> Iterator[Moment]:
        rest, frames = self.scene.gaussians.to(self._device), self._simulation.frames()
        while (frame := self._next(frames)) is not None:
            yield Moment(moved(rest, _to(frame, self._device)), frame if stored else None)

    def _next(self, frames: Iterator[Frame]) -> Frame | None:
        start = time.monotonic()
        frame = next(frames, None)
        self.seconds += time.monotonic() - start
        return frame

    def objects(self) -> list[TrajectoryObject]:
        return self._simulation.objects()

    def walls(self) -> Walls | None:
        return self._simulation.walls()

    def warnings(self) -> list[str]:
        """Return what is not wrong but seldom meant, a line each."""
        return self._simulation.warnings()


def _to(frame: Frame, device: torch.device) -> Frame:
    """Return what of a frame is drawn, on ``device``."""
    assert frame.covariances is not None
    assert frame.rotations is not None
    return Frame(frame.means.to(device), frame.covariances.to(device), frame.rotations.to(device))
