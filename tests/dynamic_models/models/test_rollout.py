"""Predictions that go on one frame at a time."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from dynamic_models.data.scene_state import collate
from dynamic_models.models.ngff import NGFF
from dynamic_models.models.rollout import Rollout
from tests.dynamic_models.models.test_baselines import make_gcn, make_pointformer, make_rigidformer, single
from tests.dynamic_models.models.test_ngff import DT, make_model, make_state

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
FRAMES = 7


def make(kind: str, device: str) -> Any:
    makers: dict[str, Any] = {"pointformer": make_pointformer, "gcn": make_gcn, "rigidformer": make_rigidformer}
    return (makers[kind]() if kind in makers else make_model(kind, ode_method="leapfrog")).float().to(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["ngff", "ngff_objects", "ngff_published", "pointformer", "gcn", "rigidformer"])
def test_steps_are_the_frames_of_the_whole(kind: str, device: str) -> None:
    """Also where scenes have padding, pushes change, and another prediction is made in between."""
    model, state = make(kind, device), single(collate([make_state(3, 12), make_state(2, 8, seed=1)])).to(device)
    pushes = torch.randn(2, FRAMES - 1, 3, 6, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        expected = model(state, FRAMES, DT, pushes)
    rollout = Rollout(model, state, DT)
    for k, push in enumerate(pushes.unbind(1)):
        points = rollout.step(push)
        assert not points.requires_grad
        # On a GPU the order of some sums changes from run to run.
        torch.testing.assert_close(points, expected[:, k + 1], rtol=0, atol=0 if device == "cpu" else 1e-5)
        Rollout(model, state, DT).step()
    torch.testing.assert_close(Rollout(model, state, DT).step(), model(state, 2, DT)[:, 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_a_step_that_lacked_room_is_made_once_more(device: str) -> None:
    """From where it began: nothing touches at first."""
    model = make("ngff", device)
    assert isinstance(model, NGFF)
    state = single(make_state()).to(device)
    state = replace(state, points=state.points + torch.tensor([0.0, 0.0, 0.2], device=device))
    with torch.no_grad():
        expected = model(state, FRAMES, DT)
    model.fixed_shapes, model.room = True, 1 / 64
    rollout = Rollout(model, state, DT)
    for k in range(1, FRAMES):
        torch.testing.assert_close(rollout.step(), expected[:, k], rtol=0, atol=1e-5)  # sums in another order
    assert 1 / 64 < model.room < 1
    assert model.lacking == 0
