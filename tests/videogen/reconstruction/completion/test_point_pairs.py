"""Points of a completed object and where they were seen, of scenes that are known."""

import math
from dataclasses import replace

import pytest
import torch

from externals.diffsplat import DiffSplatObject
from externals.diffsplat.conditioning import make_conditioning_picture
from externals.feature_matching import Sift
from gaussians.cameras import Cameras
from gaussians.rasterization import rasterize
from gaussians.rotations import rotation_exp
from gaussians.spherical_harmonics import rgb_to_sh
from tests.videogen.reconstruction.completion.test_registration import bumpy, pictures
from videogen.reconstruction.alignment import Similarity
from videogen.reconstruction.completion import point_pairs
from videogen.reconstruction.completion.point_pairs import SeenCrop, pairs_by_matching, pairs_of_conditioning
from videogen.reconstruction.completion.registration import register
from videogen.reconstruction.plane_sweep import unproject

TRUTH = Similarity(
    1.7,
    rotation_exp(torch.tensor([1.4, -0.9, 0.8], dtype=torch.float64)),
    torch.tensor([5.0, -2.0, 1.0], dtype=torch.float64),
)


def relief(pixels: torch.Tensor) -> torch.Tensor:
    """Where a bumpy surface is seen at (..., 2) pixels of a 120 x 90 picture."""
    x, y = (pixels / 60 - 1).unbind(-1)
    return torch.stack([x, y, 2 + 0.3 * torch.sin(4 * x) * torch.cos(3 * y) + 0.2 * x], -1)


def test_each_pixel_of_the_conditioning_picture_is_paired_with_what_it_shows() -> None:
    row, column = torch.meshgrid(torch.arange(90), torch.arange(120), indexing="ij")
    mask = ((column - 70) / 25) ** 2 + ((row - 40) / 16) ** 2 < 1
    points = relief(torch.stack([column, row], -1) + 0.5)
    box = (30, 10, 110, 74)
    enlarged = (320, 256)  # by 4
    shown = mask[box[1] : box[3], box[0] : box[2]].repeat_interleave(4, 0).repeat_interleave(4, 1)
    conditioning = make_conditioning_picture(torch.full((256, 320, 3), 99, dtype=torch.uint8), shown)
    row, column = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    pixels = torch.tensor(box[:2]) + conditioning.in_input(torch.stack([column, row], -1) + 0.5) / 4
    surface = TRUTH.inverse().points(relief(pixels).flatten(0, 1))
    back = surface + torch.tensor([0.0, 0.0, 1.0])
    gaussians = replace(bumpy(2 * 256**2), means=torch.cat([surface, back]).float(), opacities=torch.ones(2 * 256**2))
    gaussians.opacities[: 128 * 256] = 0  # the upper half is background
    generated = DiffSplatObject(gaussians, None, conditioning, 0.0)  # type: ignore[arg-type]
    valid = mask & (torch.arange(120) < 80)
    pairs = pairs_of_conditioning(generated, SeenCrop(points, valid, box, enlarged))
    # Of an ellipse 204 pixels wide the lower half, but for the fifth of the width that is not valid.
    assert 0.6 < len(pairs) / (math.pi / 4 * 204 * 204 * 16 / 25 / 2) < 0.8
    distances = (TRUTH.points(pairs.completed.double()) - pairs.seen).norm(dim=1)
    assert distances.max() < 1 / 60  # half a pixel aside, and what the relief adds
    assert (pairs.seen[:, 0] < 80 / 60 - 1).all()
    found = register(gaussians, pairs, pairs.seen)
    assert found is not None
    assert found.similarity.scale == pytest.approx(TRUTH.scale, rel=0.01)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_matches_of_features_pair_points_of_the_nearest_surface(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point_pairs, "_AZIMUTHS", 8)
    monkeypatch.setattr(point_pairs, "_ELEVATIONS", (20.0,))
    completed = bumpy(20_000)
    waves = 40 * torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    colors = (0.5 + 0.4 * (completed.means @ waves).sin().view(-1, 3, 2).mean(-1)).clamp(0, 1)
    scales = torch.full_like(completed.means, 0.008)
    completed = replace(completed, sh=rgb_to_sh(colors), scales=scales).to(device)
    around = point_pairs._cameras_around(completed.means)
    # A camera of the pictures that stands 4 degrees beside one of those.
    beside = Similarity(1.0, rotation_exp(torch.tensor([0.0, 0.07, 0.0]).double()), torch.zeros(3).double())
    camera: Cameras = (TRUTH @ beside).cameras(around[2:3])
    drawn = rasterize(TRUTH.gaussians(completed), camera, background=torch.ones(3))
    points = unproject(camera, drawn.depth)[0]
    image = (drawn.rgb[0].clamp(0, 1) * 255).round().byte()
    box = (40, 30, 220, 230)
    crop = SeenCrop(points, drawn.alpha[0] > 0.9, box, (180, 200))
    pairs = pairs_by_matching(Sift(), image[box[1] : box[3], box[0] : box[2]], crop, completed)
    assert len(pairs) > 15
    distances = (TRUTH.points(pairs.completed.double()) - pairs.seen).norm(dim=1) / TRUTH.scale
    assert distances.median() < 0.01
    found = register(completed, pairs, points[crop.valid], pictures(completed.to("cpu"), TRUTH))
    assert found is not None
    moved, expected = (place.points(completed.means.double()) for place in (found.similarity, TRUTH))
    assert (moved - expected).norm(dim=1).max() / TRUTH.scale < 0.01


def test_pictures_without_features_give_no_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point_pairs, "_AZIMUTHS", 2)
    monkeypatch.setattr(point_pairs, "_ELEVATIONS", (0.0,))
    blank = torch.full((64, 64, 3), 255, dtype=torch.uint8)
    crop = SeenCrop(torch.zeros(64, 64, 3), torch.ones(64, 64, dtype=torch.bool), (0, 0, 64, 64), (64, 64))
    pairs = pairs_by_matching(Sift(), blank, crop, bumpy())
    assert len(pairs) == 0
    assert register(bumpy(), pairs, torch.zeros(5, 3)) is None
