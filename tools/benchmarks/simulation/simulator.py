"""Measure how long a substep of the simulator takes, for bodies that rest, fly, spread and mix."""

import gc
import statistics
import sys
import time
from dataclasses import dataclass, replace

import torch
import warp as wp

from dataset.mpm.constitutive_laws import LAWS
from gaussians.stage.warp_runtime import start_warp
from tools.benchmarks.simulation.workloads import Run, Workload

# The published measurement has this size; a CPU gets what the quickstart simulates.
PUBLISHED = Workload("three balls", 232_788, 200)
SMALL = Workload("three balls", 20_000, 64)
_LARGE = {
    "cuda": replace(PUBLISHED, particles=2_000_000, n_grid=400),
    "cpu": replace(SMALL, particles=160_000, n_grid=128),
}
# Frames of 0.02 s that are measured, after one to warm up.
_FRAMES = {"cuda": 20, "cpu": 5}


@dataclass(frozen=True)
class Timing:
    """A ``Timing`` holds milliseconds per substep, the median and fastest of several frames; GiB on a GPU or None."""

    median: float
    fastest: float
    gibibytes: float | None


def published(device: torch.device) -> Workload:
    """Return three balls of jelly in a box, of the published size on a GPU and a small one on a CPU."""
    return PUBLISHED if device.type == "cuda" else SMALL


def large(device: torch.device) -> Workload:
    """Return the workload of ``published`` at twice the resolution."""
    return _LARGE[device.type]


def workloads(device: torch.device) -> list[Workload]:
    """Return all workloads; others are compared with the first."""
    balls = published(device)
    thrown = replace(balls, name="three balls, spinning, in flight at 3 m/s", speed=3.0, spin=10.0, settle=0.2)
    return [
        balls,
        replace(balls, name="three balls, deterministic", deterministic=True),
        thrown,
        replace(balls, name="eight balls", balls=8),
        replace(balls, name="three balls, piled up", settle=1.0),
        replace(balls, name="three balls, piled up, frictional contact", settle=1.0, friction=0.4),
        replace(thrown, name="eight balls of sand, spread over the floor", balls=8, laws=("sand",), settle=1.5),
        replace(balls, name="six balls of six materials, fallen", balls=6, laws=tuple(LAWS), settle=0.6),
        large(device),
    ]


def measure(device: torch.device) -> list[dict[str, object]]:
    """Return a row for each workload; times per particle are also given relative to the first's."""
    rows: list[dict[str, object]] = []
    reference = None
    for workload in workloads(device):
        timing = time_substep(workload, device)
        nanoseconds = 1e6 * timing.median / workload.particles
        reference = reference or nanoseconds
        row: dict[str, object] = {
            "workload": workload.name,
            "particles": workload.particles,
            "grid": f"{workload.n_grid}^3",
            "ms, median": timing.median,
            "ms, fastest": timing.fastest,
            "ns a particle": nanoseconds,
            "relative": nanoseconds / reference,
        }
        rows.append(row if timing.gibibytes is None else row | {"GiB": timing.gibibytes})
    return rows


def time_substep(workload: Workload, device: torch.device) -> Timing:
    """Measure the substeps of a workload over several frames of its motion.

    Device memory is what all of it holds after the last frame, the solver's graphs included.
    """
    announce(workload)
    before = _free_memory(device)
    run = workload.start(device)
    times = frame_times(run, device)
    used = (before - _free_memory(device)) / 2**30 if device.type == "cuda" else None
    return Timing(statistics.median(times), min(times), used)


def announce(workload: Workload) -> None:
    """Print one line on standard error, since some workloads take a while."""
    print(f"simulator: {workload.name}, {workload.particles:,} particles on {workload.n_grid}^3", file=sys.stderr)


def frame_times(run: Run, device: torch.device) -> list[float]:
    """Return the milliseconds per substep in each of several frames, after one to warm up."""
    substeps = run.model.lattice.n_grid
    times = []
    for _ in range(_FRAMES[device.type] + 1):
        wp.synchronize_device(str(device))
        start = time.perf_counter()
        run.solver.advance(run.state, substeps, run.substep_dt)
        wp.synchronize_device(str(device))
        times.append(1000 * (time.perf_counter() - start) / substeps)
    return times[1:]


def _free_memory(device: torch.device) -> int:
    """Return the free bytes of a GPU once earlier workloads have given theirs back; 0 on a CPU."""
    if device.type == "cpu":
        return 0
    start_warp()
    gc.collect()
    wp.synchronize_device(str(device))
    return int(wp.get_device(str(device)).free_memory)
