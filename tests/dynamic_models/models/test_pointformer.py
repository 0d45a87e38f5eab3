from dataclasses import replace

import pytest
import torch
from torch import nn

from dynamic_models.data.scene_state import SceneState, collate
from dynamic_models.models.building_blocks.exact_attention import exact_attention
from dynamic_models.models.pointformer import EncoderLayer, attention
from tests.dynamic_models.models.test_baselines import make_pointformer, single
from tests.dynamic_models.models.test_ngff import DT, make_state

COUNTS = (7, 1, 10)
"""points of three scenes, of ten with padding"""


def edges_of(counts: tuple[int, ...], total: int) -> torch.Tensor:
    starts = [edge for b, count in enumerate(counts) for edge in (b * total, b * total + count)]
    return torch.tensor([*starts, len(counts) * total], dtype=torch.int32)


def existing(counts: tuple[int, ...], total: int) -> torch.Tensor:
    return torch.arange(total) < torch.tensor(counts)[:, None]


def test_attention_is_softmax_over_the_points_of_a_scene() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 3, 10, 8, generator=generator, dtype=torch.float64)
    found = attention(q, k, v, edges_of(COUNTS, 10))
    assert found.isfinite().all()
    for b, count in enumerate(COUNTS):
        weights = (q[b, :count] @ k[b, :count].T / 8**0.5).softmax(-1)
        torch.testing.assert_close(found[b, :count], weights @ v[b, :count], rtol=0, atol=1e-12)


def test_layers_are_those_of_pytorchs_encoder() -> None:
    """The same weights in ``torch.nn.TransformerEncoder``: the same tokens and gradients."""
    torch.manual_seed(0)
    layers = [EncoderLayer(16).double() for _ in range(2)]
    theirs = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 1, 16, dropout=0.0, batch_first=True), 2, enable_nested_tensor=False
    )
    theirs.double()
    for mine, layer in zip(layers, theirs.layers, strict=True):
        assert isinstance(layer, nn.TransformerEncoderLayer)
        names = ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
        weights = {f"self_attn.{name}": value for name, value in zip(names, mine.parameters(), strict=False)}
        for name, part in (("linear1", mine.feed_forward[0]), ("linear2", mine.feed_forward[2])):
            weights |= {f"{name}.weight": part.weight, f"{name}.bias": part.bias}
        for name, norm in (("norm1", mine.attention_norm), ("norm2", mine.feed_forward_norm)):
            weights |= {f"{name}.weight": norm.weight, f"{name}.bias": norm.bias}
        layer.load_state_dict(weights)
    tokens = torch.randn(3, 10, 16, dtype=torch.float64, requires_grad=True)
    mask = existing(COUNTS, 10)
    expected = theirs(tokens, src_key_padding_mask=~mask)[mask]
    found = tokens
    for mine in layers:
        found = mine(found, edges_of(COUNTS, 10))
    found = found[mask]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(values.square().sum(), tokens)[0] for values in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-11)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_attention_from_bfloat16_is_as_precise_as_float32(device: str) -> None:
    """Scenes of different sizes: forward and gradients against float64, beside PyTorch's in float32."""
    counts, total, width = (300, 1, 517), 517, 64
    numbers = torch.randn(4, 3, total, width, generator=torch.Generator().manual_seed(0)).to(device)
    *inputs, weight = numbers * torch.tensor([3.0, 1.0, 1.0, 1.0], device=device)[:, None, None, None]
    mask, number = existing(counts, total).to(device), torch.tensor(counts, device=device)

    def of_pytorch(*qkv: torch.Tensor) -> torch.Tensor:
        q, k, v = (x[:, None] for x in qkv)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, mask[:, None, None])[:, 0]

    results = []
    for dtype in (torch.float64, torch.float32, None):
        qkv = [x.to(dtype or torch.float32, copy=True).requires_grad_() for x in inputs]
        mixed = of_pytorch(*qkv) if dtype else exact_attention(*qkv, number)[0]
        assert mixed.isfinite().all()
        gradients = torch.autograd.grad((mixed * weight.to(mixed))[mask].sum(), qkv)
        results.append([mixed.detach()[mask], *(gradient[mask] for gradient in gradients)])
    for exact, theirs, mine in zip(*results, strict=True):
        assert (mine - exact).norm() < 2 * (theirs - exact).norm()


def test_exact_attention_keeps_what_it_promises_to_compilers() -> None:
    q, k, v = torch.randn(3, 2, 9, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    torch.library.opcheck(exact_attention, (q, k, v, torch.tensor([9, 4])))


def test_velocities_are_not_seen() -> None:
    state = make_state()
    faster = replace(state, velocities=3 * state.velocities)
    assert torch.equal(make_pointformer()(faster, 5, DT), make_pointformer()(state, 5, DT))


@pytest.mark.gpu
@pytest.mark.parametrize("width", [64, 128])
def test_flash_attention_agrees(width: int) -> None:
    """Scenes of different sizes, one whole: forward and gradient against float64."""
    counts, total = (300, 1, 517), 517
    q, k, v, weight = torch.randn(4, 3, total, width, device="cuda").bfloat16()
    mask, edges = existing(counts, total).cuda(), edges_of(counts, total).cuda()
    found = []
    for dtype in (torch.bfloat16, torch.float64):
        inputs = [x.to(dtype).requires_grad_() for x in (q, k, v)]
        mixed = attention(*inputs, edges)
        assert mixed.isfinite().all()
        gradients = torch.autograd.grad((mixed * weight.to(dtype))[mask].sum(), inputs)
        found.append([mixed[mask].double(), *(gradient[mask].double() for gradient in gradients)])
    for mine, exact in zip(*found, strict=True):
        # Probabilities and sums are rounded to bfloat16's 2^-8 a few times.
        assert (mine - exact).norm() < 0.02 * exact.norm()


@pytest.mark.gpu
def test_replayed_frames_are_the_frames_of_the_cpu() -> None:
    states = [make_state(3, 12), make_state(1, 20, seed=1), make_state(8, 5, seed=2)]
    model = make_pointformer().float()
    for chosen in (states, states[::-1]):  # other paddings through the same graph
        state = single(collate(chosen))
        with torch.no_grad():
            expected = model.cpu()(state, 6, DT)
            replayed = model.cuda()(state.to("cuda"), 6, DT).cpu()
        # float32 in another order, through ten layers
        torch.testing.assert_close(replayed, expected, rtol=0, atol=1e-4)


@pytest.mark.gpu
def test_training_of_the_published_size_fits_into_12_gib() -> None:
    torch.cuda.reset_peak_memory_stats()
    model = make_pointformer(hidden_dim=128, num_layers=3).float().cuda()
    state: SceneState = collate([single(make_state(3, 2048, seed=i)) for i in range(8)]).to("cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        model(state, 80, DT).square().mean().backward()
    assert torch.cuda.max_memory_allocated() < 12 * 2**30
