"""Integrate ordinary differential equations over one interval, by fixed steps or by torchdiffeq's adaptive method.

States are tuples of tensors. Euler, midpoint and rk4 take the same steps as torchdiffeq's of the same name and give
its numbers without its bookkeeping; gradients are those of the discrete steps, by backpropagation through them.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from gaussians.stage.errors import InputError

if TYPE_CHECKING:
    import torch

State: TypeAlias = "tuple[torch.Tensor, ...]"
Derivative = Callable[[float, State], State]
Step = Callable[[Derivative, float, State, float], State]
OdeMethod = Literal["euler", "leapfrog", "midpoint", "rk4", "adaptive"]


_MOST_STEPS = 10_000


def euler_step(derivative: Derivative, t: float, state: State, h: float) -> State:
    """Take a step of the explicit Euler method, of first order."""
    return _add(state, (h, derivative(t, state)))


def midpoint_step(derivative: Derivative, t: float, state: State, h: float) -> State:
    """Take a step of the explicit midpoint rule, of second order: exact for constant accelerations."""
    middle = _add(state, (h / 2, derivative(t, state)))
    return _add(state, (h, derivative(t + h / 2, middle)))


def rk4_step(derivative: Derivative, t: float, state: State, h: float) -> State:
    """Take a step of Kutta's 3/8 rule, of fourth order (the one torchdiffeq calls rk4)."""
    k1 = derivative(t, state)
    k2 = derivative(t + h / 3, _add(state, (h / 3, k1)))
    k3 = derivative(t + 2 * h / 3, _add(state, (-h / 3, k1), (h, k2)))
    k4 = derivative(t + h, _add(state, (h, k1), (-h, k2), (h, k3)))
    return _add(state, (h / 8, k1), (3 * h / 8, k2), (3 * h / 8, k3), (h / 8, k4))


def leapfrog_step(derivative: Derivative, t: float, state: State, h: float) -> State:
    """Take a step of the leapfrog method: drift, kick, drift (position Verlet).

    It is symplectic, exact for constant accelerations, and evaluates the derivative once.

    The entries of the state alternate between positions and their velocities.
    """
    positions, velocities = state[::2], state[1::2]
    positions = _add(positions, (h / 2, velocities))
    middle = tuple(entry for pair in zip(positions, velocities, strict=True) for entry in pair)
    velocities = _add(velocities, (h, derivative(t + h / 2, middle)[1::2]))
    positions = _add(positions, (h / 2, velocities))
    return tuple(entry for pair in zip(positions, velocities, strict=True) for entry in pair)


FIXED_STEP: dict[str, Step] = {
    "euler": euler_step,
    "leapfrog": leapfrog_step,
    "midpoint": midpoint_step,
    "rk4": rk4_step,
}


def _add(state: State, *terms: tuple[float, State]) -> State:
    for factor, direction in terms:
        state = tuple(s.add(d, alpha=factor) for s, d in zip(state, direction, strict=True))
    return state


def substeps(interval: float, step_size: float) -> int:
    """Return how many equal steps, none longer than ``step_size``, fill ``interval``, both in seconds.

    Raises:
        InputError: they are more than anybody waits for.
    """
    count = max(1, math.ceil(interval / step_size - 1e-6))
    if count > _MOST_STEPS:
        raise InputError(f"step_size: expected at most {_MOST_STEPS} steps in {interval:g} s, found {count}")
    return count


def advance(
    derivative: Derivative,
    state: State,
    t0: float,
    t1: float,
    method: OdeMethod,
    step_size: float,
    rtol: float,
    atol: float,
) -> State:
    """Return the state at ``t1`` of d state / dt = derivative(t, state), given ``state`` at ``t0``.

    Args:
        t0, t1: seconds.
        method: all but adaptive take equal steps of at most ``step_size`` seconds; adaptive is torchdiffeq's
            Dormand-Prince 5(4), which keeps the error of a step below ``atol + rtol * |state|``.
    """
    if method == "adaptive":
        import torch
        import torchdiffeq  # slow to import, and needed only here

        times = torch.tensor([t0, t1], dtype=torch.float64, device=state[0].device)
        solution = torchdiffeq.odeint(derivative, state, times, method="dopri5", rtol=rtol, atol=atol)
        return tuple(values[-1] for values in solution)
    count = substeps(t1 - t0, step_size)
    h = (t1 - t0) / count
    for i in range(count):
        state = FIXED_STEP[method](derivative, t0 + i * h, state, h)
    return state
