"""Measure how the time of a substep grows with particles on one grid, and with the grid under the same particles."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from gaussians.stage.atomic_files import atomic_path
from tools.benchmarks.simulation.simulator import published, time_substep
from tools.benchmarks.simulation.workloads import Workload

_PARTICLES = {
    "cuda": (20_000, 50_000, 100_000, 232_788, 500_000, 1_000_000, 2_000_000),
    "cpu": (2_000, 6_000, 20_000, 60_000),
}
_CELLS = {"cuda": (64, 100, 150, 200, 300, 400), "cpu": (32, 48, 64, 96, 128)}
# What the code published with the paper takes: particles, cells along a side, ms per substep, and where.
_PUBLISHED = {"cuda": (232_788, 200, 0.767, "H200"), "cpu": (6_000, 64, 18.5, "one core")}
_COLOR, _PUBLISHED_COLOR = "#1f5fa8", "#c4421a"


def measure(device: torch.device) -> list[dict[str, Any]]:
    """Return a row for each point of both sweeps."""
    base = published(device)
    by_particles = [replace(base, particles=particles) for particles in _PARTICLES[device.type]]
    by_grid = [replace(base, n_grid=n_grid) for n_grid in _CELLS[device.type]]
    return [_row(workload, device, "particles") for workload in by_particles] + [
        _row(workload, device, "grid") for workload in by_grid
    ]


def _row(workload: Workload, device: torch.device, grows: str) -> dict[str, Any]:
    timing = time_substep(workload, device)
    return {
        "grows": grows,
        "particles": workload.particles,
        "cells a side": workload.n_grid,
        "ms, median": timing.median,
        "ms, fastest": timing.fastest,
        "ns a particle": 1e6 * timing.median / workload.particles,
    }


def plot(rows: list[dict[str, Any]], device: torch.device, machine: str, path: Path) -> None:
    """Draw both sweeps beside each other, on logarithmic axes, with the published time where it is comparable.

    Args:
        rows: what ``measure`` has returned.
        device: the device whose published time is shown.
        machine: its name, for the title.
        path: where the PNG is written.
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    figure.suptitle(f"One substep of three falling balls of jelly, {machine}", fontsize=11)
    points = [row for row in rows if row["grows"] == "particles"]
    per_particle = points[-1]["ms, median"] / points[-1]["particles"]
    ends = [points[0]["particles"], points[-1]["particles"]]
    left.loglog(ends, [per_particle * end for end in ends], ":", color="0.5", label="in proportion")
    particles, cells, milliseconds, where = _PUBLISHED[device.type]
    for axes, grows, key, other, at, fixed in (
        (left, "particles", "particles", "cells a side", particles, cells),
        (right, "grid", "cells a side", "particles", cells, particles),
    ):
        chosen = [row for row in rows if row["grows"] == grows]
        x, y = [row[key] for row in chosen], [row["ms, median"] for row in chosen]
        axes.loglog(x, y, "o-", color=_COLOR, markersize=5, label="here")
        if fixed == chosen[0][other]:
            label = f"published code, {where}"
            axes.loglog([at], [milliseconds], "D", color=_PUBLISHED_COLOR, markersize=6, label=label)
        _label(axes, x, f"{key}, at {chosen[0][other]:,} {other}")
    left.set_ylabel("milliseconds, median")
    left.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _label(axes: Axes, x: list, text: str) -> None:
    """Name the horizontal axis and place ticks where something was measured."""
    axes.set_xlabel(text)
    axes.set_xticks(x, [_short(value) for value in x])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _short(value: int) -> str:
    return f"{value / 1e6:g} M" if value >= 1e6 else f"{value / 1e3:.3g} k" if value >= 1e3 else str(value)
