from dataclasses import replace

import torch

from dynamic_models.models.building_blocks.body_frame import centers, compose
from dynamic_models.models.rigidformer import RotaryLayer, rotate, rotations
from gaussians.rotations import rotation_exp
from tests.dynamic_models.models.test_baselines import make_rigidformer, single
from tests.dynamic_models.models.test_ngff import DT, make_state


def test_untrained_objects_fly_freely() -> None:
    state = make_state(2, 40)
    predicted = make_rigidformer(awake=False)(state, 8, DT)
    t = 7 * DT
    start, velocity = (centers(each, state.shares) for each in (state.points, state.velocities))
    expected = start + velocity * t + state.gravity[:, None] * t**2 / 2
    torch.testing.assert_close(centers(predicted[:, -1], state.shares), expected, rtol=0, atol=1e-12)


def test_objects_keep_their_shape() -> None:
    """More points than anchors, and accelerations that are different at each."""
    state = make_state(3, 50)
    predicted = make_rigidformer()(state, 6, DT)
    distances = (predicted[..., None, :] - predicted[..., None, :, :]).norm(dim=-1)
    torch.testing.assert_close(distances, distances[:, :1].expand_as(distances), rtol=0, atol=1e-10)
    free = make_rigidformer(awake=False)(state, 6, DT)
    assert (predicted - free).norm(dim=-1).amax() > 0.01  # they do not fly freely


def test_a_move_along_the_floor_moves_the_prediction() -> None:
    """Attention sees differences of places alone, and walls are too far away to be seen."""
    state, model = make_state(3, 40), make_rigidformer()
    move = torch.tensor([0.4, -0.3, 0.0]).double()
    moved = replace(state, points=state.points + move, rest=state.rest + move)
    torch.testing.assert_close(model(moved, 6, DT), model(state, 6, DT) + move, rtol=0, atol=1e-10)
    lifted = replace(state, points=state.points + torch.tensor([0.0, 0.0, 0.05]).double())
    assert (model(lifted, 6, DT) - model(state, 6, DT) - 0.05)[..., 2].abs().amax() > 1e-4  # the floor is seen


def test_the_rigid_acceleration_is_that_of_the_anchors() -> None:
    """Anchors that are accelerated as those of a rigid body are: its points move so, and Kabsch finds that rotation."""
    state, model = make_state(1, 50), make_rigidformer()
    linear, angular = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([3.0, 1.0, -2.0]).double()

    def rigid(scene, arms, *others):  # type: ignore[no-untyped-def]
        return linear + torch.linalg.cross(angular.expand_as(arms[..., :32, :]), arms[..., :32, :])

    model.accelerations = rigid  # type: ignore[method-assign]
    still = replace(state, velocities=torch.zeros_like(state.velocities), gravity=torch.zeros(1, 3).double())
    _, x, _, _, R, *_ = model.begin(still)
    _, later, _, omega, turned, *_ = model.step(still, model.begin(still), torch.zeros(1, 1, 6).double(), DT)
    # The inertia has a share of 1e-6 added to it.
    torch.testing.assert_close(later - x, (linear * DT**2 / 2).expand_as(x), rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(omega, (angular * DT).expand_as(omega), rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(turned, compose((angular * DT**2 / 2).expand_as(x), R), rtol=0, atol=1e-7)
    torch.testing.assert_close(turned, rotation_exp(angular * DT**2 / 2) @ R, rtol=0, atol=1e-7)


def test_rotary_attention_by_hand() -> None:
    """One point: a query and a key are turned by angles whose difference their product sees."""
    places = torch.tensor([[[0.3, 0.1, -0.2]], [[0.5, 0.1, 0.4]]]).double()
    mask = torch.ones(2, 1, dtype=torch.bool)
    here, there = rotations(places, mask, 12)
    torch.testing.assert_close(here.norm(dim=-1), torch.ones(6).double())
    q, k = torch.randn(2, 12, generator=torch.Generator().manual_seed(0)).double()
    difference = rotations((places[1] - places[0])[None], mask[:1], 12)[0]
    torch.testing.assert_close(rotate(q, here) @ rotate(k, there), q @ rotate(k, difference))
    both = rotations(places.reshape(1, 2, 3), torch.ones(1, 2, dtype=torch.bool), 12)[0]
    torch.testing.assert_close(both, (here + there) / 2)


def test_tokens_that_do_not_exist_change_nothing() -> None:
    torch.manual_seed(0)
    layer = RotaryLayer(16).double()
    tokens, turns = torch.randn(2, 5, 16).double(), torch.randn(2, 5, 8, 2).double()
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    found = layer(tokens, turns, mask)
    torch.testing.assert_close(found[1, :3], layer(tokens[1:, :3], turns[1:, :3], mask[1:, :3])[0], rtol=0, atol=1e-12)


def test_training_learns_to_stop_at_the_floor() -> None:
    """An object that falls at 1 m/s and stays where it meets the floor, after 5 cm: through the floor at first."""
    state = single(make_state(1, 20))
    lowest = state.points[..., 2].amin() - 0.05
    velocities = torch.tensor([0.0, 0.0, -1.0]).expand_as(state.points)
    state = replace(state, velocities=velocities, walls=torch.tensor([[-9.0, 9.0, -9.0, 9.0, float(lowest)]]))
    fallen = (torch.arange(6) * DT + 2.5 * (torch.arange(6) * DT) ** 2).clamp_max(0.05)
    target = state.points[:, None] - fallen[:, None, None, None] * torch.tensor([0.0, 0.0, 1.0])
    model = make_rigidformer(awake=False).float()
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=3e-3), []
    for _ in range(30):
        loss = (model(state, 6, DT) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 1e-4
    assert losses[-1] < 0.2 * losses[0]
