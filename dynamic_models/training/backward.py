"""Compute the expensive half of a training iteration, a rollout and its gradients, on a GPU as one CUDA graph."""

from typing import Literal

import torch
from accelerate import Accelerator
from torch import nn

from dynamic_models.contact.body_contact import wall_distances
from dynamic_models.data.scene_state import SceneState
from dynamic_models.evaluation.metrics import mean_squared_error
from dynamic_models.models.cuda_graphs import CapturedFunction, copy_into
from dynamic_models.models.interface import Carry, FrameModel, NeedsRoom, enlarge_room
from dynamic_models.models.rollout import roll_on

_ROOT_FLOOR = 1e-6  # metres^2, added to the loss: below errors of 1 mm its root does not get steeper


class Backward:
    """A ``Backward`` adds the gradients of a batch to those of the model.

    On a GPU the first call for windows of another length, or with another room, runs the rollout and captures it as a
    graph; later calls replay that. Every call runs the rollout with mixed_precision fp16, whose scaler watches each
    step, and for models that wait for the device.

    Args:
        accelerator: says device and precision.
        loss: what is differentiated, the mean over windows of their mean squared error or of its root.
        share: what gradients are divided by.
        frame_dt: seconds from frame to frame.
        wall_weight: what ``sunk`` is weighted with beside squared errors.
        compiled: whether PyTorch fuses the model's kernels on a GPU.
        captured: whether graphs are captured where that is possible.
    """

    def __init__(
        self,
        model: FrameModel,
        accelerator: Accelerator,
        loss: Literal["mse", "rmse"],
        share: int,
        frame_dt: float,
        *,
        wall_weight: float = 0.0,
        compiled: bool = False,
        captured: bool = True,
    ) -> None:
        self._model, self._accelerator = model, accelerator
        self._root, self._share, self._frame_dt, self._wall_weight = loss == "rmse", share, frame_dt, wall_weight
        on_gpu = accelerator.device.type == "cuda"
        self._compiled = compiled and on_gpu
        self._captured = captured and on_gpu and model.capturable and accelerator.mixed_precision != "fp16"
        self._graph: CapturedFunction[torch.Tensor] | None = None
        self._made_for: tuple[torch.Size, float | None] | None = None

    def __call__(self, state: SceneState, target: torch.Tensor, pushes: torch.Tensor) -> torch.Tensor:
        """Return the losses (B,), metres^2, of the windows ``target`` (B, T, O, P, 3) that begin with ``state``.

        Args:
            pushes: (B, T - 1, O, 6), see ``DynamicsModel``.
        """
        with torch.no_grad():
            carry = self._model.begin(state)
        if not self._captured:
            return self.run(state, carry, target, pushes)
        if isinstance(self._model, NeedsRoom):
            carry = carry[:-1]  # the last entry depends on the room, which a graph has of its own
        arguments = (*state.tensors(), *carry, pushes, target)
        while True:
            if self._graph is None or self._made_for != (target.shape, self._room()):
                self._graph = None  # frees its memory first
                torch.cuda.empty_cache()
                self._graph = self._capture(arguments, len(carry))
                self._made_for = target.shape, self._room()
            copy_into(self._graph.inputs, arguments)
            losses = self._graph.replay().clone()
            if not enlarge_room(self._model):
                return losses

    def _room(self) -> float | None:
        return self._model.room if isinstance(self._model, NeedsRoom) else None

    def run(self, state: SceneState, carry: Carry, target: torch.Tensor, pushes: torch.Tensor) -> torch.Tensor:
        """Add gradients and return losses kernel by kernel, from what the model's ``begin`` returned."""
        with self._accelerator.autocast():
            predicted = roll_on(self._model, state, carry, self._frame_dt, pushes, self._compiled)
        losses = mean_squared_error(predicted, target, state.mask)
        objective = losses
        if self._wall_weight:
            objective = losses + self._wall_weight * sunk(predicted, target, state)
        objective = (objective + _ROOT_FLOOR).sqrt() if self._root else objective
        objective = objective.mean() / self._share
        if isinstance(self._model, NeedsRoom):  # results without enough room have no gradient: the batch is run again
            objective = torch.where(self._model.lacking > 0, torch.zeros_like(objective), objective)
        self._accelerator.backward(objective)
        return losses.detach()

    def _capture(self, arguments: tuple[torch.Tensor, ...], carried: int) -> CapturedFunction[torch.Tensor]:
        """Capture ``run`` for batches of one shape; the gradients stay what they are.

        Args:
            arguments: a scene's tensors, the ``carried`` ones of what the model carries, pushes and target.
        """
        parameters = list(self._model.parameters())
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        before = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]

        def run(*tensors: torch.Tensor) -> torch.Tensor:
            *scene, pushes, target = tensors
            state, carry = SceneState(*scene[:-carried]), tuple(scene[-carried:])
            if isinstance(self._model, NeedsRoom):
                carry = self._model.fit_room(state, (*carry, target.new_empty(0)))
            return self.run(state, carry, target, pushes)

        graph = CapturedFunction(run, arguments)
        for parameter, gradient in zip(parameters, before, strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(gradient)
        return graph


def sunk(predicted: torch.Tensor, target: torch.Tensor, state: SceneState) -> torch.Tensor:
    """Return the mean square (B,), metres^2, of how much deeper in walls objects are than in truth, over all frames.

    What counts of an object is its point farthest beyond the floor or another wall.

    Args:
        predicted, target: (B, T, O, P, 3), metres.
        state: says which points exist, and where walls are.
    """

    def depths(points: torch.Tensor) -> torch.Tensor:
        heights = wall_distances(points.flatten(1, 2), state.walls).amin(-1).view(points.shape[:-1])
        return -heights.masked_fill(~state.mask[:, None], 0.0).amin(-1).clamp_max(0)

    return (depths(predicted.float()) - depths(target)).clamp_min(0).square().mean((1, 2))


def average_gradients(model: nn.Module, accelerator: Accelerator) -> None:
    """Replace gradients by their means over all processes, in one message."""
    if accelerator.num_processes == 1:
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    flat = accelerator.reduce(flat, "mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
