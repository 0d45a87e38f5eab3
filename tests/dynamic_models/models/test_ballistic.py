from dataclasses import replace

import torch

from dynamic_models.models.ballistic import Ballistic
from tests.dynamic_models.models.test_ngff import DT, make_state


def test_ballistic_flies_by_the_closed_form_and_stays_where_it_lands() -> None:
    state = make_state(2, floor=-0.94)
    up = torch.tensor([[[0.2, 0.0, 1.0]], [[0.0, 0.0, -1.0]]]).double()
    state = replace(state, velocities=up.expand_as(state.points))
    predicted = Ballistic()(state, 80, DT)
    for i, v in enumerate(up[:, 0]):
        height = float(state.points[0, i, :, 2].amin()) + 0.94
        landing = float((v[2] + (v[2] ** 2 + 10 * height).sqrt()) / 5)
        for k in (0, 10, 79):
            t = min(k * DT, landing)
            expected = state.points[0, i] + v * t + state.gravity[0] * t * t / 2
            torch.testing.assert_close(predicted[0, k, i], expected, rtol=0, atol=1e-9)
        assert abs(float(predicted[0, -1, i, :, 2].amin()) + 0.94) < 1e-9


def test_ballistic_without_gravity_or_under_the_floor() -> None:
    state = replace(make_state(2, floor=-9.0), gravity=torch.zeros(1, 3).double())
    flat = torch.tensor([1.0, 0.0, 0.0]).double()
    state = replace(state, velocities=flat.expand_as(state.points))
    torch.testing.assert_close(Ballistic()(state, 6, DT)[:, 5], state.points + flat * 0.1, rtol=0, atol=1e-12)
    sunk = replace(state, walls=state.walls + 20)
    torch.testing.assert_close(Ballistic()(sunk, 6, DT)[:, 5], state.points, rtol=0, atol=1e-12)
