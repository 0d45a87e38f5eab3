"""ngff_impulses, against what is known of bodies that fall, bounce, slide and collide."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from dynamic_models.data.farthest_points import farthest_point_sampling
from dynamic_models.data.scene_state import SceneState, collate
from dynamic_models.models.building_blocks.impulse_steps import differentiable_steps
from dynamic_models.models.registry import build_model
from tests.dynamic_models.models.test_ngff import DT, SEARCH, make_state, padded


def make_model(awake: bool = False, **settings: Any) -> Any:
    """A small model; ``awake``: with last layers that are not zero."""
    torch.manual_seed(0)
    small = {"dynamic_model": "ngff_impulses", "hidden_dim": 16, "num_layers": 1, "step_size": DT / 2}
    model: Any = build_model(small | settings)
    for head in (model.contact, model.material) if awake else ():
        torch.nn.init.normal_(head[-1].weight, std=0.3)
        torch.nn.init.normal_(head[-1].bias, std=0.3)
    return model


def with_properties(model: Any, restitution: float = -20.0, friction: float = -20.0) -> Any:
    """The model with constant properties of contacts, the logit of restitution and the logarithm of friction, and of
    bodies that lose little in deforming."""
    with torch.no_grad():
        model.slopes.zero_()
        model.viscosity.fill_(-1.0)
        model.typical[:] = torch.tensor([restitution, friction, -20.0, -20.0])
    return model


def solid(half: tuple[float, float, float], round_: bool = False, count: int = 150) -> torch.Tensor:
    """Keypoints (count, 3) of a box or an ellipsoid with these half axes, metres."""
    points = 2 * torch.rand(6000, 3, generator=torch.Generator().manual_seed(0)) - 1
    points = points[points.norm(dim=-1) < 1] if round_ else points
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    points = (points if round_ else torch.cat([corners, points])) * torch.tensor(half)
    return points[farthest_point_sampling(points, count)]


def scene(
    bodies: list[torch.Tensor],
    places: list[tuple[float, float, float]],
    velocities: list[tuple[float, float, float]],
    youngs_modulus: float = 1e7,
    floor: float = -9.0,
    gravity: float = -5.0,
) -> SceneState:
    """Bodies of 10 kg at rest or in motion."""
    rest = torch.stack(bodies)[None]
    return SceneState(
        points=rest + torch.tensor(places)[None, :, None],
        velocities=torch.tensor(velocities)[None, :, None].expand_as(rest).clone(),
        rest=rest,
        mask=torch.ones(rest.shape[:3], dtype=torch.bool),
        materials=torch.tensor([youngs_modulus, 0.3, 800.0, 10.0]).expand(1, len(bodies), 4).clone(),
        gravity=torch.tensor([[0.0, 0.0, gravity]]),
        walls=torch.tensor([[-1e6, 1e6, -1e6, 1e6, floor]]),
        shares=torch.full(rest.shape[:3], 1 / rest.shape[2]),
    )


@torch.no_grad()
def test_bodies_in_the_air_fall_freely_and_keep_their_spin() -> None:
    state = scene([solid((0.2, 0.1, 0.05))], [(0, 0, 0)], [(0.3, 0, 0)])
    spin = torch.tensor([0.0, 0.0, 2.0]).expand_as(state.points)
    arms = state.points - state.points.mean(2, keepdim=True)
    state = replace(state, velocities=state.velocities + torch.linalg.cross(spin, arms))
    predicted = make_model()(state, 26, DT)[0, -1, 0]
    centre = state.points.mean(2)[0, 0] + torch.tensor([0.15, 0.0, -5 / 8])
    torch.testing.assert_close(predicted.mean(0), centre, rtol=0, atol=1e-5)
    # Half a second at 2 rad/s; the vertical is nearly a principal axis.
    cos, sin = math.cos(1.0), math.sin(1.0)
    rotation = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(predicted - predicted.mean(0), arms[0, 0] @ rotation.T, rtol=0, atol=3e-3)


@torch.no_grad()
def test_a_block_stays_at_rest_on_the_floor() -> None:
    state = scene([solid((0.2, 0.15, 0.1))], [(0, 0, 0)], [(0, 0, 0)], floor=-0.1)
    predicted = make_model()(state, 51, DT)[0]
    assert (predicted[-1] - predicted[0]).norm(dim=-1).max() < 2e-3
    assert predicted[..., 2].min() > -0.1 - 1e-3


@torch.no_grad()
@pytest.mark.parametrize("friction", [0.1, 0.3])
def test_a_block_slides_as_coulomb_says(friction: float) -> None:
    """From v it takes v / (mu g) to come to rest, after v^2 / (2 mu g)."""
    speed = 0.8
    state = scene([solid((0.2, 0.15, 0.05))], [(0, 0, 0)], [(speed, 0, 0)], floor=-0.05)
    model = with_properties(make_model(), friction=math.log(friction))
    predicted = model(state, 101, DT)[0, :, 0].mean(1)
    assert math.isclose(float(predicted[-1, 0] - predicted[0, 0]), speed**2 / (10 * friction), rel_tol=0.06)
    assert (predicted[-1] - predicted[-2]).norm() / DT < 0.02


@torch.no_grad()
@pytest.mark.parametrize("youngs_modulus", [1e5, 1e6, 1e7])
@pytest.mark.parametrize("restitution", [-20.0, 0.0, 20.0])
def test_a_ball_comes_back_no_faster_than_it_came(youngs_modulus: float, restitution: float) -> None:
    ball = solid((0.2, 0.2, 0.2), round_=True)
    state = scene([ball], [(0, 0, 0.25)], [(0, 0, -1.0)], youngs_modulus, floor=0.0, gravity=0.0)
    centres = with_properties(make_model(), restitution)(state, 31, DT)[0, :, 0, :, 2].mean(-1)
    rebound = float(centres.diff()[-1] / DT)
    # Deformation gives back some of what stiff contact does not.
    least = {-20.0: 0.1, 0.0: 0.2, 20.0: 0.3}[restitution]
    assert least < rebound < 1.02


@torch.no_grad()
def test_a_rebound_hardly_depends_on_when_in_a_step_it_begins() -> None:
    """A stiff ball, which rings faster than steps of 10 ms resolve, falls from heights that differ by parts of one."""
    ball = solid((0.2, 0.2, 0.2), round_=True)
    starts = [scene([ball], [(0, 0, 0.3 + 0.002 * i)], [(0, 0, -1.0)], floor=0.0) for i in range(12)]

    def spread(**settings: Any) -> float:
        model = with_properties(make_model(**settings))
        speeds = model(collate(starts), 31, DT)[:, :, 0, :, 2].mean(-1).diff() / DT
        rebounds = speeds.amax(-1) / -speeds.amin(-1)
        return float(rebounds.amax() - rebounds.amin())

    assert spread(substeps=8) < 0.1
    assert spread(substeps=1, sweeps=8) > 0.25


@torch.no_grad()
@pytest.mark.parametrize("awake", [False, True])
def test_collisions_conserve_momentum_and_angular_momentum(awake: bool) -> None:
    ball, box = solid((0.2, 0.2, 0.2), round_=True), solid((0.2, 0.15, 0.1))
    places = [(-0.3, 0.0, 0.0), (0.3, 0.08, 0.0), (0.0, 0.0, 0.5)]
    state = scene([ball, box, box], places, [(1.0, 0, 0), (-1.0, 0, 0), (0, 0.1, -0.8)], 1e5, gravity=0.0)
    state.materials[0, :, 3] = torch.tensor([5.0, 10.0, 2.0])
    model = make_model(awake).double()
    state = SceneState(*(value.double() if value.is_floating_point() else value for value in state.tensors()))

    def momenta(carry: tuple[torch.Tensor, ...]) -> torch.Tensor:
        _, _, _, x, v, omega, R, _, _, _, _, inertia, _, mass, *_ = carry
        spin = (R @ inertia @ R.mT @ omega[..., None]).squeeze(-1)
        angular = torch.linalg.cross(x, v) + spin
        return (mass[..., None] * torch.cat([v, angular], -1)).sum(1)

    carry = model.begin(state)
    before, velocities = momenta(carry), carry[4]
    gyrations = torch.zeros(1, 3, 6).double()
    for _ in range(20):
        carry = model.step(state, carry, gyrations, DT)
    assert (carry[4] - velocities).abs().amax(-1).min() > 0.05  # all of them collided
    torch.testing.assert_close(momenta(carry)[:, :3], before[:, :3], rtol=0, atol=1e-9)
    # Impulses give exactly equal moments; steps of 10 ms of tops that turn freely do not.
    torch.testing.assert_close(momenta(carry)[:, 3:], before[:, 3:], rtol=0, atol=0.1)


@torch.no_grad()
def test_balls_that_meet_head_on_exchange_their_velocities() -> None:
    ball = solid((0.2, 0.2, 0.2), round_=True)
    state = scene([ball, ball], [(-0.3, 0, 0), (0.3, 0, 0)], [(1.0, 0, 0), (-1.0, 0, 0)], gravity=0.0)
    centres = with_properties(make_model(), restitution=20.0)(state, 21, DT)[0].mean(-2)
    after = centres.diff(dim=0)[-1] / DT
    assert -1.02 < after[0, 0] < -0.5
    torch.testing.assert_close(after[1], -after[0], rtol=0, atol=1e-4)
    assert ((centres[:, 1, 0] - centres[:, 0, 0]) > 0.36).all()  # never deep in each other


@torch.no_grad()
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_kernel_of_substeps_does_what_pytorch_does(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of two scenes that fall on each other, slide, roll and hit the floor."""
    ball, box = solid((0.2, 0.2, 0.2), round_=True), solid((0.2, 0.15, 0.1))
    places = [(0.0, 0.0, 0.0), (0.1, 0.05, 0.4), (-0.1, 0.0, 0.75)]
    speeds = [(0.5, 0.0, -1.0), (0.0, 0.3, -1.5), (0.3, 0.0, -2.0)]
    bodies = [box, ball, box]
    stiff, soft = (scene(bodies, places, speeds, E, floor=-0.12, gravity=0.0) for E in (1e6, 5e4))
    stiff.materials[0, :, 3] = torch.tensor([2.0, 10.0, 5.0])
    state = collate([stiff, soft]).to(torch.device(device))
    model = make_model(awake=True, threshold=0.1).to(device)
    fused = model(state, 11, DT)
    monkeypatch.setattr("dynamic_models.models.ngff_impulses.impulse_steps", differentiable_steps)
    plain = model(state, 11, DT)
    assert ((plain[:, -1] - plain[:, 0]).mean(-2) - 0.2 * torch.tensor(speeds).to(device)).norm(dim=-1).min() > 0.05
    torch.testing.assert_close(fused, plain, rtol=0, atol=2e-5 if device == "cpu" else 1e-3)


