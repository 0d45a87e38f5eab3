"""What only a GPU does, against what every device does."""

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from dynamic_models.data.scene_state import SceneState
from dynamic_models.training.backward import Backward
from tests.dynamic_models.models.test_ngff import DT, make_model, make_state

pytestmark = pytest.mark.gpu


def on_gpu(state: SceneState) -> SceneState:
    return state.map(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor).to("cuda")


@pytest.mark.parametrize("compiled", [False, True])
def test_replayed_frames_are_the_frames(compiled: bool) -> None:
    model = make_model(ode_method="leapfrog").float().cuda()
    model.compiled = compiled
    model.frames_in_graph = 3  # of seven
    pushes = torch.zeros(1, 7, 3, 6, device="cuda")
    pushes[:, 2:4, 1] = torch.tensor([3.0, 0.0, 1.0, 0.0, 0.2, 0.0])
    for seed in (0, 1, 0):  # another scene through the same graph, and back
        state = on_gpu(make_state(seed=seed))
        with torch.no_grad():
            replayed = model(state, 8, DT, pushes)
        torch.testing.assert_close(replayed, model(state, 8, DT, pushes).detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_captured_gradients_are_the_gradients(compiled: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    accelerator = Accelerator()
    found = []
    for capture in (False, True):
        model = make_model(ode_method="leapfrog", hidden_dim=32).float().cuda()
        backward = Backward(
            model, accelerator, "rmse", 2, DT, wall_weight=3.0, compiled=compiled and capture, captured=capture
        )
        model.zero_grad(set_to_none=False)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        for seed in (0, 1):
            state = on_gpu(make_state(seed=seed))
            state = replace(state, rest=state.points)
            target = state.points[:, None] + torch.linspace(0, 0.1, 6, device="cuda")[None, :, None, None, None]
            pushes = torch.full((*target.shape[:3], 6), 0.3 * seed, device="cuda")[:, 1:]
            losses = backward(state, target, pushes)
        found.append((losses, [parameter.grad.clone() for parameter in model.parameters()]))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-4, atol=1e-7)
    for one, other in zip(found[1][1], found[0][1], strict=True):
        # Sums in another order, through five frames of contact.
        assert (one - other).norm() <= 2e-3 * other.norm() + 1e-6


def test_contacts_that_a_captured_graph_has_no_room_for_are_computed_once_more() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    found = []
    for room in (1.0, 1 / 16):
        model = make_model(ode_method="leapfrog", hidden_dim=32).float().cuda()
        model.room = room
        backward = Backward(model, Accelerator(), "rmse", 1, DT)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        # First a scene in which nothing touches, then in the same graph one with more contacts than there is room for.
        for height in (5.0, 0.0):
            state = on_gpu(make_state())
            shift = torch.tensor([0.0, 0.0, height], device="cuda")
            apart = torch.arange(3, device="cuda")[:, None, None] * torch.tensor([height, 0.0, 0.0], device="cuda")
            state = replace(state, points=state.points + shift + apart)
            target = state.points[:, None].expand(-1, 6, -1, -1, -1).contiguous()
            losses = backward(state, target, target.new_zeros(1, 5, 3, 6))
        assert model.room > 1 / 16
        found.append([losses, *(parameter.grad.clone() for parameter in model.parameters())])
    for one, other in zip(*found, strict=True):
        assert (one - other).norm() <= 2e-3 * other.norm() + 1e-6
