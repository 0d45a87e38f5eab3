"""The builtin objects and backgrounds."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from dataset.catalog import BACKGROUNDS, OBJECTS
from dataset.layout import Layout
from dataset.objects.builtin_objects import SOLIDS, write_background
from dataset.rendering.background import load_background
from dataset.scenes.composition import DEFAULT_ORBIT
from dataset.shapes.sampling import FieldSampler
from dataset.shapes.solid import object_gaussians
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import sh_to_rgb

NAMES = [entry.name for entry in OBJECTS]
COUNT = 1_500


def make(name: str, count: int = COUNT) -> Gaussians:
    return object_gaussians(SOLIDS[name](), count, 1.0, np.random.default_rng(0))


def colours(gaussians: Gaussians) -> np.ndarray:
    return sh_to_rgb(gaussians.sh, torch.tensor([0.0, 0.0, 1.0])).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_objects_have_their_size_and_stand_on_the_origin(name: str) -> None:
    gaussians = make(name)
    assert len(gaussians) == COUNT
    low, high = gaussians.means.min(0).values, gaussians.means.max(0).values
    assert 0.4 <= float((high - low).max()) <= 0.7
    assert torch.allclose(low, -high, atol=1e-5)
    assert gaussians.means.isfinite().all()
    assert gaussians.sh.isfinite().all()
    assert gaussians.scales is not None
    assert 1e-4 < float(gaussians.scales.max()) < 0.1
    # What a colour varies by: none of the objects is of one colour.
    assert colours(gaussians).std(0).max() > 0.02


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_thinner_than_four_centimetres(name: str) -> None:
    """Erosion by 1.8 cm and dilation by 3.8 cm bring back the surface: all but the rims that taper (2 %)."""
    solid = SOLIDS[name]()
    sampler = FieldSampler(solid.field, solid.reach, np.random.default_rng(0))
    surface, _ = sampler.surface(3_000)
    factor = (solid.extent or 0) / float(np.ptp(surface, 0).max())
    inside, _ = sampler.interior(40_000, 0.01)
    core = inside[-solid.field(inside) * factor > 0.018]
    assert np.quantile(cKDTree(core).query(surface)[0] * factor, 0.98) < 0.038


def test_colours_are_where_they_belong() -> None:
    ball = make("ball", 4_000)
    paint, z = colours(ball), ball.means[:, 2].numpy()
    on_surface = ball.means.norm(dim=1).numpy() > 0.18
    top, bottom = paint[on_surface & (z > 0.08)], paint[on_surface & (z < -0.08)]
    assert (top[:, 0] > 1.5 * top[:, 1]).all()  # also where it shines
    assert (np.ptp(bottom, axis=1) < 0.1).all()
    assert bottom.min() > 0.5
    panda = make("panda", 4_000)
    assert (colours(panda).max(1) < 0.3).mean() > 0.2
    assert (colours(panda).min(1) > 0.6).mean() > 0.2


def test_a_bowl_is_hollow_and_a_ball_is_solid() -> None:
    bowl, ball = make("bowl").means, make("ball").means
    rim = float(bowl[:, 2].max())
    cavity = (torch.hypot(bowl[:, 0], bowl[:, 1]) < 0.15) & (bowl[:, 2] > rim - 0.06)
    assert not cavity.any()
    assert (ball.norm(dim=1) < 0.1).sum() > 30


@pytest.fixture(scope="module")
def backgrounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Gaussians]:
    """Every background, small, as it stands in the world."""
    root = tmp_path_factory.mktemp("root")
    for name in BACKGROUNDS:
        write_background(Layout(root), name, 6_000, 0)
    return {name: load_background(Layout(root).background_dir(name)) for name in BACKGROUNDS}


@pytest.mark.parametrize("name", list(BACKGROUNDS))
def test_a_table_top_is_flat_and_covers_where_objects_move(backgrounds: dict[str, Gaussians], name: str) -> None:
    means = backgrounds[name].means
    assert len(means) == 6_000
    above = means[(means[:, :2].abs() < 1.94).all(1) & (means[:, 2] > -0.95)]
    # Cells on a plane are on it to rounding.
    assert (above[:, 2] + 0.94).abs().max() < 1e-5
    line = torch.linspace(-1.94, 1.94, 40)
    floor = torch.cartesian_prod(line, line).numpy()
    # About 2,000 of them lie on these 15 m^2, 0.09 m apart, but closer together at the edges of patterns.
    assert cKDTree(above[:, :2].numpy()).query(floor)[0].max() < 0.3


@pytest.mark.parametrize("name", list(BACKGROUNDS))
def test_no_view_of_the_orbit_is_obstructed(backgrounds: dict[str, Gaussians], name: str) -> None:
    """No Gaussian lies in front of the box in which objects move, inside any of the 100 images."""
    means = backgrounds[name].means
    low, high = torch.tensor([-1.94, -1.94, -0.93]), torch.tensor([1.94, 1.94, 0.9])
    cameras = DEFAULT_ORBIT.cameras(range(100), 100)
    for position, viewmat, K in zip(cameras.positions, cameras.viewmats, cameras.Ks, strict=True):
        rays = means - position
        assert float(rays.norm(dim=1).min()) > 1.0
        entry, leave = (low - position) / rays, (high - position) / rays
        enters, leaves = torch.minimum(entry, leave).amax(1), torch.maximum(entry, leave).amin(1)
        seen = (means @ viewmat[:3, :3].T + viewmat[:3, 3]) @ K.T
        pixels = seen[:, :2] / seen[:, 2:]
        in_image = (seen[:, 2] > 0) & ((pixels > 0) & (pixels < 100)).all(1)
        assert not (in_image & (leaves > enters) & (enters > 1)).any()


def test_a_backgrounds_picture_is_closed_and_shows_the_object(backgrounds: dict[str, Gaussians]) -> None:
    ball = make("ball").transformed(translation=torch.tensor([0.0, 0.0, -0.3]))
    cameras = DEFAULT_ORBIT.cameras([0, 37], 64)
    for gaussians in backgrounds.values():
        rendered = rasterize(Gaussians.cat([ball, gaussians]), cameras)
        assert float(rendered.alpha.mean()) > 0.97
        # The ball is where all cameras look: red above its band.
        red = rendered.rgb[:, 28, 32]
        assert (red[:, 0] > 2 * red[:, 1]).all()
