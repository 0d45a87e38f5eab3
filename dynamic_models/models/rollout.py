"""Roll a learned model out frame by frame.

Backpropagation recomputes a frame's activations where those of all frames would not fit into memory. Prediction on a
GPU replays a CUDA graph of some frames. ``Rollout`` predicts one frame at a time, for pushes that are not known before.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psutil
import torch
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
from tqdm import tqdm

from dynamic_models.data.scene_state import SceneState
from dynamic_models.models.cuda_graphs import CapturedFunction, copy_into, is_captured
from dynamic_models.models.interface import Carry, FrameModel, NeedsRoom, enlarge_room

_SHARE_OF_FREE_MEMORY = {"cpu": 0.5, "cuda": 0.8}  # the share that activations may take
_LARGEST_ON_CPU = 2**32  # bytes that activations may take at the most: jobs on a cluster may use less than what is free


def roll_out(
    model: FrameModel,
    scene: SceneState,
    num_frames: int,
    frame_dt: float,
    pushes: torch.Tensor | None = None,
    progress: str | None = None,
) -> torch.Tensor:
    """Predict world keypoints (B, num_frames, O, P, 3), metres, see ``DynamicsModel``.

    Args:
        progress: title of a progress bar; None: none.
    """
    if pushes is None:
        batch, objects, _ = scene.mask.shape
        pushes = scene.points.new_zeros(batch, num_frames - 1, objects, 6)
    return roll_on(model, scene, _begin(model, scene), frame_dt, pushes, progress=progress)


def roll_on(
    model: FrameModel,
    scene: SceneState,
    carry: Carry,
    frame_dt: float,
    pushes: torch.Tensor,
    compiled: bool = False,
    progress: str | None = None,
) -> torch.Tensor:
    """Predict world keypoints (B, T, O, P, 3), metres, from what the model's ``begin`` returned.

    Args:
        pushes: (B, T - 1, O, 6), see ``DynamicsModel``.
        compiled: whether PyTorch compiles frames through which gradients go.
        progress: title of a progress bar; None: none.
    """
    while True:
        carry = _fit_room(model, scene, carry)
        later = _later_frames(model, scene, carry, frame_dt, pushes, compiled)
        if progress:
            later = iter(tqdm(later, desc=progress, total=pushes.shape[1], unit="frame", leave=False))
        frames = torch.stack([scene.points, *later], 1)
        if is_captured(frames) or not enlarge_room(model):
            return frames * scene.mask[:, None, ..., None]
        del frames  # with all activations


class Rollout:
    """A ``Rollout`` is a prediction that goes on by one frame whenever it is asked to, without gradients.

    Its frames are those of ``model(scene, ...)``. On a GPU every step replays a CUDA graph of one frame, which the
    first step captures.
    """

    def __init__(self, model: FrameModel, scene: SceneState, frame_dt: float) -> None:
        """Begin at ``scene``.

        Args:
            model: on the device of ``scene``.
            scene: B scenes at the first frame.
            frame_dt: seconds from frame to frame.
        """
        self._model, self._scene, self._frame_dt = model, scene, frame_dt
        self._graph: _FrameGraph | None = None
        with torch.no_grad():
            self._carry = _begin(model, scene)

    @torch.no_grad()
    def step(self, push: torch.Tensor | None = None) -> torch.Tensor:
        """Return the world keypoints (B, O, P, 3), metres, one frame later; masked entries are 0.

        Args:
            push: (B, O, 6), external force and torque over the object's mass, m/s^2 and m^2/s^2, mean of this frame;
                None for none.
        """
        if push is None:
            push = self._scene.points.new_zeros(*self._scene.mask.shape[:2], 6)
        while True:
            carry, points = self._next_frame(push)
            if not enlarge_room(self._model):
                self._carry = carry
                return points * self._scene.mask[..., None]
            self._carry = _fit_room(self._model, self._scene, self._carry)
            self._graph = None

    def _next_frame(self, push: torch.Tensor) -> tuple[Carry, torch.Tensor]:
        if not _is_graphed(self._model, self._scene):
            return _frame(self._model, self._scene, self._carry, push, self._frame_dt)
        if self._graph is None:
            self._graph = _FrameGraph(self._model, self._scene, self._carry, push[:, None], self._frame_dt)
        if isinstance(self._model, NeedsRoom):  # the graph overwrites what a second try has to begin with
            self._carry = tuple(map(torch.clone, self._graph.carry))
        points = self._graph(push[:, None])
        return self._graph.carry, points[:, 0]


def _begin(model: FrameModel, scene: SceneState) -> Carry:
    compiled = model.compiled and _is_graphed(model, scene)
    begin = torch.compile(model.begin, dynamic=False, backend=model.compiler) if compiled else model.begin
    return begin(scene)


def _fit_room(model: FrameModel, scene: SceneState, carry: Carry) -> Carry:
    return model.fit_room(scene, carry) if isinstance(model, NeedsRoom) else carry


def _for_any_room(model: FrameModel, carry: Carry) -> Carry:
    """Tell the compiler that frames have to hold for any room: a training may need several."""
    if isinstance(model, NeedsRoom):
        torch._dynamo.maybe_mark_dynamic(carry[-1], 0)
    return carry


def _later_frames(
    model: FrameModel, scene: SceneState, carry: Carry, frame_dt: float, pushes: torch.Tensor, compiled: bool
) -> Iterator[torch.Tensor]:
    """Yield the world keypoints (B, O, P, 3) of one frame after the other."""
    if pushes.shape[1] and _is_graphed(model, scene):
        graph = _graph_of(model, scene, carry, pushes[:, : model.frames_in_graph], frame_dt)
        for some in pushes.split(model.frames_in_graph, 1):
            yield from graph(some).unbind(1)
        return
    recomputed = torch.is_grad_enabled() and _exceeds_memory(model, scene, 1 + pushes.shape[1], frame_dt)
    frame = _recomputed_frame if recomputed else _frame
    later = torch.compile(frame, dynamic=False, backend=model.compiler) if compiled else frame
    for k, push in enumerate(_by_frame(pushes)):
        # Some tensors of the first two frames' states have no gradients: PyTorch would compile once more for each.
        carry, points = (frame if k < 2 else later)(model, scene, _for_any_room(model, carry), push, frame_dt)
        yield points


def _frame(
    model: FrameModel, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float
) -> tuple[Carry, torch.Tensor]:
    """Compute a ``step`` and the ``points`` that it leads to, which are worth compiling together."""
    later = model.step(scene, carry, push, frame_dt)
    return later, model.points(later)


def _recomputed_frame(
    model: FrameModel, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float
) -> tuple[Carry, torch.Tensor]:
    """Compute ``_frame``; backpropagation keeps the results of ``expensive`` operators and recomputes the rest."""
    settings: dict[str, Any] = {"use_reentrant": False}
    settings["preserve_rng_state"] = False  # nothing is random; asking for the state would wait for the device
    if model.expensive:
        settings["context_fn"] = partial(create_selective_checkpoint_contexts, list(model.expensive))
    return checkpoint(lambda: _frame(model, scene, carry, push, frame_dt), **settings)


def _exceeds_memory(model: FrameModel, scene: SceneState, num_frames: int, frame_dt: float) -> bool:
    """Return whether the activations of a rollout of ``num_frames`` take more memory than there is for them."""
    needed = model.activation_bytes(scene, frame_dt) * (num_frames - 1)
    return needed > min(model.activation_limit, _memory_for_activations(scene.points.device))


def _memory_for_activations(device: torch.device) -> float:
    """Return how many bytes of ``device`` activations may take now."""
    share = _SHARE_OF_FREE_MEMORY[device.type]
    if device.type != "cuda":
        return min(_LARGEST_ON_CPU, share * psutil.virtual_memory().available)
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return share * (free + unused)


def _advance(model: FrameModel, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float) -> torch.Tensor:
    """Return the world keypoints one frame later, and overwrite ``carry`` with what it is then."""
    later, points = _frame(model, scene, carry, push, frame_dt)
    copy_into(carry, later)
    return points


def _by_frame(pushes: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the push (B, O, 6) of each frame of ``pushes`` (B, T, O, 6), in memory of its own: with strides that depend
    on T, PyTorch would compile once more for every T."""
    return (push.clone(memory_format=torch.contiguous_format) for push in pushes.unbind(1))


