"""Measure how long carrying Gaussians along with their keypoints takes."""

import torch

from gaussians.representation import Gaussians
from tools.benchmarks.stopwatch import seconds
from videogen.motion.dense_motion import DenseMotion

_WORKLOADS = {"cuda": (232_788, 100), "cpu": (30_000, 20)}  # Gaussians, frames
_OBJECTS, _KEYPOINTS, _SH_COUNT = 3, 2048, 16
_REPEATS = 3


def measure(device: torch.device) -> list[dict[str, object]]:
    """Return one row: the best of three clips after one to warm up, without keeping the frames.

    "binding" is to find the keypoints that each Gaussian follows, once for each scene.
    """
    count, frames = _WORKLOADS[device.type]
    gaussians, rows = _scene(count, device)
    generator = torch.Generator().manual_seed(1)
    paths = []
    for own in rows:
        drift = torch.randn(frames, 1, 3, generator=generator).cumsum(0) * 0.01
        paths.append(gaussians.means[own].cpu() + drift + 1e-3 * torch.randn(frames, len(own), 3, generator=generator))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = [_times(gaussians, rows, paths) for _ in range(_REPEATS + 1)][1:]
    binding, clip = (min(column) for column in zip(*times, strict=True))
    row: dict[str, object] = {
        "what": "keypoints to Gaussians",
        "Gaussians": count,
        "keypoints": _OBJECTS * _KEYPOINTS,
        "frames": frames,
        "binding": binding,
        "seconds": clip,
        "ms a frame": 1e3 * clip / frames,
    }
    if device.type == "cuda":
        row["peak MiB"] = torch.cuda.max_memory_allocated(device) / 2**20
    return [row]


def _scene(count: int, device: torch.device) -> tuple[Gaussians, list[torch.Tensor]]:
    """Make blobs side by side, and return them with the rows of their keypoints."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count, dtype=torch.int32) % _OBJECTS
    means = 0.1 * torch.randn(count, 3, generator=generator)
    means[:, 0] += labels
    gaussians = Gaussians(
        means=means,
        opacities=torch.ones(count),
        sh=torch.randn(count, _SH_COUNT, 3, generator=generator),
        scales=torch.full((count, 3), 0.005),
        quaternions=torch.randn(count, 4, generator=generator),
        labels=labels,
    )
    rows = [(labels == label).nonzero().squeeze(1)[:_KEYPOINTS].to(device) for label in range(_OBJECTS)]
    return gaussians.to(device), rows


def _times(gaussians: Gaussians, rows: list[torch.Tensor], paths: list[torch.Tensor]) -> tuple[float, float]:
    """Return the seconds that binding the Gaussians to their keypoints and moving them through all frames take."""
    motions: list[DenseMotion] = []
    binding = seconds(lambda: motions.append(DenseMotion(gaussians, list(range(len(rows))), rows)), gaussians.device)

    def move() -> None:
        for _ in motions[0].frames(paths):
            pass

    return binding, seconds(move, gaussians.device)
