"""Predict the motion of the keypoints of Gaussians."""

import math
from dataclasses import dataclass

import torch

from dynamic_models.data.keypoints import keypoint_rows, keypoint_shares
from dynamic_models.data.scene_state import MATERIAL_FIELDS, SceneState, World
from dynamic_models.models.interface import DynamicsModel, FrameModel
from dynamic_models.models.rollout import roll_out
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError
from gaussians.stage.shape_checks import check_shape

_FARTHEST = 1e6  # metres


@dataclass(frozen=True)
class PredictedKeypoints:
    """A ``PredictedKeypoints`` is the motion of the keypoints of O objects over T frames; frame 0 is the present.

    Attributes:
        labels: the label of each object among the Gaussians, ascending.
        rows: for each object, the rows (P_o,) of the Gaussians that are its keypoints.
        positions: for each object, (T, P_o, 3), metres, on the CPU.
    """

    labels: list[int]
    rows: list[torch.Tensor]
    positions: list[torch.Tensor]


@dataclass(frozen=True)
class KeypointStart:
    """A ``KeypointStart`` holds the keypoints of O objects before they move.

    Attributes:
        state: the scene that a model starts from, a batch of one, on the CPU; an object's keypoints come first.
        labels: the label of each object among the Gaussians, ascending.
        rows: for each object, the rows (P_o,) of the Gaussians that are its keypoints.
    """

    state: SceneState
    labels: list[int]
    rows: list[torch.Tensor]


@torch.no_grad()
def predict_keypoints(
    model: DynamicsModel,
    gaussians: Gaussians,
    num_keypoints: int,
    num_frames: int,
    frame_dt: float,
    world: World,
    materials: torch.Tensor | None = None,
    velocities: torch.Tensor | None = None,
    pushes: torch.Tensor | None = None,
    device: torch.device | str = "cpu",
    progress: str | None = None,
) -> PredictedKeypoints:
    """Sample keypoints of every labelled object and roll the model out from rest, or from ``velocities``.

    Args:
        model: a model on ``device``; ``load_checkpoint`` returns one.
        gaussians: undeformed objects in place, with labels; Gaussians of negative labels do not move.
        num_keypoints: how many to take of every object, as many as the model was trained on.
        num_frames: frames to predict, the present one included.
        frame_dt: seconds from frame to frame.
        world: gravity and walls.
        materials: (O, 4), objects in the order of their labels: Young's modulus [Pa], Poisson's ratio,
            density [kg/m^3], mass [kg]; NaN for unknown.
        velocities: (N, 3), of the Gaussians now, metres per second; None: all at rest.
        pushes: (num_frames - 1, O, 6), see ``DynamicsModel``; None: none.
        device: where the model is.
        progress: title of a progress bar of a model that goes from frame to frame; None: none.

    Raises:
        InputError: no Gaussian has a label of 0 or more, or the model's prediction is not finite.
        ValueError: an argument has another shape.
    """
    start = keypoints_at_start(gaussians, num_keypoints, world, materials, velocities)
    objects = len(start.rows)
    if pushes is not None:
        check_shape("pushes", pushes, num_frames - 1, objects, 6)
        pushes = pushes[None].to(device)
    if isinstance(model, FrameModel):
        predicted = roll_out(model, start.state.to(device), num_frames, frame_dt, pushes, progress)[0].cpu()
    else:
        predicted = model(start.state.to(device), num_frames, frame_dt, pushes)[0].cpu()
    near = (predicted.abs() <= _FARTHEST).flatten(1).all(1)  # false for NaN, too
    if not near.all():
        frame = int((~near).nonzero()[0, 0])
        raise InputError(f"the prediction diverges: in frame {frame} points are beyond {_FARTHEST:g} m or not finite")
    return PredictedKeypoints(
        labels=start.labels,
        rows=start.rows,
        positions=[predicted[:, i, : len(rows)] for i, rows in enumerate(start.rows)],
    )


def keypoints_at_start(
    gaussians: Gaussians,
    num_keypoints: int,
    world: World,
    materials: torch.Tensor | None = None,
    velocities: torch.Tensor | None = None,
) -> KeypointStart:
    """Sample keypoints of every labelled object, and say how they are at the start; see ``predict_keypoints``.

    Raises:
        InputError: no Gaussian has a label of 0 or more.
        ValueError: an argument has another shape.
    """
    if gaussians.labels is None:
        raise InputError("gaussians: expected labels that tell the objects apart")
    rows, labels = keypoint_rows(gaussians.means, gaussians.labels, num_keypoints)
    mask = rows >= 0
    materials = torch.full((len(rows), len(MATERIAL_FIELDS)), math.nan) if materials is None else materials
    check_shape("materials", materials, len(rows), len(MATERIAL_FIELDS))
    moving = torch.zeros(len(gaussians), 3) if velocities is None else velocities.cpu()
    check_shape("velocities", moving, len(gaussians), 3)
    points = (gaussians.means.cpu()[rows.clamp_min(0)] * mask[..., None])[None]
    state = SceneState(
        points=points,
        velocities=(moving[rows.clamp_min(0)] * mask[..., None])[None],
        rest=points,
        mask=mask[None],
        materials=materials[None].float(),
        gravity=torch.tensor([world.gravity]),
        walls=torch.tensor([world.walls]),
        shares=keypoint_shares(gaussians.means, gaussians.labels, rows)[None],
    )
    return KeypointStart(state, labels.tolist(), [row[own] for row, own in zip(rows, mask, strict=True)])
