"""Measure how near frictional contact comes to the mechanics of blocks on slopes and of elastic balls."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from dataset.mpm.boundary_conditions import SurfaceCollider
from dataset.mpm.contact import BodyContact
from dataset.mpm.lattice import WORLD_TO_MPM, Lattice
from dataset.mpm.model import MPMModel, ParticleMaterials
from dataset.mpm.solver import MPMSolver
from dataset.mpm.state import MPMState
from gaussians.stage.atomic_files import atomic_path
from tools.benchmarks.simulation.workloads import Run

_GRAVITY = 9.8
_FRICTIONS, _DEGREES, _SLOPE_CELLS = (0.0, 0.2, 0.5), (5, 10, 15, 20, 25, 30, 35), 32
_CELLS = (24, 36, 54, 81)
_COLORS = ("#1f5fa8", "#c4421a", "#3a8f4d")


def measure(device: torch.device) -> list[dict[str, Any]]:
    """Return a row for each slope and friction, then one for each size of cells in which balls collide."""
    rows = []
    for friction in _FRICTIONS:
        for degrees in _DEGREES:
            angle = math.radians(degrees)
            expected = _GRAVITY * max(0.0, math.sin(angle) - friction * math.cos(angle))
            found = sliding_acceleration(degrees, friction, _SLOPE_CELLS, device)
            rows.append(_row("block on a slope", _SLOPE_CELLS, found, expected, degrees=degrees, friction=friction))
    return rows + [_row("balls head-on", n_grid, restitution(n_grid, device), 1.0) for n_grid in _CELLS]


def _row(
    what: str, n_grid: int, found: float, expected: float, degrees: float | str = "", friction: float | str = ""
) -> dict[str, Any]:
    """Return a row of the table; accelerations are in m/s^2, restitution has no unit."""
    return {
        "what": what,
        "cells a side": n_grid,
        "degrees": degrees,
        "friction": friction,
        "found": found,
        "rigid": expected,
    }


def sliding_acceleration(degrees: float, friction: float, n_grid: int, device: torch.device) -> float:
    """Return the acceleration, m/s^2, of a block down a slab that is tilted by ``degrees`` and held from behind."""
    angle, spacing, centre = math.radians(degrees), 2 / n_grid, np.array([0.0, 0.0, 0.6])
    along, normal = np.array([math.cos(angle), 0, -math.sin(angle)]), np.array([math.sin(angle), 0, math.cos(angle)])
    slab = _block((2.0, 0.6, 6 * spacing), (0.0, 0.0, -3 * spacing), spacing)
    block = _block((0.4, 0.3, 0.2), (-0.5, 0.0, 0.1), spacing)
    turn = np.stack([along, [0, 1, 0], normal])
    point = (centre - 3 * spacing * normal + WORLD_TO_MPM).tolist()
    held = SurfaceCollider.model_validate(
        {"type": "surface_collider", "point": tuple(point), "normal": tuple(normal.tolist()), "surface": "sticky"}
    )
    run = _run([slab @ turn + centre, block @ turn + centre], spacing, 1e6, friction, device, held=held)
    times, speeds, substeps = [0.0], [0.0], round(0.02 / run.substep_dt)
    for _ in range(25):
        run.solver.advance(run.state, substeps, run.substep_dt)
        times.append(times[-1] + substeps * run.substep_dt)
        speeds.append(float(run.state.v.numpy()[len(slab) :].mean(0) @ along))
    settled = np.array(times) > 0.15  # the block has found its place
    return float(np.polyfit(np.array(times)[settled], np.array(speeds)[settled], 1)[0])


def restitution(n_grid: int, device: torch.device) -> float:
    """Return how fast two elastic balls part that met head-on at 1 m/s, as a share of that."""
    spacing, radius = 2 / n_grid, 0.25
    ball = _block((2 * radius,) * 3, (0.0, 0.0, 0.0), spacing)
    ball = ball[np.linalg.norm(ball, axis=1) < radius]
    places = np.array([[-0.27, 0, 0.9], [0.27, 0, 0.9]])
    run = _run([ball + place for place in places], spacing, 1e5, 0.0, device, speed=0.5)
    run.solver.advance(run.state, round(0.35 / run.substep_dt), run.substep_dt)
    v = run.state.v.numpy()[:, 0]
    return float(v[len(ball) :].mean() - v[: len(ball)].mean())


def _block(size: Sequence[float], center: Sequence[float], spacing: float) -> np.ndarray:
    """Return a cubic packing of points, metres."""
    counts = [round(side / spacing) for side in size]
    axes = [(np.arange(n) - (n - 1) / 2) * spacing + c for n, c in zip(counts, center, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def _run(
    parts: list[np.ndarray],
    spacing: float,
    youngs_modulus: float,
    friction: float,
    device: torch.device,
    held: SurfaceCollider | None = None,
    speed: float = 0.0,
) -> Run:
    """Return bodies of jelly, held and under gravity, or free and moving towards each other along x at ``speed``."""
    x, body = np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    ones = np.ones(len(x))
    model = MPMModel.create(
        Lattice(round(2 / spacing)),
        spacing**3 * ones,
        ParticleMaterials(youngs_modulus * ones, 0.3 * ones, 1000 * ones),
        gravity=(0.0, 0.0, -_GRAVITY) if held is not None else (0.0, 0.0, 0.0),
        boundary_conditions=() if held is None else (held,),
        device=str(device),
        contact=BodyContact.create(x, body, friction),
    )
    velocities = np.where(body[:, None] == 0, [speed, 0.0, 0.0], [-speed, 0.0, 0.0])
    state = MPMState.at_rest(x, velocities, device=str(device))
    return Run(model, state, MPMSolver(model), 0.6 * float(model.largest_substep.min()))


def plot(rows: list[dict[str, Any]], device: torch.device, machine: str, path: Path) -> None:
    """Draw accelerations against slopes with Coulomb's law, and what balls lose in a collision against cells.

    Args:
        rows: what ``measure`` has returned.
        device, machine: where it was measured, which makes no difference to be seen.
        path: where the PNG is written.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    degrees = np.linspace(0, max(_DEGREES), 200)
    for friction, color in zip(_FRICTIONS, _COLORS, strict=False):
        chosen = [row for row in rows if row["friction"] == friction]
        law = _GRAVITY * (np.sin(np.radians(degrees)) - friction * np.cos(np.radians(degrees)))
        left.plot(degrees, np.maximum(law, 0), color=color, linewidth=1, label=f"g (sin a - {friction:g} cos a)")
        left.plot([row["degrees"] for row in chosen], [row["found"] for row in chosen], "o", color=color, markersize=5)
    left.set_xlabel("slope a, degrees")
    left.set_ylabel("acceleration of a block, m/s$^2$")
    left.legend(frameon=False)
    balls = [row for row in rows if row["what"] == "balls head-on"]
    cells = np.array([0.5 * row["cells a side"] / 4 for row in balls])
    lost = np.array([1 - row["found"] for row in balls])
    right.loglog(cells, lost, "o-", color=_COLORS[0], markersize=5, label="1 - restitution")
    right.loglog(cells, lost[-1] * cells[-1] / cells, ":", color="0.5", label="in proportion to a cell")
    right.set_xlabel("cells across an elastic ball")
    right.set_xticks(cells, [f"{value:g}" for value in cells])
    right.set_yticks([0.1, 0.2, 0.5], ["0.1", "0.2", "0.5"])
    right.minorticks_off()
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)
