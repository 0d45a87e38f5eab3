"""How gradients are captured, with a graph that a CPU has, too: one that runs its function again."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from dynamic_models.models import rollout
from dynamic_models.models.ngff import NGFF
from dynamic_models.training import backward
from dynamic_models.training.backward import Backward, sunk
from tests.dynamic_models.models.test_ngff import DT, make_model, make_state


class RunAgain:
    """What ``CapturedFunction`` does, without a graph: it keeps the room that there was as it was captured.

    Attributes:
        model: the model that is captured.
        made: how many have been captured.
        capturing: whether what runs now would be part of a graph.
    """

    model: NGFF
    made = 0
    capturing = False

    def __init__(self, function: Callable[..., torch.Tensor], arguments: Sequence[torch.Tensor]) -> None:
        RunAgain.made += 1
        self.inputs, self._function = tuple(tensor.clone() for tensor in arguments), function
        function(*self.inputs)  # to warm up
        self._room = self.model.room

    def replay(self) -> torch.Tensor:
        RunAgain.capturing, now, self.model.room = True, self.model.room, self._room
        losses = self._function(*self.inputs)
        RunAgain.capturing, self.model.room = False, now
        return losses


@pytest.mark.parametrize(("height", "captured"), [(5.0, 3), (0.0, 2)])
def test_a_graph_is_captured_once_for_each_room(monkeypatch: pytest.MonkeyPatch, height: float, captured: int) -> None:
    """First nothing touches, or more than there is room for, then that, then another such scene, and longer windows."""
    monkeypatch.setattr(backward, "CapturedFunction", RunAgain)
    monkeypatch.setattr(rollout, "is_captured", lambda _: RunAgain.capturing)
    accelerator, found, graphs = Accelerator(cpu=True), [], []
    for room in (1.0, 1 / 64):
        model = make_model(ode_method="leapfrog")
        assert isinstance(model, NGFF)
        model.fixed_shapes, model.room, RunAgain.model, RunAgain.made = True, room, model, 0
        gradients = Backward(model, accelerator, "rmse", 1, DT)
        gradients._captured = True
        losses = []
        for lifted, seed, frames in ((height, 0, 4), (0.0, 0, 4), (0.0, 1, 4), (0.0, 1, 6)):
            state = make_state(seed=seed)
            raised = torch.arange(1, 4)[:, None, None] * torch.tensor([0.0, 0.0, lifted])
            state = replace(state, points=state.points + raised)
            target = state.points[:, None].expand(-1, frames, -1, -1, -1).contiguous()
            losses.append(gradients(state, target, target.new_zeros(1, frames - 1, 3, 6)))
        assert model.room > 1 / 64
        graphs.append(RunAgain.made)
        found.append([*losses, *(parameter.grad for parameter in model.parameters())])
    assert graphs == [2, captured]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-12)


def test_what_sinks_deeper_than_in_truth_counts_with_its_deepest_point() -> None:
    state = replace(make_state(points=4), walls=torch.tensor([[-2.0, 2.0, -2.0, 2.0, -0.5]]).double())
    state.mask[0, 2, 3] = False
    target = torch.zeros(1, 2, 3, 4, 3)
    target[0, 1, 0, 1, 2] = -0.51  # the simulation is 1 cm in the floor, too
    predicted = target.clone()
    predicted[0, 1, 0, :3, 2] = torch.tensor([-0.52, -0.54, -0.53])
    predicted[0, 0, 1, 2, 0] = 2.02  # in a wall
    predicted[0, :, 2, 3, 2] = -9.0  # no point
    predicted.requires_grad_()
    found = sunk(predicted, target, state)
    torch.testing.assert_close(found, torch.tensor([(0.03**2 + 0.02**2) / 6], dtype=found.dtype))
    (gradient,) = torch.autograd.grad(found.sum(), predicted)
    assert gradient.nonzero().tolist() == [[0, 0, 1, 2, 0], [0, 1, 0, 1, 2]]
    assert gradient[0, 1, 0, 1, 2] == pytest.approx(-2 * 0.03 / 6, rel=1e-4)


def test_walls_weigh_beside_squared_errors() -> None:
    state, found = make_state(floor=-0.1), []
    target = state.points[:, None].expand(-1, 3, -1, -1, -1) + torch.tensor([0.0, 0.0, 0.1])
    for weight in (0.0, 3.0):
        model = make_model(ode_method="leapfrog")
        losses = Backward(model, Accelerator(cpu=True), "mse", 1, DT, wall_weight=weight)(
            state, target, torch.zeros(1, 2, 3, 6)
        )
        found.append((losses, [parameter.grad for parameter in model.parameters()]))
    # What is logged and compared is the squared error alone.
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=0)
    model = make_model(ode_method="leapfrog")
    predicted = model(state, 3, DT)
    (3.0 * sunk(predicted, target, state).mean()).backward()
    assert any(parameter.grad.abs().max() > 0 for parameter in model.parameters())
    for parameter, without, both in zip(model.parameters(), found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(both - without, parameter.grad, rtol=1e-4, atol=1e-9)
