"""Compare stiff balls and a box that collide, in frictional contact, with MuJoCo's rigid bodies.

In free space a ball hits a box off its middle, so that the box turns and hits a second ball.
"""

import importlib
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq

from dataset.mpm.contact import BodyContact
from dataset.mpm.lattice import Lattice
from dataset.mpm.model import MPMModel, ParticleMaterials
from dataset.mpm.solver import MPMSolver
from dataset.mpm.state import MPMState
from gaussians.stage.errors import InputError
from gaussians.stage.warp_runtime import start_warp

_RADIUS, _SIDES = 0.3, (0.6, 0.8, 0.4)
_CENTRES = ((-0.9, -0.36, 0.0), (0.0, 0.0, 0.0), (0.9, 0.12, 0.0))
_VELOCITY = (1.2, 0.8, 0.0)  # of the first ball; fast enough along the box to slide to the end
# With more friction the balls would stick, and elastic ones then roll back: Maw, Barber and Fawcett 1976.
_FRICTION = 0.08
_YOUNGS_MODULUS, _DENSITY = 1e7, 300.0  # a collision takes 0.02 s
_DURATION, _FRAME = 1.2, 0.02
_BETWEEN = 0.36  # seconds: after the first collision, before the second
_CELLS = {"cpu": (32, 48, 72), "cuda": (64, 96, 128)}
_RIGID_STEP, _RIGID_FREQUENCY = 1e-4, 600.0  # seconds; rad/s of a contact's spring: a collision takes 0.005 s


class Motion(NamedTuple):
    """A ``Motion`` is that of the three bodies, in T frames.

    Attributes:
        centres: (T, 3, 3), metres.
        velocities: (T, 3, 3), of the centres, m/s.
        spins: (T, 3), turning about the vertical, rad/s.
    """

    centres: np.ndarray
    velocities: np.ndarray
    spins: np.ndarray


def measure(device: torch.device) -> list[dict[str, Any]]:
    """Return a row for each size of cells.

    Rigid bodies have to be told how far they bounce: MuJoCo's do so as the first collision of the simulator did. All
    else, where the bodies are at the end and how the box turns, is then compared.

    Raises:
        InputError: MuJoCo is not installed.
    """
    start_warp()
    rows = []
    for n_grid in _CELLS[device.type]:
        found = soft_motion(n_grid, device)
        e = restitution(found)
        # A spring that lets go where its force has ended bounces a little further than it is told.
        rigid = rigid_motion(brentq(lambda told, e=e: restitution(rigid_motion(told)) - e, 0.01, 0.99, xtol=1e-3))
        apart = np.linalg.norm(found.centres[-1] - rigid.centres[-1], axis=-1)
        covered = np.linalg.norm(rigid.centres[-1] - rigid.centres[0], axis=-1)
        rows.append(
            {
                "cells a side": n_grid,
                "restitution": e,
                "first ball off by, m": apart[0],
                "box off by, m": apart[1],
                "second ball off by, m": apart[2],
                "distances covered, m": ", ".join(f"{distance:.2f}" for distance in covered),
                "spin of the box, rad/s": found.spins[-1, 1],
                "rigid": rigid.spins[-1, 1],
            }
        )
    return rows


def restitution(motion: Motion) -> float:
    """Return how fast the first ball and the box part along x where they touched, as a share of how fast they met."""
    frame = round(_BETWEEN / _FRAME)
    met = _CENTRES[0][1] + _VELOCITY[1] * (_CENTRES[1][0] - _SIDES[0] / 2 - _RADIUS - _CENTRES[0][0]) / _VELOCITY[0]
    ball, box = motion.velocities[frame, :2, 0]
    return float((box - motion.spins[frame, 1] * met - ball) / _VELOCITY[0])


