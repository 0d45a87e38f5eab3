"""Objects that a generator completes, one that knows the truth and one that does not, where pictures show a part."""

from dataclasses import dataclass, replace

import pytest
import torch

from externals.diffsplat import DiffSplatObject
from externals.diffsplat.conditioning import make_conditioning_picture
from externals.feature_matching import Sift
from externals.super_resolution import SuperResolution
from gaussians.cameras import Orbit
from gaussians.rasterization import instance_masks, rasterize
from gaussians.representation import Gaussians
from gaussians.rotations import rotation_exp
from gaussians.spherical_harmonics import rgb_to_sh
from tests.videogen.reconstruction.completion.test_registration import bumpy
from videogen.reconstruction.alignment import Similarity
from videogen.reconstruction.completion import generated_objects
from videogen.reconstruction.completion.generated_objects import (
    SeenScene,
    best_views,
    elevation_above,
    generate_objects,
    thinned,
)
from videogen.reconstruction.completion.object_completion import complete_objects, inside_surface
from videogen.reconstruction.completion.point_pairs import PointPairs
from videogen.reconstruction.completion.visual_hull import VoxelSolid
from videogen.reconstruction.plane_sweep import unproject

OWN_FRAME = Similarity(
    0.8,
    rotation_exp(torch.tensor([1.4, -0.9, 0.8], dtype=torch.float64)),
    torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64),
)
"""From the world to the generator's frame."""
PIXELS = 256**2


def colored() -> Gaussians:
    """The bumpy object in the world, its colours as its places."""
    whole = bumpy(6000)
    return replace(whole, sh=rgb_to_sh((whole.means + 0.5).clamp(0, 1)), labels=torch.zeros(6000, dtype=torch.int32))


@pytest.fixture(scope="module")
def scene() -> SeenScene:
    """What cameras above see of the object."""
    whole = colored()
    cameras = Orbit((0.0, 0.0, 0.0), azimuth=0.0, elevation=50.0, radius=2.0).cameras([12 * k for k in range(8)], 96)
    images = (rasterize(whole, cameras).rgb.clamp(0, 1) * 255).round().byte()
    seen = whole[whole.means[:, 2] > -0.05]
    return SeenScene(seen, cameras, images, instance_masks(whole, cameras, 1), tuple(map(str, range(8))))


@dataclass
class Truth:
    """Generates ``whole``; a picture's pixel shows what the best one of ``scene`` for object ``label`` shows there."""

    scene: SeenScene
    whole: Gaussians
    label: int = 1
    elevation: float | None = None

    def complete(
        self, image: torch.Tensor, mask: torch.Tensor, text: str, elevation: float | None = None, seed: int = 0
    ) -> DiffSplatObject:
        self.elevation = elevation
        conditioning = make_conditioning_picture(image, mask)
        masks = self.scene.labels == self.label
        view = best_views(self.scene.images, masks)[0]
        camera = self.scene.cameras[view : view + 1]
        rows, columns = masks[view].nonzero().unbind(1)
        corner = torch.stack([columns.min(), rows.min()]) - 4
        enlarged_by = image.shape[0] / (int(rows.max() - rows.min()) + 9)
        row, column = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
        pixels = conditioning.in_input(torch.stack([column, row], -1) + 0.5)
        x, y = (corner + pixels / enlarged_by).floor().long().clamp(0, camera.width - 1).unbind(-1)
        drawn = rasterize(self.whole, camera)
        surface, shown = unproject(camera, drawn.depth)[0][y, x], conditioning.inside & (drawn.alpha[0, y, x] > 0.5)
        means = torch.cat([surface.flatten(0, 1), self.whole.means])
        count = len(means)
        gaussians = Gaussians(
            means=OWN_FRAME.points(means.double()).float(),
            opacities=torch.cat([shown.flatten().float(), torch.ones(len(self.whole))]),
            sh=torch.cat([torch.zeros(PIXELS, 1, 3), self.whole.sh]),
            scales=torch.full((count, 3), 0.008),
            quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        )
        return DiffSplatObject(gaussians, self.scene.cameras, conditioning, elevation or 0.0)


