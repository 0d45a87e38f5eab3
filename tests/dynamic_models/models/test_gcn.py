import pytest
import torch

from dynamic_models.data.scene_state import collate
from dynamic_models.models.building_blocks.radius_graph import (
    bfloat16_parts,
    connect_points,
    radius_graph,
    sum_neighbours,
)
from tests.dynamic_models.models.test_baselines import make_gcn, single
from tests.dynamic_models.models.test_ngff import DT, make_state

REACH = 0.1
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def cloud(batch: int = 3, count: int = 203, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (B, N, 3) with some ten neighbours each, and a mask with holes and an empty scene."""
    generator = torch.Generator().manual_seed(seed)
    points = 0.5 * torch.rand(batch, count, 3, generator=generator) - 1.5
    mask = torch.rand(batch, count, generator=generator) < 0.8
    mask[-1] = False
    return points, mask


def test_neighbours_by_hand() -> None:
    """A chain of three points, the last two at one place, and one that does not exist in their midst."""
    points = torch.tensor([[[0.0, 0, 0], [0.09, 0, 0], [0.09, 0, 0], [0.15, 0, 0], [0.05, 0, 0]]]).double()
    mask = torch.tensor([[True, True, True, True, False]])
    adjacency, degrees = radius_graph(points, mask, REACH)
    expected = [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    assert adjacency[0].tolist() == expected
    assert degrees[0].tolist() == [3, 4, 4, 3, 0]


@pytest.mark.parametrize("device", DEVICES)
def test_kernel_finds_the_same_neighbours(device: str) -> None:
    points, mask = cloud()
    expected, expected_degrees = radius_graph(points.double(), mask, REACH)
    distances = torch.cdist(points.double(), points.double())
    assert (distances - REACH).abs().amin() > 1e-7  # no pair so near the radius that float32 may decide otherwise
    adjacency, degrees = connect_points(points.to(device), mask.to(device), REACH)
    assert adjacency.dtype == torch.bfloat16
    assert expected_degrees[mask].mean() > 3
    assert torch.equal(adjacency.cpu().double(), expected)
    assert torch.equal(degrees.cpu().double(), expected_degrees)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("width", "backend"), [(6, None), (32, None), (6, "aot_eager"), (6, "inductor")])
def test_sums_over_neighbours_and_their_gradients(device: str, width: int, backend: str | None) -> None:
    if backend == "inductor" and device == "cpu":
        pytest.skip("takes long, for the same graph as aot_eager's")
    points, mask = cloud()
    adjacency, degrees = connect_points(points.to(device), mask.to(device), REACH)
    features, weight = torch.randn(2, *mask.shape, width, generator=torch.Generator().manual_seed(1)).to(device)
    features.requires_grad_()
    summed = torch.compile(sum_neighbours, backend=backend, dynamic=False) if backend else sum_neighbours
    sums = summed(adjacency, features)
    (gradient,) = torch.autograd.grad((sums * weight).sum(), features)
    assert sums.dtype == torch.float32
    # float32 sums of at most some twenty numbers of size 1, also where the GPU sums them in three bfloat16 parts
    assert degrees.amax() < 40
    exact = adjacency.double() @ features.double()
    torch.testing.assert_close(sums.double(), exact, rtol=0, atol=1e-5)
    torch.testing.assert_close(gradient.double(), adjacency.double() @ weight.double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_operators_keep_what_they_promise_to_compilers(device: str) -> None:
    points, mask = (tensor.to(device) for tensor in cloud(count=21))
    torch.library.opcheck(connect_points, (points, mask, REACH))
    adjacency, _ = connect_points(points, mask, REACH)
    for dtype in (torch.float32, torch.bfloat16):
        features = torch.randn(*mask.shape, 6, device=device).to(dtype).requires_grad_()
        torch.library.opcheck(sum_neighbours, (adjacency, features))


def test_three_parts_lose_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(1000, generator=generator) * 10 ** (6 * torch.rand(1000, generator=generator) - 3)
    parts = bfloat16_parts(numbers)
    assert all(part.dtype == torch.bfloat16 for part in parts)
    assert torch.equal(sum(part.double() for part in parts), numbers.double())
    assert bfloat16_parts(numbers.bfloat16())[0].dtype == torch.bfloat16


def test_layers_are_kipf_and_wellings() -> None:
    """By the formula, with the matrix D^-1/2 (A + I) D^-1/2 written out."""
    model, state = make_gcn(num_layers=3), make_state(2, 9)
    points, velocities = state.points.flatten(1, 2)[0], state.velocities.flatten(1, 2)[0]
    distances = (points[:, None] - points).norm(dim=-1)
    joined = (distances < model.settings.radius).double().fill_diagonal_(0) + torch.eye(18)
    degrees = joined.sum(1)
    assert degrees.unique().numel() > 3
    normalized = joined / (degrees[:, None] * degrees).sqrt()
    h = torch.cat([points, velocities], -1)
    for convolution in model.convolutions:
        h = torch.relu(normalized @ (h @ convolution.weight.T) + convolution.bias)
    expected = 50 * torch.tanh(model.head(h) / 50)
    found = model.changes(points[None], velocities[None], torch.ones(1, 18, dtype=torch.bool))[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.gpu
def test_replayed_frames_are_the_frames_of_the_cpu() -> None:
    states = [make_state(3, 12), make_state(1, 20, seed=1), make_state(8, 5, seed=2)]
    model = make_gcn().float()
    for chosen in (states, states[::-1]):  # other paddings through the same graph
        state = single(collate(chosen))
        with torch.no_grad():
            expected = model.cpu()(state, 3, DT)
            replayed = model.cuda()(state.to("cuda"), 3, DT).cpu()
        # float32 in another order; three frames, before a pair at the radius can be decided otherwise
        torch.testing.assert_close(replayed, expected, rtol=0, atol=1e-5)
