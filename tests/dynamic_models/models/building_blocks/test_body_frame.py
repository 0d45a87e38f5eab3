import pytest
import torch

from dynamic_models.data.scene_state import SceneState, equal_shares
from dynamic_models.models.building_blocks.body_frame import product, split_motion, turn
from gaussians.rotations import rotation_exp


def moved(deformation: float, generator: torch.Generator) -> tuple[SceneState, torch.Tensor, torch.Tensor]:
    """Two scenes of three objects, turned and moving rigidly; their rotations and angular velocities."""
    rest = torch.randn(2, 3, 20, 3, generator=generator)
    rotations = rotation_exp(torch.randn(2, 3, 3, generator=generator))
    omega = torch.randn(2, 3, 3, generator=generator)
    mask = torch.ones(2, 3, 20, dtype=torch.bool)
    mask[0, 1, 12:] = False
    mask[1, 2] = False
    shares = torch.randn(2, 3, 20, generator=generator).exp() * mask
    shares = shares / shares.sum(-1, keepdim=True).clamp_min(1e-9)
    mean = (rest * shares[..., None]).sum(2, keepdim=True)
    arms = turn(rotations, rest - mean)
    velocities = torch.tensor([1.0, 2.0, 3.0]) + torch.linalg.cross(omega[:, :, None].expand_as(arms), arms)
    points = arms * (1 + deformation) + 0.7
    zeros = torch.zeros(2, 3, 4), torch.zeros(2, 3), torch.zeros(2, 5)
    state = SceneState(points, velocities, rest, mask, *zeros, shares)
    return state, rotations, omega


def test_rigid_motion_is_recovered_without_deformation() -> None:
    state, rotations, omega = moved(0.0, torch.Generator().manual_seed(0))
    body = split_motion(state)
    exists = state.mask.any(-1)
    mask = state.mask[..., None]
    # float32 sums over 20 points of size 1
    torch.testing.assert_close(body.R[exists], rotations[exists], rtol=0, atol=1e-5)
    torch.testing.assert_close(body.omega[exists], omega[exists], rtol=0, atol=1e-4)
    torch.testing.assert_close(body.v[exists], torch.tensor([1.0, 2.0, 3.0]).expand_as(body.v[exists]))
    torch.testing.assert_close(body.q, body.q0, rtol=0, atol=1e-5)
    assert body.qdot.abs().amax() < 1e-4
    rebuilt = turn(body.R, body.q) + body.x[..., None, :]
    torch.testing.assert_close(rebuilt * mask, state.points * mask, rtol=0, atol=1e-5)


def test_world_velocities_are_rebuilt_under_deformation() -> None:
    state, _, _ = moved(0.3, torch.Generator().manual_seed(1))
    body = split_motion(state)
    arms = turn(body.R, body.q)
    spin = torch.linalg.cross(body.omega[..., None, :].expand_as(arms), arms)
    rebuilt = body.v[..., None, :] + spin + turn(body.R, body.qdot)
    mask = state.mask[..., None]
    torch.testing.assert_close(rebuilt * mask, state.velocities * mask, rtol=0, atol=1e-4)


def test_single_points_and_rods_stay_finite() -> None:
    points = torch.zeros(1, 2, 3, 3)
    points[0, 1, :, 0] = torch.tensor([0.0, 1.0, 2.0])
    mask = torch.tensor([[[True, False, False], [True, True, True]]])
    zeros = torch.zeros(1, 2, 4), torch.zeros(1, 3), torch.zeros(1, 5)
    state = SceneState(points, torch.ones_like(points), points, mask, *zeros, equal_shares(mask))
    body = split_motion(state)
    assert all(getattr(body, name).isfinite().all() for name in ("q", "qdot", "v", "R", "omega"))
    torch.testing.assert_close(torch.linalg.det(body.R), torch.ones(1, 2))


@pytest.mark.parametrize(("rows", "terms"), [(50, 3), (4, 50)])
def test_compiled_products_and_their_gradients_are_those_of_matrices(rows: int, terms: int) -> None:
    """Points times rotations, and sums over points; with the second matrix for two of the first."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(2, 3, rows, terms, generator=generator, dtype=torch.float64, requires_grad=True)
    b = torch.randn(3, terms, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(product, backend="aot_eager", fullgraph=True)(a, b)
    torch.testing.assert_close(compiled, a @ b, rtol=0, atol=1e-12)
    weight = torch.randn(compiled.shape, generator=generator, dtype=torch.float64)
    found, expected = (torch.autograd.grad((x * weight).sum(), (a, b)) for x in (compiled, a @ b))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