def test_an_object_is_completed_where_no_picture_shows_it(scene: SeenScene) -> None:
    truth = Truth(scene, colored())
    (generated,) = generate_objects(scene, ["A lump."], truth, SuperResolution("lanczos", "."), Sift())
    assert truth.elevation == pytest.approx(50.0, abs=3)
    assert generated.gaussians is not None, generated.note
    assert "placed by its pixels" in generated.note
    below = colored().means[colored().means[:, 2] < -0.1]
    assert torch.cdist(below, generated.gaussians.means).amin(1).quantile(0.95) < 0.02
    completion = complete_objects(scene.gaussians, scene.cameras, 1, generated=[generated.gaussians])
    assert completion.by == ["generation"]
    assert completion.solids[0].volume == pytest.approx(_volume(colored()), rel=0.05)
    new = completion.gaussians[len(scene.gaussians) :]
    assert torch.cdist(below, new.means).amin(1).quantile(0.95) < 0.09


def test_what_does_not_fit_is_not_taken(scene: SeenScene, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = PointPairs(torch.zeros(0, 3), torch.zeros(0, 3))
    monkeypatch.setattr(generated_objects, "pairs_by_matching", lambda *rest: nothing)
    monkeypatch.setattr(generated_objects, "_CANDIDATES", 1)
    other = colored()
    stick = replace(other, means=other.means * torch.tensor([0.2, 0.2, 2.5]))
    (generated,) = generate_objects(scene, ["A lump."], Truth(scene, stick), SuperResolution("off", "."), Sift())
    assert generated.gaussians is None
    assert "what was generated is not taken" in generated.note


def test_an_object_that_hardly_shows_is_not_generated(scene: SeenScene) -> None:
    hidden = replace(scene, labels=torch.zeros_like(scene.labels))
    (generated,) = generate_objects(hidden, ["A lump."], Truth(scene, colored()), SuperResolution("off", "."), Sift())
    assert generated.gaussians is None
    assert "no picture shows enough of it" in generated.note


def test_large_sharp_and_whole_pictures_come_first() -> None:
    images = torch.full((4, 40, 40, 3), 128, dtype=torch.uint8)
    masks = torch.zeros(4, 40, 40, dtype=torch.bool)
    masks[0, 10:20, 10:20] = True  # small
    masks[1, 10:30, 10:30] = True  # larger
    masks[2, 10:30, 10:30] = True  # and sharper
    images[2, 10:30:2, 10:30] = 250
    masks[3, 0:30, 0:30] = True  # the largest, cut off
    assert best_views(images, masks) == [2, 1, 0, 3]


def test_elevation_is_that_of_the_camera_above_the_object() -> None:
    camera = Orbit((1.0, 0.0, 0.3), azimuth=20.0, elevation=35.0, radius=3.0).cameras([0], 16)
    assert elevation_above(camera, torch.tensor([[1.0, 0.0, 0.3]])) == pytest.approx(35.0, abs=1e-3)


def test_thinned_gaussians_are_as_far_apart_as_asked_for() -> None:
    kept = thinned(bumpy(6000), 0.1)
    assert 50 < len(kept) < 600
    assert len(torch.unique(torch.floor(kept.means / 0.1), dim=0)) == len(kept)


def test_cells_inside_of_a_surface_are_kept() -> None:
    ball = bumpy(6000)
    ball = replace(ball, means=0.3 * torch.nn.functional.normalize(ball.means, dim=1), scales=ball.scales * 0.7)
    hull = VoxelSolid(torch.ones(40, 40, 40, dtype=torch.bool).numpy(), torch.full((3,), -0.5).numpy(), 0.025)
    assert inside_surface(hull, ball).volume == pytest.approx(4 / 3 * torch.pi * 0.3**3, rel=0.1)


def _volume(whole: Gaussians) -> float:
    """The volume of a star-shaped object: a third of radius cubed over all directions."""
    radii = whole.means.norm(dim=1)
    return float(4 / 3 * torch.pi * (radii**3).mean())
