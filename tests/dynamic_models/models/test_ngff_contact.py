"""The forces of ngff where surfaces touch."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from dynamic_models.contact.body_contact import body_contact
from dynamic_models.models.ngff import first_rows
from dynamic_models.models.rollout import roll_on
from tests.dynamic_models.models.test_ngff import DT, make_model, make_state


def test_collisions_conserve_momentum_and_angular_momentum() -> None:
    """With the objects' own masses, two of them known, and whatever the networks say."""
    state = make_state(3, 60, floor=-9.0)
    materials = torch.tensor([[[1e5, 0.3, 500.0, 2.0], [1e6, 0.3, 800.0, 5.0], [math.nan] * 4]]).double()
    state = replace(state, materials=materials, gravity=torch.zeros(1, 3).double())
    model = make_model(ode_method="rk4", step_size=DT / 8)

    def momenta(carry: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        _, _, x, v, omega, R, _, _, inertia, _, mass, *_ = carry
        spin = (R @ inertia @ R.mT @ omega[..., None]).squeeze(-1)
        angular = mass[..., None] * (torch.linalg.cross(x, v) + spin)
        return (mass[..., None] * v).sum(1), angular.sum(1)

    with torch.no_grad():
        carry = model.begin(state)
        before, velocities = momenta(carry), carry[3]
        for _ in range(8):
            carry = model.step(state, carry, torch.zeros(1, 3, 6).double(), DT)
    assert (carry[3] - velocities).abs().max() > 0.05  # they did collide
    torch.testing.assert_close(momenta(carry)[0], before[0], rtol=0, atol=1e-12)
    # Steps of 2.5 ms of a field that is smooth only in places.
    torch.testing.assert_close(momenta(carry)[1], before[1], rtol=0, atol=1e-4)


def test_contact_fades_in_with_distance() -> None:
    """Two clusters of points that come near: nothing, next to nothing, something."""
    cluster = 0.02 * torch.randn(30, 3, generator=torch.Generator().manual_seed(0)).double()
    rigid = partial(make_model, "ngff", ode_method="midpoint", deformation=False)
    reach = float(cluster[:, 0].max() - cluster[:, 0].min()) + 0.1
    moved = []
    for gap in (reach + 1e-9, reach - 1e-4, reach - 0.06):
        points = torch.stack([cluster, cluster + torch.tensor([gap, 0, 0])])[None]
        state = replace(make_state(2, 30, floor=-9.0), points=points, rest=points, velocities=0 * points)
        pushed, free = (rigid(awake=awake)(state, 2, DT).detach() for awake in (True, False))
        moved.append(float((pushed - free).mean(-2)[0, 1].abs().amax()))
    assert moved[0] == 0
    assert moved[1] < 1e-6
    assert moved[2] > 1e-5


def test_points_inside_each_other_are_pushed_out() -> None:
    """Normals of two overlapping balls point away from the other's surface; nearness is about 1 at a surface."""
    directions = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)).double()
    radii = torch.rand(4000, 1, generator=torch.Generator().manual_seed(1)).double() ** (1 / 3)
    ball = 0.2 * radii * directions / directions.norm(dim=-1, keepdim=True)
    world = torch.stack([ball, ball + torch.tensor([0.35, 0.0, 0.0])])[None]
    volume = torch.full((1, 2), 4 / 3 * math.pi * 0.2**3 / 4000).double()
    velocities = torch.zeros_like(world)
    velocities[0, 1] = torch.tensor([-1.0, 2.0, 0.0])
    mask = torch.ones(1, 2, 4000, dtype=torch.bool)
    found = body_contact(world, velocities, world.mean(-2), mask, volume, 0.06)
    depth = 0.2 - (world[0, 0] - world[0, 1].mean(0)).norm(dim=-1)
    assert (found.nearness[0, 0][depth < -0.06] == 0).all()
    at_surface = depth.abs() < 0.005
    assert found.nearness[0, 0][at_surface].mean() == pytest.approx(1, abs=0.15)  # a little less for a curved surface
    touched = (found.nearness[0, 0] > 0.3) & (depth < 0.03)
    outwards = torch.nn.functional.normalize(world[0, 0] - world[0, 1].mean(0), dim=-1)
    assert ((found.normals[0, 0] * outwards).sum(-1)[touched] > 0.8).all()
    torch.testing.assert_close(found.velocities[0, 0][touched], velocities[0, 1][touched], rtol=0, atol=1e-9)
    assert (found.partner[0, 0, touched] == torch.tensor([0.0, 1.0]).double()).all()


