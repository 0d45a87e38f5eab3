"""The kernels of the contact search, which run on GPUs, on Warp's CPU device against PyTorch."""

import torch

from dynamic_models.contact import _sums_over_others
from dynamic_models.contact_search import nearest_squared, sums_over_others


def scene(objects: int = 4, points: int = 150) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Blobs that overlap, with their velocities; some points and the last object do not exist."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, objects, points, 6, generator=generator)
    values[..., :3] *= 0.1
    values[..., 0] += 0.15 * torch.arange(objects)[:, None]
    mask = torch.rand(2, objects, points, generator=generator) < 0.9
    mask[:, -1] = False
    near = torch.ones(2, objects, objects, dtype=torch.bool)
    near[1, 0, 1] = near[1, 1, 0] = False
    return values, mask, near


def test_sums_are_those_of_all_pairs() -> None:
    values, mask, near = scene()
    found = sums_over_others(values, mask, near, 0.08)
    expected = _sums_over_others(values.double(), mask, near, 0.08) * near[..., None, None] * mask[:, :, None, :, None]
    assert (found[..., 0] > 0).float().mean() > 0.1
    # A few tens of float32 terms.
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    assert (found[:, -1] == 0).all()
    assert (found[1, 0, 1] == 0).all()


def test_nearest_points_are_those_of_all_distances() -> None:
    values, mask, near = scene()
    world = values[..., :3].contiguous()
    found = nearest_squared(world, mask, near, 1e6)
    squared = (world[:, :, None, :, None] - world[:, None, :, None]).square().sum(-1)  # (B, O, O, P, P)
    squared = squared.masked_fill(~mask[:, None, :, None], 1e6).amin(-1)
    itself = torch.eye(4, dtype=torch.bool)[None, :, :, None]
    expected = squared.masked_fill(itself | ~near[..., None] | ~mask[:, :, None], 1e6)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)
