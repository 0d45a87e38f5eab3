"""Compare a substep with the time that moving its data through memory takes, and measure each of its kernels."""

import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
import warp as wp

from gaussians.stage.warp_runtime import start_warp
from tools.benchmarks.simulation.simulator import announce, frame_times, large, published

# Bytes that every scheme in float32 has to move. Of a particle, x and F are read and written, and mass, volume and two
# moduli are read; what passes between the two halves of a substep may stay in registers. A plastic particle also has
# its history and its whole deformation, and a law with four numbers.
_STATE, _CONSTANTS = 12 + 36, 4 * 4
_PLASTIC_STATE, _PLASTIC_CONSTANTS = 4 + 36, 4 + 16
# Momentum and mass of a touched node are written once and read once.
_NODE = 2 * 16
_COPIES = 10


def measure(device: torch.device) -> list[dict[str, object]]:
    """Return a row for the published workload and one for the large one: the bound, and what a substep takes."""
    start_warp()
    print("bounds: memory bandwidth", file=sys.stderr)
    bandwidth = copy_bandwidth(device)
    rows: list[dict[str, object]] = []
    for workload in (published(device), large(device)):
        announce(workload)
        run = workload.start(device)
        touched = run.touched_nodes()
        bound = 1000 * memory_bound(workload.particles, touched, bandwidth, run.model.plastic)
        measured = statistics.median(frame_times(run, device))
        rows.append(
            {
                "workload": workload.name,
                "particles": workload.particles,
                "grid": f"{workload.n_grid}^3",
                "touched nodes": touched,
                "bandwidth, GB/s": bandwidth / 1e9,
                "bound, ms": bound,
                "measured, ms": measured,
                "ratio": measured / bound,
            }
        )
    return rows


def memory_bound(particles: int, touched_nodes: int, bandwidth: float, plastic: bool = False) -> float:
    """Return the seconds that a substep's data takes through a memory of ``bandwidth`` bytes/s, each byte once."""
    state = _STATE + plastic * _PLASTIC_STATE
    constants = _CONSTANTS + plastic * _PLASTIC_CONSTANTS
    return (particles * (2 * state + constants) + touched_nodes * _NODE) / bandwidth


@wp.kernel(enable_backward=False)  # type: ignore[untyped-decorator]
def copy(source: wp.array(dtype=wp.vec4), target: wp.array(dtype=wp.vec4)):  # type: ignore
    """Copy an array, element by element."""
    i = wp.tid()
    target[i] = source[i]


def copy_bandwidth(device: torch.device) -> float:
    """Return the bytes per second that a kernel reads and writes as it copies an array larger than any cache.

    The best of ten copies counts.
    """
    count = 1 << (26 if device.type == "cuda" else 22)
    name = str(device)
    source = wp.zeros(count, dtype=wp.vec4, device=name)
    target = wp.zeros_like(source)
    wp.launch(copy, count, [source, target], device=name)  # compiles it
    durations = []
    for _ in range(_COPIES):
        wp.synchronize_device(name)
        start = time.perf_counter()
        wp.launch(copy, count, [source, target], device=name)
        wp.synchronize_device(name)
        durations.append(time.perf_counter() - start)
    return 2 * count * wp.types.type_size_in_bytes(wp.vec4) / min(durations)


def measure_kernels(device: torch.device) -> list[dict[str, object]]:
    """Return the microseconds per substep of each kernel in a frame of the published workload, the slowest first."""
    print("kernels: one by one", file=sys.stderr)
    start_warp()
    run = published(device).start(device)
    substeps = run.model.lattice.n_grid

    def frame() -> None:
        # ``advance`` would capture this in a graph, within which nothing can be timed.
        run.solver._run(run.state, run.state, substeps, run.substep_dt)

    frame()  # compiles the kernels
    times: dict[str, list[float]] = defaultdict(list)
    for name, seconds in launch_times(frame, device):
        times[name].append(seconds)
    total = sum(map(sum, times.values()))
    return [
        {
            "kernel": name_in_source(name),
            "launches a substep": len(times[name]) / substeps,
            "microseconds a substep": 1e6 * sum(times[name]) / substeps,
            "share, %": 100 * sum(times[name]) / total,
        }
        for name in sorted(times, key=lambda name: -sum(times[name]))
    ]


def launch_times(work: Callable[[], None], device: torch.device) -> list[tuple[str, float]]:
    """Return Warp's name and the seconds of everything that ``work`` launches.

    Warp times its own kernels and memory operations on a GPU, but neither its sort nor anything on a CPU: around those
    a clock is read, on a GPU with events.
    """
    spans = []

    def mark() -> Any:
        if device.type == "cpu":
            return time.perf_counter()
        return wp.get_stream(str(device)).record_event(wp.Event(str(device), enable_timing=True))

    def timed(function: Callable[..., Any], name: Callable[[Any], str]) -> Callable[..., Any]:
        def call(first: Any, *args: Any, **kwargs: Any) -> Any:
            start = mark()
            result = function(first, *args, **kwargs)
            spans.append((name(first), start, mark()))
            return result

        return call

    with ExitStack() as stack:
        sort = timed(wp.utils.radix_sort_pairs, lambda _keys: "radix_sort_pairs")
        stack.enter_context(mock.patch.object(wp.utils, "radix_sort_pairs", sort))
        if device.type == "cpu":
            launch = timed(wp.launch, lambda kernel: kernel.get_mangled_name())
            stack.enter_context(mock.patch.object(wp, "launch", launch))
            work()
            return [(name, end - start) for name, start, end in spans]
        wp.timing_begin()
        work()
        results = [(result.name, 1e-3 * result.elapsed) for result in wp.timing_end()]
        return results + [(name, 1e-3 * wp.get_event_elapsed_time(start, end)) for name, start, end in spans]


def name_in_source(name: str) -> str:
    """Return ``update_grid`` for what Warp calls ``forward kernel update_grid__locals__kernel_0a1b2c3d``."""
    name = re.sub(r"^(forward|builtin) kernel ", "", name)
    name = re.sub(r"_[0-9a-f]{8}$", "", name)
    return name.removesuffix("__locals__kernel")
