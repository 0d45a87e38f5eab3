"""Predict the motion of a scene one frame at a time, with pushes that nobody knows before.

>>> live = LiveMotion(scene, "ngff", config)
>>> live.push(0, force=(2.0, 0.0, 0.0), seconds=0.1)
>>> gaussians = live.step()
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from dataset.config import Config
from dataset.scenes.scene_files import Scene
from dataset.simulation.scene_particles import particles_of_scene
from dynamic_models.data.scene_state import SceneState, World, mean_pushes
from dynamic_models.data.windows import differences
from dynamic_models.models.building_blocks.body_frame import centers
from dynamic_models.models.checkpoints import CheckpointInfo
from dynamic_models.models.interface import FrameModel
from dynamic_models.models.keypoint_prediction import keypoints_at_start
from dynamic_models.models.rollout import Rollout
from gaussians.files.external_forces import ExternalForce
from gaussians.files.trajectory_format import Frame
from gaussians.numbers import Vector
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError
from videogen.motion.dense_motion import DenseMotion
from videogen.motion.scene_motion import AssumedMaterials, choose_materials, prepare


@dataclass(frozen=True)
class LiveState:
    """A ``LiveState`` is a moment that a prediction may go on from.

    Attributes:
        keypoints: (O, P, 3), metres.
        velocities: (O, P, 3), m/s.
        frame: its number.
    """

    keypoints: torch.Tensor
    velocities: torch.Tensor
    frame: int


class LiveMotion:
    """A ``LiveMotion`` predicts a scene frame by frame, and records the pushes on it.

    As long as nothing but pushes has acted since the start, ``forces`` are those under which ``predict_motion``
    predicts the same frames. What objects are made of can change while they move: the model then goes on from their
    places and velocities, and forgets which contacts they are in.

    Args:
        scene: objects at rest.
        model: a trained model, on ``device``.
        info: what its checkpoint says.
        config: gravity, m/s^2, seconds from frame to frame, and motion at the start.
        device: where to compute.
        E, density: of each object by label, Pa and kg/m^3; None: what config, scene or training data say.

    Raises:
        InputError: nothing is there to move, or the values are not one an object.
    """

    def __init__(
        self,
        scene: Scene,
        model: FrameModel,
        info: CheckpointInfo,
        config: Config,
        device: torch.device | str = "cpu",
        *,
        E: Sequence[float | None] | None = None,
        density: Sequence[float | None] | None = None,
    ) -> None:
        self.scene, self.config, self._model, self._info = scene, config, model, info
        self._device = torch.device(device)
        self._particles = particles_of_scene(scene, config)
        self._materials = choose_materials(scene.objects, config, E, density, info.materials)
        self._prepare()
        prepared = self._prepared
        world = World(gravity=config.g, walls=info.world.walls)
        count, start = info.num_keypoints, prepared.gaussians
        self._start = keypoints_at_start(start, count, world, prepared.materials, prepared.velocities)
        self._dense = DenseMotion(start.to(self._device), self._start.labels, self._start.rows)
        self.reset()

    def _prepare(self) -> None:
        scene, objects = self._particles, self.scene.objects
        self._prepared = prepare(scene, objects, self._materials, self.config, self._device)

    @property
    def labels(self) -> list[int]:
        """Return the labels of the objects that move, ascending."""
        return self._start.labels

    @property
    def masses(self) -> dict[int, float]:
        """Return the mass of each object, kg; NaN for unknown."""
        return dict(zip(self._prepared.labels, self._prepared.masses, strict=True))

    @property
    def materials(self) -> AssumedMaterials:
        """Return what objects are taken to be made of now."""
        return self._materials

    @property
    def time(self) -> float:
        """Return the seconds since the start."""
        return self.frame * self.config.frame_dt

    @property
    def rest(self) -> Gaussians:
        """Return the scene at the start; what does not move has the label -1."""
        return self._prepared.gaussians

    @property
    def points(self) -> torch.Tensor:
        """Return the keypoints (O, P, 3) now, metres, on the device; those of each object come first."""
        return self._points

    @property
    def gaussians(self) -> Gaussians:
        """Return the scene now, on the device, its colours turned along."""
        return self._dense.at(self._objects_points(self._points))

    def frame_at(self, points: torch.Tensor) -> Frame:
        """Return the Gaussians while the keypoints are at ``points`` (O, P, 3), metres, on the CPU."""
        keypoints = [own[None] for own in self._objects_points(points)]
        gaussians, turns = next(self._dense.turned_frames(keypoints))
        gaussians = gaussians.to("cpu")
        return Frame(gaussians.means, gaussians.covariance(), turns.cpu())

    def object_points(self) -> dict[int, torch.Tensor]:
        """Return the keypoints (P_o, 3) of each object now, metres, on the CPU."""
        return dict(zip(self.labels, self._objects_points(self._points.cpu()), strict=True))

    def centres(self) -> dict[int, torch.Tensor]:
        """Return the centre of mass (3,) of each object now, metres."""
        return dict(zip(self.labels, centers(self._points.cpu(), self._start.state.shares[0]), strict=True))

    def state(self) -> LiveState:
        """Return the present moment."""
        return LiveState(self._points.clone(), self._velocities(), self.frame)

    def reset(self) -> None:
        """Go back to the start, where no push has acted."""
        self.frame, self.forces, self.changed = 0, list[ExternalForce](), False
        materials = self._prepared.materials[None].float()
        self._begin(replace(self._start.state, materials=materials).to(self._device))

    def _begin(self, state: SceneState) -> None:
        self._state, self._points = state, state.points[0]
        self._last = deque([self._points], maxlen=3)
        self._rollout = Rollout(self._model, state, self.config.frame_dt)

    def push(
        self, label: int, force: Vector = (0.0, 0.0, 0.0), torque: Vector = (0.0, 0.0, 0.0), seconds: float = 0.1
    ) -> None:
        """Let a force, N, and a torque, N m, act on an object from now on, for ``seconds``.

        Raises:
            InputError: there is no such object, its mass is unknown, or the push is not finite or not of any duration.
        """
        if label not in self.labels:
            raise InputError(f"push: expected one of the objects {self.labels}, found {label}")
        pushed = ExternalForce(obj_id=label, start=self.time, end=self.time + seconds, force=force, torque=torque)
        # Raises where the mass is not known.
        mean_pushes([pushed], self.labels, self._prepared.masses, 2, self.config.frame_dt, self.frame)
        self.forces.append(pushed)

    def step(self) -> Gaussians:
        """Predict one frame more and return the scene in it, on the device.

        Raises:
            InputError: the prediction is not finite any more.
        """
        self.advance()
        return self.gaussians

    def advance(self) -> None:
        """Predict one frame more, without the Gaussians.

        Raises:
            InputError: the prediction is not finite any more.
        """
        dt, masses = self.config.frame_dt, self._prepared.masses
        push = mean_pushes(self.forces, self.labels, masses, 2, dt, self.frame)
        points = self._rollout.step(push.to(self._device))[0]
        if not points.isfinite().all():
            raise InputError(f"the prediction diverges in frame {self.frame + 1}: reset it")
        self._points = points.clone()
        self._last.append(self._points)
        self.frame += 1

    def set_material(self, label: int, youngs_modulus: float | None = None, density: float | None = None) -> None:
        """Make an object of another material from now on, Pa and kg/m^3; None leaves what it is.

        Raises:
            InputError: there is no such object.
        """
        if label not in self.labels:
            raise InputError(f"material: expected one of the objects {self.labels}, found {label}")
        moduli, densities = list(self._materials.youngs_moduli), list(self._materials.densities)
        moduli[label] = moduli[label] if youngs_modulus is None else youngs_modulus
        densities[label] = densities[label] if density is None else density
        self._materials = AssumedMaterials(moduli, densities, self._materials.note)
        self._prepare()
        self.go_on(self.state())

    def go_on(self, state: LiveState) -> None:
        """Go on from another moment, such as one of a scene with an object less.

        Args:
            state: of the first objects here; those after them stay as they are at the start.
        """
        points, velocities = self._start.state.points[0].clone(), self._start.state.velocities[0].clone()
        count, width = state.keypoints.shape[:2]
        points[:count, :width], velocities[:count, :width] = state.keypoints.cpu(), state.velocities.cpu()
        materials = self._prepared.materials[None].float()
        moving = replace(self._start.state, points=points[None], velocities=velocities[None], materials=materials)
        self.frame, self.changed = state.frame, state.frame > 0
        self._begin(moving.to(self._device))

    def _velocities(self) -> torch.Tensor:
        """Return the velocities (O, P, 3) of the keypoints now, m/s."""
        if len(self._last) == 1:
            return self._state.velocities[0].clone()
        return differences(list(self._last), len(self._last) - 1, self.config.frame_dt)

    def _objects_points(self, points: torch.Tensor) -> list[torch.Tensor]:
        return [points[i, : len(rows)] for i, rows in enumerate(self._start.rows)]
