from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torchdiffeq

from dynamic_models.contact.body_contact import nearest_wall
from dynamic_models.data.scene_state import SceneState, collate, pad
from dynamic_models.models.building_blocks.body_frame import centers, split_motion
from dynamic_models.models.building_blocks.integration import OdeMethod, State, substeps
from dynamic_models.models.registry import build_model
from gaussians.rotations import rotation_exp

DT = 0.02
SEARCH = 1e-7  # metres: the search for contacts is in single precision


def make_model(kind: str = "ngff", awake: bool = True, **settings: Any) -> Any:
    """A small model in float64; ``awake``: with last layers that are not zero, so that contact does something."""
    torch.manual_seed(0)
    small = {"dynamic_model": kind, "hidden_dim": 16, "num_layers": 1, "step_size": DT, "threshold": 0.1}
    model: Any = build_model(small | settings)
    if awake:
        contacts = (model.contact,) if kind == "ngff" else (model.pair_head, model.wall_head)
        stress = () if model.stress is None else (model.stress.joint,)
        strength = 0.05 if kind == "ngff" else 0.3  # its springs are stiff
        for head in (*contacts, *stress):
            torch.nn.init.normal_(head[-1].weight, std=strength)
            torch.nn.init.normal_(head[-1].bias, std=strength)
    return model.double()