def test_forces_push_and_turn_by_mass_and_inertia() -> None:
    state = make_state(1, floor=-9.0)
    pushes = torch.zeros(1, 10, 1, 6).double()
    pushes[:, 2:5, :, 0], pushes[:, 4:6, :, 5] = 3.0, 0.002
    model = make_model(awake=False, ode_method="midpoint", deformation=False)
    still = replace(state, velocities=torch.zeros_like(state.velocities))
    carry = model.begin(still)
    for push in pushes.unbind(1):
        carry = model.step(still, carry, push, DT)
    _, _, _, v, omega, R, _, _, inertia, *_ = (entry.detach() for entry in carry)
    assert float(v[0, 0, 0]) == pytest.approx(3.0 * 3 * DT, rel=1e-9)
    momentum = (R @ inertia @ R.mT @ omega[..., None]).squeeze(-1)[0, 0]
    # What is gained over mass; a midpoint step of a turning tensor is exact to second order.
    torch.testing.assert_close(momentum, torch.tensor([0, 0, 0.002 * 2 * DT]).double(), rtol=0, atol=1e-7)


def test_the_first_rows_are_those_of_all_true_entries() -> None:
    chosen = torch.rand(500, generator=torch.Generator().manual_seed(0)) < 0.3
    true = chosen.nonzero().squeeze(1)
    for room in (1, len(true) - 1, len(true), 400, 500):
        rows, left_out = first_rows(chosen, torch.arange(1, room + 1))
        kept = min(room, len(true))
        assert torch.equal(rows[:kept], true[:kept])
        assert rows[kept:].eq(500).all()
        assert len(rows) == room
        assert left_out == len(true) - kept


def test_room_for_contacts_changes_no_prediction_and_no_gradient() -> None:
    """With shapes as on a GPU, too little room at first."""

    def rolled_out(fixed_shapes: bool) -> tuple[Any, list[torch.Tensor]]:
        model = make_model()
        model.fixed_shapes = fixed_shapes
        model.room = 1 / 64
        predicted = model(make_state(), 6, DT)
        predicted.square().mean().backward()
        return model, [predicted.detach(), *(parameter.grad for parameter in model.parameters())]

    _, expected = rolled_out(False)
    model, found = rolled_out(True)
    assert 1 / 64 < model.room < 1
    assert model.lacking == 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_a_compiled_frame_is_the_frame() -> None:
    """With shapes as on a GPU, for small products and narrow layers are written otherwise for compilers."""
    results = []
    for compiled in (False, True):
        model, state = make_model(ode_method="leapfrog"), make_state()
        model.fixed_shapes, model.compiler = True, "aot_eager"
        predicted = roll_on(model, state, model.begin(state), DT, torch.zeros(1, 5, 3, 6).double(), compiled)
        predicted.square().mean().backward()
        results.append([predicted.detach(), *(parameter.grad for parameter in model.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-14)


def test_frames_are_compiled_once() -> None:
    """For windows of all lengths, whatever is touched, and whatever room there is for that."""
    counter = CompileCounterWithBackend("aot_eager")
    model = make_model(ode_method="leapfrog")
    model.fixed_shapes, model.compiler = True, counter
    counts = []
    for seed, length in enumerate((5, 8, 4)):
        model.room, state = (0.3, 0.6, 1.0)[seed], make_state(seed=seed)
        pushes = torch.zeros(1, length - 1, 3, 6).double()
        roll_on(model, state, model.begin(state), DT, pushes, compiled=True).square().mean().backward()
        counts.append(counter.frame_count)
    assert counts[0] > 0
    assert counts == [counts[0]] * 3
