"""Define the state of scenes that every dynamics model starts from, and the pushes that act on them.

Scenes of a batch may have different numbers of objects, and objects different numbers of keypoints: ``mask`` says which
entries exist, and the others never influence the result.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from pydantic import BaseModel, ConfigDict

from gaussians.files.external_forces import ExternalForce
from gaussians.files.trajectory_format import PUBLISHED_WALLS, TrajectoryMeta
from gaussians.numbers import Real, Vector
from gaussians.stage.errors import InputError
from gaussians.stage.shape_checks import check_shape

MATERIAL_FIELDS = ("youngs_modulus", "nu", "density", "mass")
WALL_FIELDS = ("x_min", "x_max", "y_min", "y_max", "floor")
_NO_WALL = 1e6  # metres: so far away that nothing gets there


class World(BaseModel):
    """A ``World`` is gravity and the walls of a box that is open above, by default those of the published data."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    gravity: Vector = (0.0, 0.0, -5.0)
    """m/s^2"""
    walls: tuple[Real, Real, Real, Real, Real] = (*PUBLISHED_WALLS.x, *PUBLISHED_WALLS.y, PUBLISHED_WALLS.floor)
    """x_min, x_max, y_min, y_max, floor, metres"""

    @staticmethod
    def of_trajectory(meta: TrajectoryMeta | None) -> "World":
        """Return the world that a trajectory was simulated in; without ``meta`` (published data) the default."""
        if meta is None:
            return World()
        if meta.walls is None:
            return World(gravity=meta.gravity, walls=(-_NO_WALL, _NO_WALL, -_NO_WALL, _NO_WALL, -_NO_WALL))
        return World(gravity=meta.gravity, walls=(*meta.walls.x, *meta.walls.y, meta.walls.floor))


@dataclass(frozen=True)
class SceneState:
    """A ``SceneState`` is B scenes of up to O objects with up to P keypoints each, at one moment.

    Attributes:
        points: (B, O, P, 3), where the keypoints are, metres.
        velocities: (B, O, P, 3), metres per second.
        rest: (B, O, P, 3), the same keypoints of the undeformed objects, in any position, metres.
        mask: (B, O, P), bool, which keypoints exist; an object without any does not exist.
        materials: (B, O, 4): Young's modulus [Pa], Poisson's ratio, density [kg/m^3], mass [kg]; NaN for unknown.
        gravity: (B, 3), m/s^2.
        walls: (B, 5): x_min, x_max, y_min, y_max, floor, metres.
        shares: (B, O, P), the share of its object's mass that each keypoint stands for; 0 where masked.
    """

    points: torch.Tensor
    velocities: torch.Tensor
    rest: torch.Tensor
    mask: torch.Tensor
    materials: torch.Tensor
    gravity: torch.Tensor
    walls: torch.Tensor
    shares: torch.Tensor

    def __post_init__(self) -> None:
        check_shape("points", self.points, "B", "O", "P", 3)
        batch, objects, count, _ = self.points.shape
        check_shape("velocities", self.velocities, batch, objects, count, 3)
        check_shape("rest", self.rest, batch, objects, count, 3)
        check_shape("mask", self.mask, batch, objects, count)
        check_shape("materials", self.materials, batch, objects, len(MATERIAL_FIELDS))
        check_shape("gravity", self.gravity, batch, 3)
        check_shape("walls", self.walls, batch, len(WALL_FIELDS))
        check_shape("shares", self.shares, batch, objects, count)

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Return all attributes, in order."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "SceneState":
        """Return the scenes with ``function`` applied to each attribute."""
        return SceneState(*map(function, self.tensors()))

    def to(self, device: torch.device | str) -> "SceneState":
        return self.map(lambda tensor: tensor.to(device))


def equal_shares(mask: torch.Tensor) -> torch.Tensor:
    """Return the shares of mass (..., P) of points that weigh the same, out of which of them exist, (..., P) bool."""
    return mask / mask.sum(-1, keepdim=True).clamp_min(1)


def collate(states: Sequence[SceneState], objects: int = 0, points: int = 0) -> SceneState:
    """Join single scenes to one batch, padded to the largest number of objects and of keypoints among them, or to
    ``objects`` and ``points`` if these are larger."""
    objects = max(objects, *(state.mask.shape[1] for state in states))
    points = max(points, *(state.mask.shape[2] for state in states))
    batched: dict[str, torch.Tensor] = {}
    for field in fields(SceneState):
        tensors = [getattr(state, field.name) for state in states]
        if field.name in ("points", "velocities", "rest", "mask", "shares"):
            tensors = [pad(tensor, 1, (objects, points)) for tensor in tensors]
        elif field.name == "materials":
            tensors = [pad(tensor, 1, (objects,)) for tensor in tensors]
        batched[field.name] = torch.cat(tensors)
    return SceneState(**batched)


def pad(tensor: torch.Tensor, first: int, sizes: Sequence[int]) -> torch.Tensor:
    """Fill ``tensor`` up with zeros so that its dimensions from ``first`` on have ``sizes``."""
    shape = (*tensor.shape[:first], *sizes, *tensor.shape[first + len(sizes) :])
    padded = tensor.new_zeros(shape)
    padded[tuple(slice(size) for size in tensor.shape)] = tensor
    return padded


def mean_pushes(
    forces: Sequence[ExternalForce],
    labels: Sequence[int],
    masses: Sequence[float],
    num_frames: int,
    frame_dt: float,
    first_frame: int = 0,
) -> torch.Tensor:
    """Return pushes (num_frames - 1, O, 6) between frames: force over mass, m/s^2, and torque over mass, m^2/s^2.

    Each is the mean over its frame, so that the momentum gained does not depend on where in a frame a force begins or
    ends.

    Args:
        forces: external forces; those on objects that are not among ``labels`` do nothing.
        labels: the labels of the O objects.
        masses: the masses of the O objects, kg; NaN for unknown.
        num_frames: frames of the rollout, the first one included.
        frame_dt: seconds from frame to frame.
        first_frame: the frame that the first push begins at; frame 0 is at time 0.

    Raises:
        InputError: neither the force nor ``masses`` has the mass of an object.
    """
    begins = (first_frame + torch.arange(num_frames - 1, dtype=torch.float64)) * frame_dt
    pushes = torch.zeros(num_frames - 1, len(labels), 6, dtype=torch.float64)
    for force in forces:
        if force.obj_id not in labels:
            continue
        row = labels.index(force.obj_id)
        mass = masses[row] if force.mass is None else force.mass
        if math.isnan(mass):
            raise InputError(f"external force on object {force.obj_id}: expected a mass, for nothing says its density")
        overlap = (begins + frame_dt).clamp_max(force.end) - begins.clamp_min(force.start)
        share = overlap.clamp_min(0) / frame_dt
        pushes[:, row] += share[:, None] * torch.tensor([*force.force, *force.torque], dtype=torch.float64) / mass
    return pushes.float()
