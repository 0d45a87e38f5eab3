"""Measure seconds and memory that drawing a scene takes, and its gradient: three balls on a ground, seen from 4 m."""

import statistics
from collections.abc import Callable
from dataclasses import replace

import torch

from gaussians.cameras import Cameras, Orbit
from gaussians.files.trajectory_format import PUBLISHED_WALLS
from gaussians.rasterization import Rendered, rasterize
from gaussians.representation import Gaussians
from tools.benchmarks.stopwatch import peak_bytes, reset_peak, seconds

_WORKLOADS = ((10_000, 256, 1), (100_000, 448, 1), (100_000, 448, 5), (100_000, 1280, 1))  # Gaussians, pixels, views
_TRAINING = ((20_000, 128, 1), (100_000, 448, 1))
_REPEATS = 7
_ORBIT = Orbit(center=(0.0, 0.0, -0.4), azimuth=30.0, elevation=25.0, radius=4.0)


def measure(device: torch.device) -> list[dict[str, object]]:
    """Return a row for each workload: the median of seven calls after one to warm up, with degree-1 colours.

    Memory on the CPU is the whole process's, about 0.4 GiB of which are PyTorch and Warp themselves; on a GPU it is
    PyTorch's allocations.
    """
    rows: list[dict[str, object]] = []
    for what, draw, workloads in (("rasterize", _draw, _WORKLOADS), ("with gradients", _differentiate, _TRAINING)):
        for count, resolution, views in workloads:
            duration, mebibytes = _measure(draw, device, count, resolution, views)
            rows.append(
                {
                    "what": what,
                    "Gaussians": count,
                    "size": f"{resolution} x {resolution}",
                    "views": views,
                    "seconds": duration,
                    "peak MiB": mebibytes,
                }
            )
    return rows


def _measure(
    draw: Callable[[Gaussians, Cameras], object], device: torch.device, count: int, resolution: int, views: int
) -> tuple[float, float]:
    gaussians = _balls_on_ground(count).to(device)
    cameras = _ORBIT.cameras(range(0, 4 * views, 4), resolution).to(device)
    draw(gaussians[:100], cameras[:1])  # so that compiling the kernels is not measured
    reset_peak(device)
    durations = [seconds(lambda: draw(gaussians, cameras), device) for _ in range(_REPEATS + 1)]
    return statistics.median(durations[1:]), peak_bytes(device) / 2**20


@torch.no_grad()
def _draw(gaussians: Gaussians, cameras: Cameras) -> Rendered:
    return rasterize(gaussians, cameras)


def _differentiate(gaussians: Gaussians, cameras: Cameras) -> tuple[torch.Tensor, ...]:
    names = ("means", "scales", "quaternions", "opacities", "sh")
    leaves = {name: getattr(gaussians, name).requires_grad_() for name in names}
    loss = rasterize(replace(gaussians, **leaves), cameras).rgb.square().mean()
    return torch.autograd.grad(loss, list(leaves.values()))


def _balls_on_ground(count: int) -> Gaussians:
    """Make a lattice of flat Gaussians over [-4, 4]^2, and as many again in three solid balls."""
    generator = torch.Generator().manual_seed(0)
    side = int((count // 2) ** 0.5)
    axis = torch.linspace(-4, 4, side)
    ground = torch.cartesian_prod(axis, axis, torch.tensor([PUBLISHED_WALLS.floor]))
    ball_count = count - len(ground)
    directions = torch.nn.functional.normalize(torch.randn(ball_count, 3, generator=generator), dim=1)
    offsets = 0.25 * directions * torch.rand(ball_count, 1, generator=generator) ** (1 / 3)
    centers = torch.tensor([[0, 0, -0.69], [0.6, 0.2, 0.0], [-0.4, 0.5, -0.3]])
    balls = offsets + centers[torch.randint(3, (ball_count,), generator=generator)]
    # The standard deviations are about half the distance between neighbours.
    ground_size, ball_size = 4 / side, 0.2 * (3 / ball_count) ** (1 / 3)
    flat, round_ = torch.tensor([ground_size, ground_size, 1e-3]), torch.full((3,), ball_size)
    return Gaussians(
        means=torch.cat([ground, balls]),
        opacities=torch.cat([torch.full((len(ground),), 0.4), torch.full((ball_count,), 0.8)]),
        sh=0.4 * torch.randn(count, 4, 3, generator=generator),
        scales=torch.cat([flat.expand(len(ground), 3), round_.expand(ball_count, 3)]),
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
    )
