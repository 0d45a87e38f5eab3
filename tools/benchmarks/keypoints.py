"""Measure how long extracting keypoints from a trajectory takes, and reading and choosing alone."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from dynamic_models.data.keypoints import extract_keypoints, keypoint_rows
from gaussians.files.trajectory_format import Frame, TrajectoryMeta
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.files.trajectory_writer import TrajectoryWriter
from tools.benchmarks.stopwatch import seconds

_WORKLOADS = {"cuda": ((48_000, 100), (232_788, 100)), "cpu": ((48_000, 100),)}  # Gaussians, frames
_OBJECTS, _KEYPOINTS = 3, 2048
_REPEATS = 3


def measure(device: torch.device) -> list[dict[str, object]]:
    """Return a row for each workload: the best of three runs after one to warm up, always on the CPU.

    The files lie in a temporary directory (the environment variable TMPDIR moves it) and in the system's cache.
    """
    rows = []
    for count, frames in _WORKLOADS[device.type]:
        labels = (torch.arange(count) * _OBJECTS // count).int()
        with tempfile.TemporaryDirectory(prefix="keypoints") as name:
            _write(Path(name), labels, frames)
            reader = TrajectoryReader(name)
            start = reader.positions(0)
            rows.append(
                {
                    "what": "keypoints of a trajectory",
                    "Gaussians": count,
                    "keypoints": _OBJECTS * _KEYPOINTS,
                    "frames": frames,
                    "seconds": _best(lambda: extract_keypoints(reader, labels, _KEYPOINTS)),  # noqa: B023
                    "reading": _best(lambda: [reader.positions(k) for k in range(len(reader))]),  # noqa: B023
                    "choosing": _best(lambda: keypoint_rows(start, labels, _KEYPOINTS)),  # noqa: B023
                }
            )
    return rows


def _write(path: Path, labels: torch.Tensor, frames: int) -> None:
    """Write a trajectory of balls of Gaussians in a row, positions only."""
    count, generator = len(labels), torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    means = 0.2 * directions * torch.rand(count, 1, generator=generator) ** (1 / 3)
    means[:, 0] += 0.5 * labels
    meta = TrajectoryMeta(frame_dt=0.02, substep_dt=1e-4, frame_count=frames, dx=0.02, gravity=(0.0, 0.0, -5.0))
    with TrajectoryWriter(path, meta, torch.ones(count), torch.zeros(count, 1, 3), labels, fields=("pos",)) as writer:
        for k in range(frames):
            writer.write(Frame(means + 1e-3 * k))
        writer.finish()


def _best(work: Callable[[], object]) -> float:
    return min([seconds(work, torch.device("cpu")) for _ in range(_REPEATS + 1)][1:])