def soft_motion(n_grid: int, device: torch.device) -> Motion:
    """Return the motion of elastic bodies of eight particles a cell, on ``n_grid`` cells a side."""
    spacing = 2 / n_grid
    ball = _packing((2 * _RADIUS,) * 3, spacing)
    ball = ball[np.linalg.norm(ball, axis=1) < _RADIUS]
    parts = [part + centre for part, centre in zip((ball, _packing(_SIDES, spacing), ball), _CENTRES, strict=True)]
    volumes = 4 / 3 * math.pi * _RADIUS**3, math.prod(_SIDES), 4 / 3 * math.pi * _RADIUS**3
    x, body = np.concatenate(parts), np.repeat(np.arange(3), [len(part) for part in parts])
    ones = np.ones(len(x))
    model = MPMModel.create(
        Lattice(n_grid),
        np.concatenate([np.full(len(part), volume / len(part)) for part, volume in zip(parts, volumes, strict=True)]),
        ParticleMaterials(_YOUNGS_MODULUS * ones, 0.3 * ones, _DENSITY * ones),
        gravity=(0.0, 0.0, 0.0),
        device=str(device),
        contact=BodyContact.create(x, body, _FRICTION),
    )
    state = MPMState.at_rest(x, np.where(body[:, None] == 0, _VELOCITY, 0.0), device=str(device))
    solver = MPMSolver(model)
    substeps = math.ceil(_FRAME / (0.6 * float(model.largest_substep.min())))
    frames = []
    for frame in range(round(_DURATION / _FRAME) + 1):
        if frame:
            solver.advance(state, substeps, _FRAME / substeps)
        places, speeds = state.x.numpy(), state.v.numpy()
        frames.append([_rigid_part(places[body == k], speeds[body == k]) for k in range(3)])
    return Motion(*(np.array([[entry[i] for entry in row] for row in frames]) for i in range(3)))


def _rigid_part(x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return centre, its velocity, and spin about the vertical, of particles of equal mass."""
    centre, velocity = x.mean(0), v.mean(0)
    arms = x - centre
    return centre, velocity, float(np.cross(arms, v - velocity)[:, 2].sum() / np.square(arms[:, :2]).sum())


def _packing(sides: tuple[float, ...], spacing: float) -> np.ndarray:
    """Return points (N, 3) that fill a box about the origin evenly, about ``spacing`` apart, metres."""
    counts = [max(2, round(side / spacing)) for side in sides]
    axes = [((np.arange(n) + 0.5) / n - 0.5) * side for n, side in zip(counts, sides, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def rigid_motion(restitution: float) -> Motion:
    """Return MuJoCo's motion of the same bodies, with contacts as springs that part with this ``restitution``.

    Raises:
        InputError: MuJoCo is not installed.
    """
    try:
        mujoco = importlib.import_module("mujoco")
    except ImportError:
        raise InputError("rigid_bodies: needs MuJoCo: pip install mujoco") from None
    # Of a damped spring e = exp(-pi z / sqrt(1 - z^2)).
    damping = -math.log(restitution) / math.hypot(math.pi, math.log(restitution))
    ball = f'type="sphere" size="{_RADIUS}"'
    box = f'type="box" size="{" ".join(str(side / 2) for side in _SIDES)}"'
    bodies = "".join(
        f'<body pos="{" ".join(map(str, centre))}"><freejoint/><geom {shape}/></body>'
        for centre, shape in zip(_CENTRES, (ball, box, ball), strict=True)
    )
    spring = f"{-(_RIGID_FREQUENCY**2)} {-2 * damping * _RIGID_FREQUENCY}"
    model = mujoco.MjModel.from_xml_string(
        f"""<mujoco>
        <option timestep="{_RIGID_STEP}" gravity="0 0 0" integrator="implicitfast" cone="elliptic" impratio="10"/>
        <default>
            <geom friction="{_FRICTION} 0 0" density="{_DENSITY}" solref="{spring}" solimp="0.99 0.99 0.001"/>
        </default>
        <worldbody>{bodies}</worldbody></mujoco>"""
    )
    data = mujoco.MjData(model)
    data.qvel[:3] = _VELOCITY
    frames = []
    for frame in range(round(_DURATION / _FRAME) + 1):
        if frame:
            mujoco.mj_step(model, data, nstep=round(_FRAME / _RIGID_STEP))
        velocities = data.qvel.reshape(3, 6)  # that of turning is in the body's axes, whose z stays vertical
        frames.append((data.qpos.reshape(3, 7)[:, :3].copy(), velocities[:, :3].copy(), velocities[:, 5].copy()))
    return Motion(*(np.array(entry) for entry in zip(*frames, strict=True)))