@torch.no_grad()
@pytest.mark.parametrize("garbage", [0.0, 1e3])
def test_padding_changes_nothing(garbage: float) -> None:
    model, state = make_model(awake=True).double(), make_state()
    bigger = padded(state, 5, 20)
    hole = ~bigger.mask[..., None]
    bigger = replace(bigger, **{n: getattr(bigger, n) + garbage * hole for n in ("points", "velocities", "rest")})
    found = model(bigger, 6, DT)
    torch.testing.assert_close(found[:, :, :3, :12], model(state, 6, DT), rtol=0, atol=1e-6)
    assert found[:, :, 3:].abs().max() == 0


@torch.no_grad()
def test_scenes_of_a_batch_and_order_of_objects_do_not_matter() -> None:
    model, order = make_model(awake=True).double(), [2, 0, 1]
    states = [make_state(3, 12), make_state(3, 20, seed=1)]
    fields = ("points", "velocities", "rest", "mask", "materials", "shares")
    shuffled = [replace(s, **{name: getattr(s, name)[:, order] for name in fields}) for s in states]
    batch = model(collate(shuffled), 5, DT)
    for i, state in enumerate(states):
        alone = model(state, 5, DT)[0, :, order]
        torch.testing.assert_close(batch[i, :, :, : alone.shape[2]], alone, rtol=0, atol=10 * SEARCH)


def test_every_parameter_learns_from_a_collision() -> None:
    ball = solid((0.2, 0.2, 0.2), round_=True, count=60)
    places, velocities = [(0.0, 0.0, 0.21), (0.1, 0.0, 0.65)], [(0.3, 0.0, -1.0), (0.0, 0.2, -2.0)]
    state = scene([ball, ball], places, velocities, 1e5, floor=0.0)
    model = make_model(awake=True)
    model(state, 12, DT).square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    assert all(gradient.abs().max() > 0 for gradient in gradients.values() if gradient is not None)


@torch.no_grad()
def test_wild_weights_cannot_make_a_rollout_infinite() -> None:
    model = make_model(awake=True)
    for parameter in model.parameters():
        parameter.mul_(1e4)
    state = make_state()
    single = SceneState(*(value.float() if value.is_floating_point() else value for value in state.tensors()))
    assert model(single, 100, DT).isfinite().all()