@pytest.fixture(params=["ngff", "ngff_objects", "ngff_published"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["ngff", "ngff_objects"])
def mended(request: pytest.FixtureRequest) -> str:
    """Models that the published one's defects are mended in."""
    return str(request.param)


def make_state(objects: int = 3, points: int = 12, seed: int = 0, floor: float = -0.3) -> SceneState:
    """Blobs that touch each other and the floor, turning and deformed."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rest = 0.1 * random(1, objects, points, 3)
    places = torch.zeros(objects, 3, dtype=torch.float64)
    places[:, 0] = 0.25 * torch.arange(objects)
    turned = rest @ rotation_exp(random(1, objects, 3)).mT
    return SceneState(
        points=turned + places[:, None] + 0.01 * random(1, objects, points, 3),
        velocities=0.5 * random(1, objects, 1, 3) + 0.1 * random(1, objects, points, 3),
        rest=rest,
        mask=torch.ones(1, objects, points, dtype=torch.bool),
        materials=torch.ones(1, objects, 4, dtype=torch.float64),
        gravity=torch.tensor([[0.0, 0.0, -5.0]]).double(),
        walls=torch.tensor([[-1.94, 1.94, -1.94, 1.94, floor]], dtype=torch.float64),
        shares=random(1, objects, points).softmax(-1),
    )


def padded(state: SceneState, objects: int, points: int) -> SceneState:
    sizes = (objects, points)
    fields = {name: pad(getattr(state, name), 1, sizes) for name in ("points", "velocities", "rest", "mask", "shares")}
    return replace(state, **fields, materials=pad(state.materials, 1, (objects,)))


def test_awake_model_differs_from_free_flight(kind: str) -> None:
    """The tests below would be empty if contact did nothing."""
    state = make_state()
    difference = make_model(kind)(state, 6, DT) - make_model(kind, awake=False)(state, 6, DT)
    assert difference.norm(dim=-1).amax() > 0.01


@pytest.mark.parametrize("garbage", [0.0, 1e3])
def test_padding_changes_nothing(garbage: float, kind: str) -> None:
    model, state = make_model(kind), make_state()
    bigger = padded(state, 5, 20)
    hole = ~bigger.mask[..., None]
    bigger = replace(bigger, **{n: getattr(bigger, n) + garbage * hole for n in ("points", "velocities", "rest")})
    # float64: other sizes only change the order of sums
    torch.testing.assert_close(model(bigger, 6, DT)[:, :, :3, :12], model(state, 6, DT), rtol=0, atol=1e-10)
    assert model(bigger, 6, DT)[:, :, 3:].abs().amax() == 0


def test_scenes_of_a_batch_do_not_see_each_other(kind: str) -> None:
    model = make_model(kind)
    states = [make_state(3, 12), make_state(1, 20, seed=1), make_state(8, 5, seed=2)]
    batch = model(collate(states), 5, DT)
    for i, state in enumerate(states):
        objects, points = state.mask.shape[1:]
        alone = model(state, 5, DT)[0]
        torch.testing.assert_close(batch[i, :, :objects, :points], alone, rtol=0, atol=1e-10)


def test_order_of_objects_does_not_matter(kind: str) -> None:
    model, state, order = make_model(kind), make_state(), [2, 0, 1]
    fields = ("points", "velocities", "rest", "mask", "materials", "shares")
    shuffled = replace(state, **{name: getattr(state, name)[:, order] for name in fields})
    torch.testing.assert_close(model(shuffled, 6, DT), model(state, 6, DT)[:, :, order], rtol=0, atol=1e-10)


def test_place_on_the_floor_does_not_matter_away_from_walls(mended: str) -> None:
    model, state = make_model(mended), make_state(floor=-0.15)
    shift = torch.tensor([0.3, -0.7, 0.0]).double()
    moved = replace(state, points=state.points + shift, rest=state.rest - shift)
    torch.testing.assert_close(model(moved, 6, DT), model(state, 6, DT) + shift, rtol=0, atol=SEARCH)


def test_height_matters_only_relative_to_the_floor(kind: str) -> None:
    model, state = make_model(kind), make_state(floor=-0.15)
    shift = torch.tensor([0.0, 0.0, 2.0]).double()
    moved = replace(state, points=state.points + shift, walls=state.walls + torch.tensor([0, 0, 0, 0, 2.0]))
    torch.testing.assert_close(model(moved, 6, DT), model(state, 6, DT) + shift, rtol=0, atol=SEARCH)


def test_published_equations_depend_on_place_and_push_unequally() -> None:
    """What ``ngff_objects`` mends is there: a wall net that sees positions, angles that add up, forces without a
    counterpart."""
    model, state = make_model("ngff_published"), make_state(floor=-0.15)
    shift = torch.tensor([0.6, -1.4, 0.0]).double()
    moved = replace(state, points=state.points + shift, rest=state.rest - shift)
    assert (model(moved, 6, DT) - model(state, 6, DT) - shift).abs().max() > 1e-2
    alone = make_state(1, floor=-9.0)
    *_, angles, omega, _, _ = model.begin(alone)
    still = make_model("ngff_published", awake=False)
    *_, later, _, _, _ = still.step(alone, still.begin(alone), torch.zeros(1, 1, 6).double(), DT)
    torch.testing.assert_close(later, angles + DT * omega, rtol=0, atol=1e-12)
    pushed, free = (make_model("ngff_published", awake=x)(make_state(2, floor=-9.0), 8, DT) for x in (True, False))
    assert (pushed - free).mean(-2).sum(-2).norm(dim=-1).max() > 1e-2  # the sum of two equal masses' displacements


@pytest.mark.parametrize("method", ["euler", "leapfrog", "midpoint", "rk4"])
def test_untouched_objects_fall_freely(method: OdeMethod) -> None:
    """Centres by the integrator's closed form for constant acceleration; spin and shape stay as they are."""
    state = make_state(1, floor=-9.0)
    body = split_motion(state)
    model = make_model("ngff_objects", awake=False, ode_method=method, step_size=DT / 2)
    frames = 11
    t, h = DT * (frames - 1), DT / 2
    gained = state.gravity * (t * (t - h) if method == "euler" else t * t) / 2
    predicted = model(state, frames, DT)
    center = centers(predicted, state.shares)[0, -1, 0]
    torch.testing.assert_close(center, (body.x + body.v * t)[0, 0] + gained[0], rtol=0, atol=1e-12)
    # Constant angular velocity integrates to one rotation about its axis, whatever the method: no vector is lost.
    turned = (rotation_exp(body.omega * t) @ body.R)[0, 0]
    q = body.q[0, 0] + body.qdot[0, 0] * t
    torch.testing.assert_close(predicted[0, -1, 0] - center, q @ turned.mT, rtol=0, atol=1e-10)


def test_deformation_moves_no_centre(mended: str) -> None:
    state = make_state(1, floor=-9.0)
    moved, free = (make_model(mended, awake=awake)(state, 8, DT) for awake in (True, False))
    assert (moved - free).abs().max() > 1e-4
    torch.testing.assert_close(*(centers(each, state.shares) for each in (moved, free)), rtol=0, atol=1e-12)


def test_objects_that_touch_push_each_other_equally() -> None:
    """Without walls the mean of the (equally heavy) objects' centres falls freely, however hard they collide."""
    state = make_state(3, floor=-9.0)
    rollouts = (make_model("ngff_objects", awake=awake)(state, 8, DT) for awake in (True, False))
    pushed, free = (centers(points, state.shares) for points in rollouts)
    assert (pushed - free).norm(dim=-1).amax() > 1e-3
    torch.testing.assert_close(pushed.mean(2), free.mean(2), rtol=0, atol=1e-12)


def test_pair_forces_rise_from_zero_at_the_threshold() -> None:
    """Two single points, a hair inside and outside of the threshold."""
    points = torch.zeros(1, 2, 1, 3, dtype=torch.float64)
    state = replace(make_state(2, 1, floor=-9.0), rest=points, velocities=points)
    moved = []
    for gap in (0.1 + 1e-9, 0.1 - 1e-9, 0.05):
        apart = points.clone()
        apart[0, 1, 0, 0] = gap
        placed = replace(state, points=apart)
        pushed, free = (
            make_model("ngff_objects", awake=awake, ode_method="midpoint")(placed, 2, DT) for awake in (True, False)
        )
        moved.append((pushed - free)[0, 1].abs().amax().item())
    assert moved[0] == 0
    assert moved[1] < 1e-8
    assert moved[2] > 1e-6


def test_orientation_stays_a_rotation(mended: str) -> None:
    state = make_state()
    single = SceneState(**{n: v.float() if v.is_floating_point() else v for n, v in vars(state).items()})
    model, found = make_model(mended).float(), []
    with torch.no_grad():
        carry = model.begin(single)
        for _ in range(199):
            carry = model.step(single, carry, torch.zeros(1, 3, 6), DT)
            found.append(carry[5])
    R = torch.cat(found)
    # 200 products of float32 rotations: rounding adds up to a few 1e-6
    torch.testing.assert_close(R @ R.mT, torch.eye(3).expand_as(R), rtol=0, atol=2e-5)
    assert (torch.linalg.det(R) > 0.99).all()
    assert (R[-1] - R[0]).abs().amax() > 0.1  # and it did turn


@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4"])
def test_rollout_and_gradients_are_torchdiffeqs(method: OdeMethod, kind: str) -> None:
    state = make_state()

    def by_torchdiffeq(derivative: Callable[[State], State], y: State, frame_dt: float) -> State:
        times = torch.linspace(0.0, frame_dt, substeps(frame_dt, DT / 2) + 1, dtype=torch.float64)
        return tuple(values[-1] for values in torchdiffeq.odeint(lambda t, y: derivative(y), y, times, method=method))

    def rollout_and_gradients(ours: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        model = make_model(kind, ode_method=method, step_size=DT / 2)
        if not ours:
            model.integrate = by_torchdiffeq
        predicted = model(state, 5, DT)
        loss = predicted.square().sum()
        return predicted.detach(), list(torch.autograd.grad(loss, list(model.parameters())))

    own, theirs = rollout_and_gradients(True), rollout_and_gradients(False)
    torch.testing.assert_close(own, theirs, rtol=1e-8, atol=1e-10)  # float64 rounding through 8 contact steps


def test_adaptive_agrees_with_small_steps_where_nothing_jumps() -> None:
    """Without contact's gates (all points of one object within the threshold) the field is smooth."""
    state = make_state(1)
    fine = make_model("ngff_objects", threshold=5.0, ode_method="rk4", step_size=DT / 8)(state, 4, DT)
    adaptive = make_model("ngff_objects", threshold=5.0, ode_method="adaptive", rtol=1e-8, atol=1e-8)(state, 4, DT)
    torch.testing.assert_close(adaptive, fine, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["euler", "leapfrog"])
@pytest.mark.parametrize(
    ("kind", "objects", "names"),
    [
        ("ngff_objects", 2, ["wall_head.1.bias", "pair_head.1.bias", "stress.joint.3.bias", "shape.lift.0.weight"]),
        # One object alone, for contact with others has no gradient with respect to places.
        ("ngff", 1, ["contact.1.bias", "contact.0.0.0.weight", "stress.joint.3.bias"]),
    ],
)
def test_gradients_are_those_of_the_discrete_rollout(
    kind: str, objects: int, names: list[str], method: OdeMethod
) -> None:
    model, state = make_model(kind, ode_method=method), make_state(objects, 4, floor=-0.15)
    parameters = dict(model.named_parameters())

    def rollout(velocities: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        given = dict(zip(names, values, strict=True))
        moved = replace(state, velocities=velocities)
        return torch.func.functional_call(model, given, (moved, 4, DT))

    inputs = (state.velocities.clone().requires_grad_(), *(parameters[name] for name in names))
    assert all(gradient.abs().amax() > 0 for gradient in torch.autograd.grad(rollout(*inputs).square().sum(), inputs))
    assert torch.autograd.gradcheck(rollout, inputs, eps=1e-7, atol=1e-5, rtol=1e-3, fast_mode=True)


def test_recomputing_activations_changes_no_gradient(kind: str) -> None:
    state = make_state()

    def gradients(limit: float) -> list[torch.Tensor]:
        model = make_model(kind)
        model.activation_limit = limit
        return list(torch.autograd.grad(model(state, 4, DT).square().sum(), list(model.parameters())))

    torch.testing.assert_close(gradients(0.0), gradients(torch.inf), rtol=1e-12, atol=1e-12)


def test_wild_weights_cannot_make_a_rollout_infinite(kind: str) -> None:
    model = make_model(kind).float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e4)
    state = make_state()
    single = SceneState(**{n: v.float() if v.is_floating_point() else v for n, v in vars(state).items()})
    with torch.no_grad():
        assert model(single, 200, DT).isfinite().all()


def test_bfloat16_networks_stay_close(kind: str) -> None:
    state = make_state()
    single = SceneState(**{n: v.float() if v.is_floating_point() else v for n, v in vars(state).items()})
    model = make_model(kind).float()
    with torch.no_grad():
        full = model(single, 6, DT)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model(single, 6, DT)
    assert mixed.dtype == torch.float32
    # Accelerations of some 10 m/s^2 to bfloat16's 2^-8 move points by less than 1 mm in 0.1 s.
    torch.testing.assert_close(mixed, full, rtol=0, atol=2e-3)


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(kind: str) -> None:
    state = make_state()
    with torch.no_grad():
        gpu = make_model(kind).cuda()(state.to("cuda"), 6, DT).cpu()
        torch.testing.assert_close(gpu, make_model(kind)(state, 6, DT), rtol=0, atol=SEARCH)


def test_nearest_wall_is_the_nearest() -> None:
    world = torch.tensor([[[[0.0, 0.0, -0.8], [1.9, 0.0, 0.0], [0.0, -1.93, -0.9], [0.0, 0.0, -1.0]]]]).double()
    gaps, normals = nearest_wall(world, torch.tensor([[-1.94, 1.94, -1.94, 1.94, -0.94]]).double())
    torch.testing.assert_close(gaps[0, 0], torch.tensor([0.14, 0.04, 0.01, -0.06]).double(), rtol=0, atol=1e-6)
    assert normals[0, 0].tolist() == [[0, 0, 1], [-1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_rigid_objects_keep_their_shape() -> None:
    model, state = make_model(awake=False, deformation=False), make_state()
    torch.nn.init.normal_(model.contact[-1].weight, std=0.3)
    assert not any("stress" in name for name, _ in model.named_parameters())
    predicted = model(state, 10, DT)[0]
    shapes = torch.cdist(predicted, predicted)
    torch.testing.assert_close(shapes, shapes[:1].expand_as(shapes), rtol=0, atol=1e-9)
