import numpy as np
import pytest
import torch

from tests.gaussians.samples import random_gaussians
from tools.viewer.scene.splat_packing import Coarseness, coarsened, packed_colors, packed_shapes, splat_unit

COARSE = Coarseness(grid=0.25, bits=6, tolerance=1 / 32)


@pytest.mark.parametrize("deviation", [1e-4, 1e-2, 1.0, 100.0])
def test_covariances_survive_half_precision(deviation: float) -> None:
    covariances = torch.tensor([[1.0, 0.2, 0, 0.5, 0.1, 0.25]]) * deviation**2
    unit = splat_unit(covariances)
    packed = packed_shapes(torch.zeros(1, 3), covariances, unit)
    halves = np.ascontiguousarray(packed[:, 4:7]).view(np.float16).astype(np.float32)
    # Half precision has a relative spacing of 2^-10.
    torch.testing.assert_close(torch.from_numpy(halves) / unit**2, covariances, rtol=2**-10, atol=0)


def test_packed_bytes_are_those_that_the_page_reads() -> None:
    means = torch.tensor([[0.1, -0.2, 0.3]])
    packed = packed_shapes(means, torch.tensor([[1e-4, 0, 0, 1e-4, 0, 1e-4]]), 1000.0)
    packed[:, 7] = packed_colors(torch.tensor([[1.0, 0.5, -0.2]]), torch.tensor([0.25]))
    assert packed.tobytes()[:12] == np.float32([100, -200, 300]).tobytes()
    assert packed.tobytes()[12:16] == bytes(4)
    assert packed.tobytes()[16:28] == np.float16([100, 0, 0, 100, 0, 100]).tobytes()
    assert list(packed.tobytes()[28:]) == [255, 128, 0, 64]


def test_coarse_splats_are_as_near_as_the_digits_that_are_left() -> None:
    gaussians = random_gaussians(200, 0).transformed(scale=0.02)
    packed = packed_shapes(gaussians.means, gaussians.covariance(), 1000.0)
    coarse = coarsened(packed, COARSE)
    positions, kept = (array[:, :3].view(np.float32) for array in (packed, coarse))
    assert np.abs(positions - kept).max() <= 0.125
    assert (kept % 0.25 == 0).all()
    halves, rounded = (np.ascontiguousarray(array[:, 4:7]).view(np.float16).astype(float) for array in (packed, coarse))
    # Six bits of a fraction: a relative spacing of 2^-6, so an error of half of it.
    np.testing.assert_allclose(rounded, halves, rtol=2**-7)
    assert (np.ascontiguousarray(coarse[:, 4:7]).view(np.uint16) % 16 == 0).all()


def test_covariances_stay_as_they_were_until_they_differ_enough() -> None:
    gaussians = random_gaussians(200, 0).transformed(scale=0.02)
    packed = [packed_shapes(gaussians.means, gaussians.covariance() * factor, 1000.0) for factor in (1, 1.02, 1.2)]
    first = coarsened(packed[0], COARSE)
    assert (coarsened(packed[1], COARSE, first)[:, 4:7] == first[:, 4:7]).all()
    assert (coarsened(packed[2], COARSE, first) == coarsened(packed[2], COARSE)).all()
