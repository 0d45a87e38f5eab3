"""Rolling a learned model out frame by frame.

Backpropagation recomputes a frame's activations where all frames' would not fit into memory; prediction on a GPU
replays a CUDA graph of some frames, because launching their many small kernels takes longer than they do.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import psutil
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from dynamic_models.data.scene_state import SceneState

Carry = tuple[torch.Tensor, ...]

_FRAMES_OF_GRAPH = 10  # so many that a GPU seldom waits for the next
_SHARE_OF_MEMORY = {"cpu": 0.5, "cuda": 0.8}  # of what is free, for activations
_MEMORY_OF_CPU = 2**32  # bytes, at most: jobs on a cluster have less than what is free


class FrameModel(nn.Module, ABC):
    """A ``DynamicsModel`` that goes from frame to frame: ``begin``, then ``step`` after ``step``.

    Attributes:
        lacking: (), how much more room, as a share of the most that could be, a step would have needed for all that it
            must compute, since shapes on a GPU cannot depend on how much that is. Unless it is 0, results are worth
            nothing.
    """

    capturable = True
    """Whether ``step`` never waits for the device, so that CUDA graphs can hold it."""
    expensive: Sequence[Any] = ()
    """Operators whose results backpropagation keeps also where it computes activations once more."""
    activation_limit: float = math.inf
    """Bytes of activations beyond which backpropagation recomputes them, also where there is room for more."""

    compiled = False
    """Whether PyTorch compiles predictions on a GPU, which takes half a minute for each shape."""

    def __init__(self) -> None:
        super().__init__()
        self.lacking: torch.Tensor
        self.register_buffer("lacking", torch.zeros(()), persistent=False)
        self._graph: tuple[Any, _Graph] | None = None

    @abstractmethod
    def begin(self, scene: SceneState) -> Carry:
        """What is carried from frame to frame, at the first one."""

    @abstractmethod
    def step(self, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float) -> Carry:
        """The same one frame later.

        Args:
            push: (B, O, 6), see ``forward``, of this frame.
        """

    @abstractmethod
    def points(self, carry: Carry) -> torch.Tensor:
        """World keypoints (B, O, P, 3), metres."""

    def frame(self, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float) -> tuple[Carry, torch.Tensor]:
        """``step`` and the ``points`` that it leads to, which are worth compiling together."""
        later = self.step(scene, carry, push, frame_dt)
        return later, self.points(later)

    def recomputed_frame(
        self, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float
    ) -> tuple[Carry, torch.Tensor]:
        """``frame``, of which backpropagation keeps what comes of ``expensive`` operators alone, and computes the rest
        once more."""
        settings: dict[str, Any] = {"use_reentrant": False}
        settings["preserve_rng_state"] = False  # nothing is random; asking for the state would wait for the device
        if self.expensive:
            settings["context_fn"] = partial(create_selective_checkpoint_contexts, list(self.expensive))
        return checkpoint(lambda: self.frame(scene, carry, push, frame_dt), **settings)

    def make_room(self, lacking: float) -> None:
        """Have more of it from now on; models without such steps lack none."""

    @abstractmethod
    def activation_bytes(self, scene: SceneState, frame_dt: float) -> float:
        """About what backpropagation through one ``step`` keeps."""

    def forward(
        self, scene: SceneState, num_frames: int, frame_dt: float, pushes: torch.Tensor | None = None
    ) -> torch.Tensor:
        """World keypoints (B, num_frames, O, P, 3), metres; frame 0 is ``scene.points``, masked entries are 0.

        Args:
            frame_dt: seconds from frame to frame.
            pushes: (B, num_frames - 1, O, 6), external force and torque over the object's mass, m/s^2 and m^2/s^2,
                mean of each frame; None for none.
        """
        begin = torch.compile(self.begin, dynamic=False) if self.compiled and self._is_graphed(scene) else self.begin
        return self.roll(scene, begin(scene), num_frames, frame_dt, pushes)

    def roll(
        self,
        scene: SceneState,
        carry: Carry,
        num_frames: int,
        frame_dt: float,
        pushes: torch.Tensor | None = None,
        compiled: bool = False,
    ) -> torch.Tensor:
        """``forward`` from what ``begin`` gave.

        Args:
            compiled: whether PyTorch compiles frames through which gradients go.
        """
        batch, objects, _ = scene.mask.shape
        if pushes is None:
            pushes = scene.points.new_zeros(batch, num_frames - 1, objects, 6)
        while True:
            later = self._later_frames(scene, carry, frame_dt, pushes, compiled)
            frames = torch.stack([scene.points, *later], 1)
            if _is_captured(frames) or not self.relieved():
                return frames * scene.mask[:, None, ..., None]
            del frames  # and all activations

    def _later_frames(
        self, scene: SceneState, carry: Carry, frame_dt: float, pushes: torch.Tensor, compiled: bool
    ) -> Iterator[torch.Tensor]:
        """World keypoints (B, O, P, 3) of one frame after the other."""
        if pushes.shape[1] and self._is_graphed(scene):
            graph = self._graph_of(scene, carry, pushes[:, :_FRAMES_OF_GRAPH], frame_dt)
            for some in pushes.split(_FRAMES_OF_GRAPH, 1):
                yield from graph(some).unbind(1)
            return
        frame = self.recomputed_frame if self._recomputes(scene, 1 + pushes.shape[1], frame_dt) else self.frame
        later = torch.compile(frame, dynamic=False) if compiled else frame
        for k, push in enumerate(_by_frame(pushes)):
            # Not all of the first two frames' states has gradients: for each PyTorch would compile once more.
            carry, points = (frame if k < 2 else later)(scene, carry, push, frame_dt)
            yield points

    def relieved(self) -> bool:
        """Whether there was too little room, and is more now. Waits for the device."""
        lacking = float(self.lacking)
        if lacking == 0:
            return False
        self.lacking.zero_()
        self.make_room(lacking)
        self._graph = None
        return True

    def _recomputes(self, scene: SceneState, num_frames: int, frame_dt: float) -> bool:
        if not torch.is_grad_enabled():
            return False
        needed = self.activation_bytes(scene, frame_dt) * (num_frames - 1)
        return needed > min(self.activation_limit, _memory_for_activations(scene.points.device))

    def _is_graphed(self, scene: SceneState) -> bool:
        if not (scene.points.is_cuda and self.capturable) or torch.is_grad_enabled():
            return False
        # A graph would go on to use the weights that autocast converts, and forgets at its end.
        return not (torch.is_autocast_enabled("cuda") or _is_captured(scene.points))

    def _graph_of(self, scene: SceneState, carry: Carry, pushes: torch.Tensor, frame_dt: float) -> "_Graph":
        """The last graph, if it was made of the same weights for the same shapes, with this scene in it."""
        key = (scene.mask.shape, pushes.shape, frame_dt, next(self.parameters()).data_ptr(), self.compiled)
        if self._graph is None or self._graph[0] != key:
            self._graph = None  # frees its memory first
            self._graph = (key, _Graph(self, scene, carry, pushes, frame_dt))
        else:
            self._graph[1].load(scene, carry)
        return self._graph[1]


def _is_captured(tensor: torch.Tensor) -> bool:
    """Whether what is done with ``tensor`` goes into a CUDA graph now."""
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def _by_frame(pushes: torch.Tensor) -> Iterator[torch.Tensor]:
    """Those (B, O, 6) of each frame, of (B, T, O, 6), with strides that do not depend on T: for every other ones
    PyTorch would compile once more."""
    return (push.clone(memory_format=torch.contiguous_format) for push in pushes.unbind(1))


def _memory_for_activations(device: torch.device) -> float:
    if device.type != "cuda":
        return min(_MEMORY_OF_CPU, _SHARE_OF_MEMORY["cpu"] * psutil.virtual_memory().available)
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _SHARE_OF_MEMORY["cuda"] * (free + unused)


class _Graph:
    """A CUDA graph of some frames of a model, for scenes of one shape; ready to go on from where it was made."""

    def __init__(
        self, model: FrameModel, scene: SceneState, carry: Carry, pushes: torch.Tensor, frame_dt: float
    ) -> None:
        self._scene, self._carry, self._pushes = scene.map(torch.clone), tuple(map(torch.clone, carry)), pushes.clone()
        advance = torch.compile(_advance, dynamic=False) if model.compiled else _advance
        stream = torch.cuda.Stream(scene.points.device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries allocate what they need at their first use
            advance(model, self._scene, self._carry, next(_by_frame(self._pushes)), frame_dt)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            frames = [advance(model, self._scene, self._carry, push, frame_dt) for push in _by_frame(self._pushes)]
            self._points = torch.stack(frames, 1)
        self.load(scene, carry)

    def load(self, scene: SceneState, carry: Carry) -> None:
        """Go on from another scene."""
        for mine, given in zip((*self._scene.tensors(), *self._carry), (*scene.tensors(), *carry), strict=True):
            mine.copy_(given)

    def __call__(self, pushes: torch.Tensor) -> torch.Tensor:
        """World keypoints (B, T, O, P, 3) of the next frames, of which ``pushes`` (B, T, O, 6) may have fewer than the
        graph, once."""
        count = pushes.shape[1]
        self._pushes[:, :count].copy_(pushes)
        self._graph.replay()
        return self._points[:, :count].clone()


def _advance(model: FrameModel, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float) -> torch.Tensor:
    """World keypoints one frame later, and ``carry`` overwritten by what it is then."""
    later, points = model.frame(scene, carry, push, frame_dt)
    for mine, new in zip(carry, later, strict=True):
        if new is not mine:  # what never changes
            mine.copy_(new)
    return points
