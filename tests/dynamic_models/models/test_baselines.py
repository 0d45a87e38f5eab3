"""What Pointformer, GCN and RigidFormer must all do, and what the first two."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from dataset.layout import Layout
from dynamic_models.data.scene_state import SceneState, World, collate, equal_shares
from dynamic_models.data.windows import load_scenes
from dynamic_models.evaluation.metrics import trajectory_errors
from dynamic_models.models.building_blocks.body_frame import centers
from dynamic_models.models.checkpoints import CheckpointInfo, load_checkpoint, save_checkpoint
from dynamic_models.models.gcn import GCN, GCNSettings
from dynamic_models.models.interface import FrameModel
from dynamic_models.models.keypoint_prediction import predict_keypoints
from dynamic_models.models.pointformer import Pointformer, PointformerSettings
from dynamic_models.models.registry import build_model
from dynamic_models.models.rigidformer import RigidFormer, RigidFormerSettings
from dynamic_models.training.backward import Backward
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError
from tests.dynamic_models.models.test_ngff import DT, make_state, padded
from tests.dynamic_models.test_train import run_training

Maker = Callable[..., FrameModel]
POINT_FIELDS = ("points", "velocities", "rest")


def make_pointformer(seed: int = 0, awake: bool = True, **settings: Any) -> Pointformer:
    """A small model in float64; ``awake``: with a last layer that is not zero."""
    torch.manual_seed(seed)
    model = Pointformer(PointformerSettings(**({"hidden_dim": 16, "num_layers": 2} | settings)))
    if awake:
        torch.nn.init.normal_(model.head[-1].weight, std=0.05)
    return model.double()


def make_gcn(seed: int = 0, awake: bool = True, **settings: Any) -> GCN:
    """A small model in float64; ``awake``: with a last layer that is not zero."""
    torch.manual_seed(seed)
    model = GCN(GCNSettings(**({"hidden_dim": 16, "num_layers": 2, "radius": 0.15} | settings)))
    if awake:
        torch.nn.init.normal_(model.head.weight, std=0.05)
    return model.double()


def make_rigidformer(seed: int = 0, awake: bool = True, **settings: Any) -> RigidFormer:
    """A small model in float64; ``awake``: with a last layer that is not zero."""
    torch.manual_seed(seed)
    model = RigidFormer(RigidFormerSettings(**({"hidden_dim": 16, "num_layers": 2} | settings)))
    if awake:
        torch.nn.init.normal_(model.head[-1].weight, std=0.05)
    return model.double()


every = pytest.mark.parametrize("make", [make_pointformer, make_gcn, make_rigidformer])
both = pytest.mark.parametrize("make", [make_pointformer, make_gcn])


def single(state: SceneState) -> SceneState:
    return state.map(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)


@both
def test_untrained_model_stands_still_and_an_awake_one_does_not(make: Maker) -> None:
    state = make_state()
    still, moving = (make(awake=awake)(state, 6, DT) for awake in (False, True))
    # Only rounding of a centre subtracted and added again
    torch.testing.assert_close(still, state.points[:, None].expand_as(still), rtol=0, atol=1e-12)
    assert (moving - still).norm(dim=-1).amax() > 0.01  # or else the tests below would be empty


@every
@pytest.mark.parametrize("garbage", [0.0, 1e3])
def test_padding_changes_nothing(make: Maker, garbage: float) -> None:
    model, state = make(), make_state()
    bigger = padded(state, 8, 20)
    hole = ~bigger.mask[..., None]
    bigger = replace(bigger, **{n: getattr(bigger, n) + garbage * hole for n in ("points", "velocities", "rest")})
    pushes = torch.zeros(1, 5, 8, 6).double()
    pushes[:, :2, 1] = torch.tensor([1.0, 0, 2, 0.1, 0, 0.2])
    pushes[:, :, 3:] = garbage
    predicted = model(bigger, 6, DT, pushes)
    # float64: other sizes only change the order of sums
    torch.testing.assert_close(predicted[:, :, :3, :12], model(state, 6, DT, pushes[:, :, :3]), rtol=0, atol=1e-10)
    assert predicted[:, :, 3:].abs().amax() == 0


@every
def test_gaps_among_points_change_nothing(make: Maker) -> None:
    """Points that do not exist need not be the last ones."""
    model, state = make(), make_state(3, 12)
    mask = state.mask.clone()
    mask[0, 0, 2:5] = mask[0, 1, 0] = False
    with_gaps = replace(state, mask=mask, shares=equal_shares(mask).double())
    order = (~mask).to(torch.uint8).argsort(dim=-1, stable=True)
    fields = {name: getattr(state, name).gather(2, order[..., None].expand(-1, -1, -1, 3)) for name in POINT_FIELDS}
    fields |= {name: getattr(with_gaps, name).gather(2, order) for name in ("mask", "shares")}
    sorted_state = replace(state, **fields)
    expected = model(sorted_state, 5, DT)
    found = model(with_gaps, 5, DT).gather(3, order[:, None, ..., None].expand_as(expected))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@every
def test_scenes_of_a_batch_do_not_see_each_other(make: Maker) -> None:
    model = make()
    states = [make_state(3, 12), make_state(1, 20, seed=1), make_state(8, 5, seed=2)]
    batch = model(collate(states), 5, DT)
    for i, state in enumerate(states):
        objects, points = state.mask.shape[1:]
        torch.testing.assert_close(batch[i, :, :objects, :points], model(state, 5, DT)[0], rtol=0, atol=1e-10)


@every
def test_order_of_objects_and_points_does_not_matter(make: Maker) -> None:
    model, state = make(), make_state()
    objects, points = [2, 0, 1], torch.randperm(12, generator=torch.Generator().manual_seed(1))
    fields = {name: getattr(state, name)[:, objects][:, :, points] for name in (*POINT_FIELDS, "mask", "shares")}
    shuffled = replace(state, **fields, materials=state.materials[:, objects])
    expected = model(state, 6, DT)[:, :, objects][:, :, :, points]
    torch.testing.assert_close(model(shuffled, 6, DT), expected, rtol=0, atol=1e-10)


@every
def test_gradients_are_those_of_the_rollout(make: Maker) -> None:
    model, state = make(), make_state(2, 4)
    parameters = dict(model.named_parameters())
    pushes = torch.full((1, 2, 2, 6), 0.5).double()

    def rollout(points: torch.Tensor, velocities: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        moved = replace(state, points=points, velocities=velocities)
        return torch.func.functional_call(model, dict(zip(parameters, values, strict=True)), (moved, 3, DT, pushes))

    inputs = [state.points.clone(), state.velocities.clone(), *(p.detach().clone() for p in parameters.values())]
    # Central differences of step 1e-6 in float64 have errors of some 1e-9; ReLUs' kinks are not met with this seed.
    assert torch.autograd.gradcheck(rollout, [x.requires_grad_() for x in inputs], atol=1e-6, fast_mode=True)


@every
def test_recomputing_activations_changes_no_gradient(make: Maker) -> None:
    state = make_state()

    def gradients(limit: float) -> list[torch.Tensor]:
        model = make()
        model.activation_limit = limit
        return list(torch.autograd.grad(model(state, 4, DT).square().sum(), list(model.parameters())))

    torch.testing.assert_close(gradients(0.0), gradients(torch.inf), rtol=1e-12, atol=1e-12)


@every
def test_wild_weights_cannot_make_a_rollout_infinite(make: Maker) -> None:
    model = make().float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(100)
        assert model(single(make_state()), 200, DT).isfinite().all()


@every
def test_bfloat16_networks_stay_close(make: Maker) -> None:
    state, model = single(make_state()), make().float()
    with torch.no_grad():
        full = model(state, 6, DT)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model(state, 6, DT)
    assert mixed.dtype == torch.float32
    travelled = (full[:, -1] - full[:, 0]).norm(dim=-1).amax().item()
    # bfloat16 knows 8 bits; a dozen roundings one after another, in five frames
    torch.testing.assert_close(mixed, full, rtol=0, atol=0.05 * travelled)


@both
def test_a_push_moves_a_body_as_in_free_space(make: Maker) -> None:
    """Force and torque for three frames: the untrained model itself does nothing."""
    state = replace(make_state(1, 40), velocities=torch.zeros(1, 1, 40, 3).double())
    acceleration = torch.tensor([1.0, -2.0, 4.0]).double()
    pushes = torch.zeros(1, 3, 1, 6).double()
    pushes[..., :3] = acceleration
    moved = make(awake=False)(state, 4, DT, pushes)
    step = acceleration * DT**2 / 2
    # Pointformer carries on the velocity that it was given; GCN learns what velocities do to places.
    expected = state.points + step * (9 if make is make_pointformer else 3)
    torch.testing.assert_close(moved[:, -1], expected, rtol=0, atol=1e-12)

    # T / m = (I / m) alpha about z: the body turns at alpha t after a time t.
    arms = (state.points - centers(state.points, state.shares)[:, :, None])[0, 0]
    inertias = (arms * arms).sum(-1)[:, None, None] * torch.eye(3) - arms[:, :, None] * arms[:, None]
    inertia = (inertias * state.shares[0, 0, :, None, None]).sum(0)
    alpha = torch.tensor([0.0, 0.0, 3.0]).double()
    pushes = torch.zeros(1, 1, 1, 6).double()
    pushes[0, 0, 0, 3:] = inertia @ alpha
    moved = make(awake=False)(state, 2, DT, pushes)
    turned = torch.linalg.cross(alpha.expand_as(arms), arms) * DT**2 / 2
    # The inertia has a share of 1e-6 added to it; a rotation differs from its tangent in the square of its angle.
    torch.testing.assert_close((moved[:, 1] - state.points)[0, 0], turned, rtol=1e-3, atol=1e-6)


def test_gcn_keeps_the_velocity_of_a_push() -> None:
    state, model = make_state(2), make_gcn(awake=False)
    push = torch.zeros(1, 2, 6).double()
    push[:, 1, 2] = 3.0
    _, velocities = model.step(state, model.begin(state), push, DT)
    gained = velocities - state.velocities
    assert gained[:, 0].abs().amax() == 0
    torch.testing.assert_close(
        gained[:, 1, :, 2], torch.full((1, 12), 3.0 * DT, dtype=torch.float64), rtol=0, atol=1e-12
    )


@every
def test_checkpoint_gives_the_same_model(make: Maker, tmp_path: Path) -> None:
    model, state = make().float(), single(make_state())
    settings = model.settings.model_dump()
    save_checkpoint(tmp_path / "best.json", model, CheckpointInfo(settings=settings, num_keypoints=12, frame_dt=DT))
    loaded, _ = load_checkpoint(tmp_path, settings["dynamic_model"])
    assert type(loaded) is type(model)
    with torch.no_grad():
        assert torch.equal(loaded(state, 4, DT), model(state, 4, DT))


@every
def test_prediction_takes_it(make: Maker) -> None:
    generator = torch.Generator().manual_seed(0)
    means = 0.1 * torch.randn(35, 3, generator=generator)
    labels = torch.tensor([4] * 30 + [7] * 5, dtype=torch.int32)
    gaussians = Gaussians(means, torch.ones(35), torch.zeros(35, 1, 3), covariances=torch.zeros(35, 6), labels=labels)
    found = predict_keypoints(make().float(), gaussians, 8, num_frames=4, frame_dt=DT, world=World())
    assert [tuple(positions.shape) for positions in found.positions] == [(4, 8, 3), (4, 5, 3)]
    for rows, positions in zip(found.rows, found.positions, strict=True):
        torch.testing.assert_close(positions[0], means[rows])


@pytest.mark.parametrize("name", ["pointformer", "gcn"])
def test_training_learns(name: str, monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path) -> None:
    """A ball that falls, seen whole, is far better known after 80 updates than by standing still."""
    flags = f"--dynamic_model {name} --groups held --steps 12 --chunk 12 --batch_size 1 --epochs 80 --no-augment"
    flags += " --save_interval 80 --hidden_dim 24 --num_layers 1 --lr 1e-2"
    metrics = run_training(monkeypatch, toy_root, tmp_path / "out", flags)
    assert metrics[-1]["loss"] < 0.3 * metrics[0]["loss"]
    model, info = load_checkpoint(tmp_path / "out", name)
    # The best of all epochs is what the checkpoint does, and better than standing still.
    scene = load_scenes(Layout(toy_root), ["held"], 12, 12, progress=False)[0]
    window = scene.window(0, 12)
    with torch.no_grad():
        error, still = (
            trajectory_errors(m(window.state, 12, DT)[0], window.target[0], window.state.mask[0]).rmse
            for m in (model, build_model(info.settings))
        )
    assert error == pytest.approx(info.training["train_rmse"], rel=1e-4)
    assert error < 0.6 * still


def test_settings_of_another_model_are_refused() -> None:
    with pytest.raises(InputError, match="radius"):
        build_model({"dynamic_model": "pointformer", "radius": 0.1})
    with pytest.raises(InputError, match="radius"):
        build_model({"dynamic_model": "gcn", "radius": -0.1})


@every
@pytest.mark.gpu
def test_compiled_frames_that_are_recomputed_have_the_gradients(make: Maker) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    state = single(collate([make_state(3, 40), make_state(2, 30, seed=1)])).to("cuda")
    target = state.points[:, None] + torch.linspace(0, 0.1, 6, device="cuda")[None, :, None, None, None]
    found = []
    for compiled in (False, True):
        model = make().float().cuda()
        model.activation_limit = 0.0 if compiled else torch.inf
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        losses = Backward(model, Accelerator(), "mse", 1, DT, compiled=compiled)(
            state, target, target.new_zeros(2, 5, 3, 6)
        )
        found.append([losses, *(parameter.grad for parameter in model.parameters())])
    for one, other in zip(*found, strict=True):
        assert other.norm() > 0
        assert (one - other).norm() <= 1e-3 * other.norm()  # float32 in another order, through five frames
