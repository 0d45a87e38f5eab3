"""The expensive half of a training iteration: a rollout and its gradients, on a GPU as one CUDA graph."""

from typing import Literal

import torch
from accelerate import Accelerator
from torch import nn

from dynamic_models.data.scene_state import SceneState
from dynamic_models.evaluation.metrics import mean_squared_error
from dynamic_models.models.rollout import Carry, FrameModel

_ROOT_FLOOR = 1e-6  # metres^2: below errors of 1 mm the root of the loss is not steeper


class Backward:
    """Adds the gradients of a batch to those of the model.

    On a GPU the first call for windows of another length runs twice and captures a graph, later ones replay it. With
    mixed_precision fp16, whose scaler watches each step, and models that wait for the device, every call runs.

    Args:
        accelerator: its device and precision.
        loss: what is differentiated, the mean over windows of their mean squared error or of its root.
        share: the gradients are divided by this.
        frame_dt: seconds from frame to frame.
        compiled: let PyTorch fuse the model's kernels, on a GPU.
    """

    def __init__(
        self,
        model: FrameModel,
        accelerator: Accelerator,
        loss: Literal["mse", "rmse"],
        share: int,
        frame_dt: float,
        compiled: bool = False,
    ) -> None:
        self._model, self._accelerator = model, accelerator
        self._root, self._share, self._frame_dt = loss == "rmse", share, frame_dt
        self._cuda = accelerator.device.type == "cuda"
        self._compiled = compiled and self._cuda
        self._captures = self._cuda and model.capturable and accelerator.mixed_precision != "fp16"
        self._graph: _Graph | None = None

    def __call__(self, state: SceneState, target: torch.Tensor, pushes: torch.Tensor) -> torch.Tensor:
        """Losses (B,), metres^2, of the windows ``target`` (B, T, O, P, 3) that begin with ``state``.

        Args:
            pushes: (B, T - 1, O, 6), see ``DynamicsModel``.
        """
        with torch.no_grad():
            carry = self._model.begin(state)
        if not self._captures:
            return self.run(state, carry, target, pushes)
        while True:
            if self._graph is None or self._graph.shape != target.shape:
                self._graph = None  # frees its memory first
                torch.cuda.empty_cache()
                self._graph = _Graph(self, list(self._model.parameters()), state, carry, target, pushes)
            losses = self._graph(state, carry, target, pushes)
            if not self._model.relieved():
                return losses
            self._graph = None

    def run(self, state: SceneState, carry: Carry, target: torch.Tensor, pushes: torch.Tensor) -> torch.Tensor:
        """The same, kernel by kernel, from what the model's ``begin`` gave."""
        with self._accelerator.autocast():
            predicted = self._model.roll(state, carry, target.shape[1], self._frame_dt, pushes, self._compiled)
        losses = mean_squared_error(predicted, target, state.mask)
        objective = (losses + _ROOT_FLOOR).sqrt() if self._root else losses
        objective = objective.mean() / self._share
        # Without enough room there is no gradient: the batch will come once more.
        self._accelerator.backward(torch.where(self._model.lacking > 0, torch.zeros_like(objective), objective))
        return losses.detach()


class _Graph:
    """A CUDA graph of ``Backward.run`` for batches of one shape.

    Attributes:
        shape: the target's.
    """

    def __init__(
        self,
        backward: Backward,
        parameters: list[nn.Parameter],
        state: SceneState,
        carry: Carry,
        target: torch.Tensor,
        pushes: torch.Tensor,
    ) -> None:
        self.shape = target.shape
        self._state, self._carry = state.map(torch.clone), tuple(map(torch.clone, carry))
        self._target, self._pushes = target.clone(), pushes.clone()
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        before = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
        stream = torch.cuda.Stream(target.device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            backward.run(self._state, self._carry, self._target, self._pushes)
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.empty_cache()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._losses = backward.run(self._state, self._carry, self._target, self._pushes)
        for parameter, gradient in zip(parameters, before, strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(gradient)

    def __call__(self, state: SceneState, carry: Carry, target: torch.Tensor, pushes: torch.Tensor) -> torch.Tensor:
        mine = (*self._state.tensors(), *self._carry, self._target, self._pushes)
        for tensor, given in zip(mine, (*state.tensors(), *carry, target, pushes), strict=True):
            tensor.copy_(given)
        self._graph.replay()
        return self._losses.clone()


def average_gradients(model: nn.Module, accelerator: Accelerator) -> None:
    """Over all processes, in one message."""
    if accelerator.num_processes == 1:
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    flat = accelerator.reduce(flat, "mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
