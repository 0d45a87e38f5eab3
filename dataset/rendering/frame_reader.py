"""This module reads frames of a trajectory ahead, while others are drawn."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from gaussians.files.trajectory_format import Frame
from gaussians.files.trajectory_reader import TrajectoryReader, moved
from gaussians.representation import Gaussians

_FIELDS = ("pos", "cov3D", "rot")
_THREADS = 2
_AHEAD = 3
"""Number of frames that are read before they are needed."""


def moving_gaussians(
    trajectory: TrajectoryReader, sh_degree: int, device: torch.device, labels: torch.Tensor | None = None
) -> Iterator[Gaussians]:
    """Yield the Gaussians of all frames in order, on ``device``, with colours cut off at ``sh_degree``.

    Args:
        labels: (N,) int32, which replace the trajectory's own; None to keep those.

    Raises:
        InputError: a frame is damaged, or holds positions only.
    """
    nowhere = torch.zeros(trajectory.count, 3), torch.zeros(trajectory.count, 6)  # each frame replaces them
    still = Gaussians(
        nowhere[0],
        trajectory.opacities,
        trajectory.sh[:, : (sh_degree + 1) ** 2],
        covariances=nowhere[1],
        labels=trajectory.labels if labels is None else labels,
    ).to(device)
    for frame in read_ahead(trajectory, pinned=device.type == "cuda"):
        yield moved(still, _to(frame, device))


def read_ahead(trajectory: TrajectoryReader, pinned: bool = False) -> Iterator[Frame]:
    """Yield all frames in order, on the CPU; threads read a few of them ahead.

    Args:
        pinned: whether to put them into memory from which CUDA copies while it computes.

    Raises:
        InputError: a frame is damaged.
    """

    def read(k: int) -> Frame:
        frame = trajectory.frame(k, _FIELDS)
        return _pinned(frame) if pinned else frame

    with ThreadPoolExecutor(_THREADS) as pool:
        numbers = iter(range(trajectory.num_frames))
        pending: deque[Future[Frame]] = deque()
        for _ in range(trajectory.num_frames):
            while len(pending) < _AHEAD and (k := next(numbers, None)) is not None:
                pending.append(pool.submit(read, k))
            yield pending.popleft().result()


def _pinned(frame: Frame) -> Frame:
    return _map(frame, torch.Tensor.pin_memory)


def _to(frame: Frame, device: torch.device) -> Frame:
    return _map(frame, lambda tensor: tensor.to(device, non_blocking=True))


def _map(frame: Frame, function: Callable[[torch.Tensor], torch.Tensor]) -> Frame:
    tensors = (frame.means, frame.covariances, frame.rotations, frame.velocities)
    return Frame(*(None if tensor is None else function(tensor) for tensor in tensors))  # type: ignore[arg-type]
