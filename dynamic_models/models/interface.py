"""Define the interface of dynamics models: a scene's state in, a trajectory out.

A model is called as ``model(scene, num_frames, frame_dt, pushes)`` and returns world keypoints (B, T, O, P, 3), metres.
A learned model is a ``FrameModel``: it goes from one frame to the next. ``models.rollout`` rolls it out.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from pydantic import BaseModel
from torch import nn

from dynamic_models.data.scene_state import SceneState

Carry = tuple[torch.Tensor, ...]
"""The tensors that a model carries from one frame to the next."""


class DynamicsModel(Protocol):
    """A ``DynamicsModel`` is the interface of every model, learned or not."""

    def __call__(
        self, scene: SceneState, num_frames: int, frame_dt: float, pushes: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Predict world keypoints (B, num_frames, O, P, 3), metres; frame 0 is ``scene.points``, masked entries are 0.

        Args:
            frame_dt: seconds from frame to frame.
            pushes: (B, num_frames - 1, O, 6), external force and torque over the object's mass, m/s^2 and m^2/s^2,
                mean of each frame; None for none.
        """


MAX_WIDTH, MAX_LAYERS = 2**16, 1000
"""The widest and the deepest networks that settings may ask for: far beyond what is trained."""


class FrameModel(nn.Module, ABC):
    """A ``FrameModel`` is a ``DynamicsModel`` that goes from frame to frame: ``begin``, then ``step`` after ``step``.

    Attributes:
        settings_type: the type of ``settings``.
        settings: what must be known besides the weights to use a trained model.
        capturable: whether ``step`` never waits for the device, so that CUDA graphs can hold it.
        activation_limit: bytes of activations beyond which backpropagation recomputes them, even where memory has room
            for more.
        compiled: whether PyTorch compiles predictions on a GPU, which takes half a minute for each shape.
        compiler: the backend of ``torch.compile``.
        frames_in_graph: how many frames one CUDA graph predicts: so many that a GPU seldom waits for the next graph.
        last_graph: what ``models.rollout`` keeps of the last prediction on a GPU.
    """

    settings_type: type[BaseModel]
    capturable = True
    activation_limit: float = math.inf
    compiled = False
    compiler: str | Callable[..., Any] = "inductor"
    frames_in_graph = 10
    last_graph: Any = None

    def __init__(self, settings: Any) -> None:
        super().__init__()
        self.settings = settings

    @property
    def expensive(self) -> Sequence[Any]:
        """Return operators whose results backpropagation keeps even where it recomputes other activations."""
        return ()

    @abstractmethod
    def begin(self, scene: SceneState) -> Carry:
        """Return what is carried from frame to frame, as it is at the first one."""

    @abstractmethod
    def step(self, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float) -> Carry:
        """Return what is carried one frame later.

        Args:
            push: (B, O, 6), the frame's entry of ``forward``'s ``pushes``.
        """

    @abstractmethod
    def points(self, carry: Carry) -> torch.Tensor:
        """Return the world keypoints (B, O, P, 3), metres."""

    @abstractmethod
    def activation_bytes(self, scene: SceneState, frame_dt: float) -> float:
        """Estimate how many bytes backpropagation through one ``step`` keeps."""

    def forward(
        self, scene: SceneState, num_frames: int, frame_dt: float, pushes: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Predict world keypoints, see ``DynamicsModel``."""
        from dynamic_models.models.rollout import roll_out  # imported late, for it imports this module

        return roll_out(self, scene, num_frames, frame_dt, pushes)


_MARGIN = 1.25  # how much more room is made than was needed
_ROOMS = tuple(min(1.0, 0.3 * 2 ** (k / 2)) for k in range(-6, 5))


class NeedsRoom(ABC):
    """A model ``NeedsRoom`` if it computes only a part of what it may have to: a GPU's shapes cannot depend on data.

    Room grows in few steps, each of which is captured once. What is compiled holds for all of them, as the carry's last
    entry has the size.

    Attributes:
        room: the share of all that may be needed that a step computes.
        lacking: (), how much more room, as a share of the most that could be, a step would have needed. Unless it is 0,
            results are worth nothing.
        fixed_shapes: whether shapes must not depend on data, as in CUDA graphs; None: on a GPU.
    """

    room: float
    lacking: torch.Tensor
    fixed_shapes: bool | None = None

    def is_limited(self, device: torch.device) -> bool:
        """Return whether a step computes no more than there is room for."""
        return device.type == "cuda" if self.fixed_shapes is None else self.fixed_shapes

    @abstractmethod
    def needed(self, scene: SceneState) -> torch.Tensor:
        """Return the share (B,) of all that may be needed in each scene that a step from this state needs."""

    @abstractmethod
    def possible(self, scene: SceneState) -> int:
        """Return how many entries may be needed at the most in all B scenes."""

    def fit_room(self, scene: SceneState, carry: Carry) -> Carry:
        """Return ``carry`` with numbers 1 to R, a place for each of the entries that there is room for, as its last."""
        return *carry[:-1], self.places(scene)

    def places(self, scene: SceneState) -> torch.Tensor:
        """Return 1 to R, see ``fit_room``, (R,), int64."""
        count = math.ceil(self.room * self.possible(scene))
        return torch.arange(1, count + 1, device=scene.points.device)

    def make_room(self, share: float) -> None:
        """Compute this ``share`` and some more from now on."""
        self.room = next(room for room in _ROOMS if room >= min(1.0, _MARGIN * share))


def enlarge_room(model: FrameModel) -> bool:
    """Return whether ``model`` lacked room for what it computed last, and give it more. Waits for the device."""
    if not isinstance(model, NeedsRoom):
        return False
    lacking = float(model.lacking)
    if lacking == 0:
        return False
    model.lacking.zero_()
    model.make_room(model.room + lacking)
    return True
