"""Objects of which pictures show a part, completed."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gaussians.cameras import Cameras, Orbit
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from videogen.reconstruction.completion.object_completion import Completion, complete_objects
from videogen.reconstruction.completion.visual_hull import see_object, visual_hull, without_shared

CENTER, RADIUS, WIDTH = torch.tensor([0.1, 0.0, 0.2]), 0.3, 0.006
SHOWN = RADIUS + WIDTH  # of a ball in pictures, about
GREEN, RED = torch.tensor([0.1, 0.8, 0.1]), torch.tensor([0.8, 0.1, 0.1])
HIDDEN = 50


def shell(points: torch.Tensor, color: torch.Tensor = GREEN) -> Gaussians:
    """Small opaque Gaussians of object 0."""
    return Gaussians(
        means=points,
        opacities=torch.full((len(points),), 0.95),
        sh=rgb_to_sh(color).repeat(len(points), 1, 1),
        scales=torch.full((len(points), 3), WIDTH),
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(len(points), 1),
        labels=torch.zeros(len(points), dtype=torch.int32),
    )


def sphere(count: int = 8000, radius: float = RADIUS) -> torch.Tensor:
    directions = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    return CENTER + radius * torch.nn.functional.normalize(directions, dim=1)


def around(elevation: float, count: int = 8) -> Cameras:
    orbit = Orbit((0.1, 0.0, 0.2), azimuth=0.0, elevation=elevation, radius=2.5)
    return orbit.cameras([100 * k // count for k in range(count)], 96)


@pytest.fixture(scope="module")
def half_ball() -> tuple[Gaussians, Cameras, Completion]:
    """A ball of which cameras far above see the upper half and a third of a radius below; some red is hidden in it."""
    points = sphere()
    seen = shell(points[points[:, 2] > CENTER[2] - RADIUS * math.cos(math.radians(70))])
    scene, cameras = Gaussians.cat([seen, shell(sphere(HIDDEN, RADIUS / 2), RED)]), around(70.0)
    return scene, cameras, complete_objects(scene, cameras, 1)


def test_a_ball_is_closed_below(half_ball: tuple[Gaussians, Cameras, Completion]) -> None:
    scene, _, completion = half_ball
    assert completion.by == ["symmetry"]
    assert completion.solids[0].volume == pytest.approx(4 / 3 * math.pi * SHOWN**3, rel=0.05)
    new = completion.gaussians[len(scene) :]
    assert len(new) == completion.added[0] <= len(scene)
    distances = (new.means - CENTER).norm(dim=1)
    assert distances.max() < 1.1 * RADIUS
    # What was added is spread evenly.
    assert (new.means[:, 2] < CENTER[2]).double().mean() == pytest.approx(0.5, abs=0.1)
    assert (distances < 0.6 * RADIUS).double().mean() == pytest.approx(0.6**3, abs=0.08)
    assert completion.described()[0]["count"] == len(completion.gaussians)


def test_what_was_seen_looks_the_same(half_ball: tuple[Gaussians, Cameras, Completion]) -> None:
    scene, cameras, completion = half_ball
    before, after = (rasterize(gaussians, cameras).rgb for gaussians in (scene, completion.gaussians))
    assert (before - after).abs().mean() < 0.002
    assert torch.equal(completion.gaussians.means[: len(scene)], scene.means)


def test_the_underside_is_closed(half_ball: tuple[Gaussians, Cameras, Completion]) -> None:
    scene, _, completion = half_ball
    middle = slice(48 - 12, 48 + 12)
    drawn = rasterize(completion.gaussians[len(scene) :], around(-80.0, 1))
    assert drawn.alpha[0, middle, middle].mean() > 0.95


def test_hidden_colours_are_those_of_what_is_seen(half_ball: tuple[Gaussians, Cameras, Completion]) -> None:
    _, _, completion = half_ball
    green = rgb_to_sh(GREEN).expand(len(completion.gaussians), 1, 3)
    assert torch.allclose(completion.gaussians.sh, green)


def test_hollows_that_pictures_show_stay_empty() -> None:
    points = sphere()
    bowl = shell(points[points[:, 2] < CENTER[2]])
    hull = visual_hull(see_object(bowl, 0, around(50.0), floor=-0.9))
    middle = CENTER.numpy() + np.array([[0.0, 0, 0], [0.0, 0, -0.1]])
    assert not hull.has(middle).any()
    assert hull.has(CENTER.numpy() + np.array([[0.0, 0, -0.97 * RADIUS]])).all()


def test_a_dome_ends_at_the_floor_and_objects_share_no_cells() -> None:
    points = sphere()
    dome, floor = points[points[:, 2] > CENTER[2]], CENTER[2].item()
    beside = dome + torch.tensor([2 * RADIUS, 0, 0])
    labels = torch.arange(2).repeat_interleave(len(dome)).int()
    domes = replace(shell(torch.cat([dome, beside])), labels=labels)
    seen = [see_object(domes, k, around(60.0), floor) for k in range(2)]
    hulls = [visual_hull(entry) for entry in seen]
    for hull in hulls:
        assert hull.centers()[:, 2].min() > floor
        assert hull.volume == pytest.approx(2 / 3 * math.pi * SHOWN**3, rel=0.15)
    first, second = without_shared(hulls, seen)
    assert not second.has(first.centers()).any()
    assert first.volume > 0.97 * hulls[0].volume


def test_what_hangs_below_a_body_is_left_out(half_ball: tuple[Gaussians, Cameras, Completion]) -> None:
    scene, cameras, completion = half_ball
    hanging = shell(CENTER + torch.tensor([[0.0, 0, -1.3 * RADIUS], [0.02, 0, -1.2 * RADIUS]]))
    found = complete_objects(Gaussians.cat([scene, replace(hanging, opacities=torch.full((2,), 0.1))]), cameras, 1)
    assert found.gaussians.means[:, 2].min() > CENTER[2] - 1.1 * RADIUS
    assert torch.equal(found.gaussians.means[: len(scene)], scene.means)
    assert found.by == completion.by
    assert found.described()[0]["left_out"] == len(hanging)


def test_an_object_that_leaves_no_solid_stays_as_it_is() -> None:
    scene = shell(sphere(500))
    completion = complete_objects(scene, around(60.0), 1, floor=CENTER[2].item() + 2 * RADIUS)
    assert completion.added == [0]
    assert completion.solids[0].volume == 0
    assert torch.equal(completion.gaussians.means, scene.means)