def _is_graphed(model: FrameModel, scene: SceneState) -> bool:
    if not (scene.points.is_cuda and model.capturable) or torch.is_grad_enabled():
        return False
    # A graph would go on to use converted weights, which autocast frees at its end.
    return not (torch.is_autocast_enabled("cuda") or is_captured(scene.points))


def _graph_of(
    model: FrameModel, scene: SceneState, carry: Carry, pushes: torch.Tensor, frame_dt: float
) -> "_FrameGraph":
    """Return the model's last graph with this scene in it if weights and shapes are the same, else a new one."""
    room = model.room if isinstance(model, NeedsRoom) else None
    weights = next(model.parameters()).data_ptr()
    key = (scene.mask.shape, pushes.shape, frame_dt, weights, model.compiled, room)
    if model.last_graph is not None and model.last_graph[0] == key:
        graph: _FrameGraph = model.last_graph[1]
        graph.load(scene, carry)
        return graph
    model.last_graph = None  # frees its memory first
    graph = _FrameGraph(model, scene, carry, pushes, frame_dt)
    model.last_graph = (key, graph)
    return graph


class _FrameGraph:
    """A ``_FrameGraph`` is a CUDA graph of some frames of a model, for scenes of one shape.

    Attributes:
        carry: what the model carries, at the frame that was reached.
    """

    def __init__(
        self, model: FrameModel, scene: SceneState, carry: Carry, pushes: torch.Tensor, frame_dt: float
    ) -> None:
        advance: Callable[..., torch.Tensor] = _advance
        if model.compiled:
            advance = torch.compile(_advance, dynamic=False, backend=model.compiler)
        count = len(scene.tensors())

        def frames(*tensors: torch.Tensor) -> torch.Tensor:
            state, carry, pushes = SceneState(*tensors[:count]), tensors[count:-1], tensors[-1]
            return torch.stack([advance(model, state, carry, push, frame_dt) for push in _by_frame(pushes)], 1)

        self._captured = CapturedFunction(frames, (*scene.tensors(), *carry, pushes))
        self.carry, self._pushes = self._captured.inputs[count:-1], self._captured.inputs[-1]
        self.load(scene, carry)

    def load(self, scene: SceneState, carry: Carry) -> None:
        """Go on from another scene of the same shape."""
        copy_into(self._captured.inputs[:-1], (*scene.tensors(), *carry))

    def __call__(self, pushes: torch.Tensor) -> torch.Tensor:
        """Return the world keypoints (B, T, O, P, 3) of the next frames.

        Args:
            pushes: (B, T, O, 6), for all frames of the graph, or, the last time, for fewer.
        """
        count = pushes.shape[1]
        self._pushes[:, :count].copy_(pushes)
        return self._captured.replay()[:, :count].clone()
