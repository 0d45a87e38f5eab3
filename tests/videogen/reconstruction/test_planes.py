import pytest
import torch

from videogen.reconstruction.planes import fit_plane


def test_the_plane_that_most_points_lie_near_is_found_whatever_else_is_there() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = torch.nn.functional.normalize(torch.tensor([0.2, -0.1, 1.0]), dim=0)
    flat = torch.randn(2000, 3, generator=generator)
    flat -= (flat @ normal - 0.7)[:, None] * normal
    flat += 0.002 * torch.randn(2000, 3, generator=generator)
    clutter = torch.randn(3000, 3, generator=generator)
    points = torch.cat([flat, clutter, flat[:1].repeat(500, 1)])
    found = fit_plane(points, 0.01)
    assert found is not None
    sign = torch.sign(found.normal[2])
    assert sign * found.offset == pytest.approx(0.7, abs=0.001)
    assert sign * found.normal @ normal.double() > 0.99999
    # Those 2500 and, of the clutter, 0.02 times a standard normal distribution's 0.31 at 0.7: 19, give or take 4.
    assert 2499 / 5500 < found.share < 2540 / 5500
    # Another one, where that one may not be it.
    other = fit_plane(points, 0.01, lambda normals, _: normals[:, 2].abs() < 0.5)
    assert other is not None
    assert other.share < 0.2


def test_what_spans_no_plane_has_none() -> None:
    line = torch.arange(300.0)[:, None] * torch.tensor([1.0, 2.0, -1.0])
    for points in (line, line[:1].repeat(50, 1), line[:2]):
        assert fit_plane(points, 0.01) is None
