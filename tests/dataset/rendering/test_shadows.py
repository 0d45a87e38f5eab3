import math

import pytest
import torch

from dataset.rendering.background import ground_plane
from dataset.rendering.scene_renderer import SceneRenderer
from dataset.rendering.shadows import floor_light
from gaussians.cameras import Orbit, look_at
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh, sh_to_rgb

FLOOR = -0.94


def plate(height: float, half: float = 0.25) -> Gaussians:
    """An opaque square of side 2 ``half``, ``height`` over the floor."""
    line = torch.arange(-half, half + 1e-6, 0.0125)
    x, y = torch.meshgrid(line, line, indexing="ij")
    means = torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), FLOOR + height)], 1)
    covariances = torch.tensor([1.5e-4, 0, 0, 1.5e-4, 0, 1e-6]).expand(len(means), 6).clone()
    return Gaussians(means, torch.full((len(means),), 0.9), torch.zeros(len(means), 1, 3), covariances=covariances)


@pytest.mark.parametrize(("height", "band"), [(0.02, 0.03), (0.25, 0.225)])
def test_what_lies_lower_takes_more_light(height: float, band: float) -> None:
    light = floor_light(plate(height))
    under, beside = light.at(torch.tensor([[0.0, 0, FLOOR], [1.5, 0, FLOOR]]))
    assert under == pytest.approx(1 - 0.7 * math.exp(-band / 0.8), abs=0.03)
    assert beside == 1


def test_higher_shadows_are_wider() -> None:
    low, high = (floor_light(plate(height)).at(torch.tensor([[0.0, 0, 0], [0.3, 0, 0]])) for height in (0.02, 0.9))
    assert low[1] == pytest.approx(1, abs=0.05)  # twice a cell beyond the edge
    assert 1 - high[1] > 0.2 * (1 - high[0])


def test_what_is_far_up_or_nowhere_casts_none() -> None:
    broken = plate(0.1)
    broken.means[:] = torch.nan
    for cast in (plate(3.0), plate(0.1)[:0], broken):
        light = floor_light(cast)
        assert len(light.sheet()) == 0
        assert light.at(torch.zeros(1, 3)) == 1


def test_the_sheet_takes_as_much_light_as_is_lost() -> None:
    light = floor_light(plate(0.02, 0.5))
    camera = look_at(torch.tensor([[0.0, 0.01, 3.0]]), torch.tensor([0.0, 0, FLOOR]), 33, 33, 200.0)
    found = rasterize(light.sheet(), camera, background=torch.ones(3)).rgb[0, 16, 16]
    expected = light.at(torch.tensor([[0.0, 0.0, FLOOR]]))
    # Between the centres of strong Gaussians a little more light comes through.
    torch.testing.assert_close(found, expected.expand(3), atol=0.08, rtol=0)


def test_gaussians_of_the_floor_are_darkened() -> None:
    light = floor_light(plate(0.02))
    white = Gaussians(
        torch.tensor([[0.0, 0, FLOOR], [1.5, 0, FLOOR]]),
        torch.ones(2),
        rgb_to_sh(torch.ones(2, 3)),
        covariances=torch.ones(2, 6),
    )
    colors = sh_to_rgb(light.darkened(white), torch.zeros(2, 3))
    torch.testing.assert_close(colors, light.at(white.means)[:, None].expand(2, 3))


def test_shadows_are_drawn_and_masks_do_not_know_them() -> None:
    camera = look_at(torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([0.0, 0, FLOOR]), 48, 48, 60.0)
    scene = plate(0.3)
    scene = Gaussians(
        scene.means,
        scene.opacities,
        scene.sh,
        covariances=scene.covariance(),
        labels=torch.zeros(len(scene), dtype=torch.int32),
    )
    orbit = Orbit((0.0, 0.0, 0.0), 3.0, 0.0, 20.0)
    plain, shaded = (SceneRenderer(orbit, 48, ground_plane(), True, shadows=shadows) for shadows in (False, True))
    before, after = plain.draw(scene, camera).rgb, shaded.draw(scene, camera).rgb
    darker = (before - after).mean(-1)[0]
    assert darker.max() > 0.1
    assert darker.min() > -0.02
    assert torch.equal(plain.masks(scene, camera, 1), shaded.masks(scene, camera, 1))
