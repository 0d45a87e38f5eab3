import math

import pytest
import torch
import torchdiffeq

from dynamic_models.models.building_blocks.integration import FIXED_STEP, OdeMethod, State, advance, substeps
from gaussians.stage.errors import InputError


def oscillator(t: float, state: State) -> State:
    """A damped oscillator and a falling body."""
    x, v, _, speed = state
    return v, -(3.0**2) * x - 0.2 * v, speed, torch.full_like(speed, -5.0)


def start() -> State:
    return tuple(torch.tensor([value], dtype=torch.float64) for value in (1.0, 0.5, 2.0, 1.0))


def solve(method: OdeMethod, step: float, end: float = 1.0) -> State:
    return advance(oscillator, start(), 0.0, end, method, step, 1e-9, 1e-9)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("leapfrog", 1), ("midpoint", 2), ("rk4", 4)])
def test_order_of_convergence(method: OdeMethod, order: int) -> None:
    # Leapfrog is of second order, but of first in the damping, which it evaluates at the former velocity.
    decay, frequency = 0.1, math.sqrt(9 - 0.01)
    exact = math.exp(-decay) * (math.cos(frequency) + (0.5 + decay) / frequency * math.sin(frequency))
    coarse, fine = (abs(float(solve(method, h)[0]) - exact) for h in (0.02, 0.01))
    assert math.log2(coarse / fine) > order - 0.3


@pytest.mark.parametrize("method", ["leapfrog", "midpoint", "rk4"])
def test_free_fall_is_exact_with_one_step(method: OdeMethod) -> None:
    torch.testing.assert_close(float(solve(method, 1.0)[2]), 2.0 + 1.0 - 2.5)


def test_leapfrog_keeps_the_energy_of_an_oscillator() -> None:
    def undamped(t: float, state: State) -> State:
        return state[1], -9 * state[0]

    x, v = advance(undamped, (torch.ones(1).double(), torch.zeros(1).double()), 0, 200, "leapfrog", 0.05, 0, 0)
    # h w = 0.15: the energy wavers by (h w)^2 / 4 = 0.6 % and does not drift.
    assert abs(float(v**2 + 9 * x**2) / 9 - 1) < 0.01


@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4"])
def test_fixed_steps_are_torchdiffeqs(method: OdeMethod) -> None:
    def values_and_gradient(own: bool) -> tuple[torch.Tensor, torch.Tensor]:
        stiffness = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)

        def derivative(t: float, state: State) -> State:
            return state[1], -stiffness * state[0] ** 3

        state = start()[:2]
        if own:
            result = advance(derivative, state, 0.0, 1.0, method, 0.1, 0, 0)
        else:
            times = torch.linspace(0, 1, 11, dtype=torch.float64)
            result = tuple(y[-1] for y in torchdiffeq.odeint(derivative, state, times, method=method))
        (gradient,) = torch.autograd.grad(result[0].sum(), stiffness)
        return torch.cat(result), gradient

    # The same operations in another order: float64 rounding.
    torch.testing.assert_close(values_and_gradient(True), values_and_gradient(False), rtol=1e-12, atol=1e-12)


def test_adaptive_meets_its_tolerance() -> None:
    reference = solve("rk4", 1e-3)
    torch.testing.assert_close(solve("adaptive", 1.0)[0], reference[0], rtol=0, atol=1e-7)


def test_substeps_divide_the_interval_evenly() -> None:
    assert [substeps(0.02, h) for h in (0.02, 5e-3, 0.03, 0.015, 1e-3)] == [1, 4, 1, 2, 20]
    with pytest.raises(InputError, match=r"step_size: expected at most 10000 steps in 1000 s, found 100000"):
        substeps(1000.0, 0.01)


def test_every_fixed_method_is_in_the_type() -> None:
    assert set(FIXED_STEP) | {"adaptive"} == set(OdeMethod.__args__)
