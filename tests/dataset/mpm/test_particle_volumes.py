"""Volumes of particles from their object: as large as the body, with its centre of mass, on any sampling."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from dataset.mpm.particle_volumes import MOST_PARTICLES, object_volumes
from dataset.objects.builtin_objects import SOLIDS
from dataset.shapes.sampling import FieldSampler
from dataset.shapes.solid import solid_gaussians


@pytest.mark.parametrize("name", SOLIDS)
def test_objects_of_the_catalogue_have_the_volume_of_their_model(name: str) -> None:
    """The model's is counted in over 10,000 cells, with two samples of each: to about 1 %."""
    solid = SOLIDS[name]()
    means = solid_gaussians(solid, 1_500, np.random.default_rng(0)).means.numpy()
    sampler = FieldSampler(solid.field, solid.reach, np.random.default_rng(1))
    exact = np.mean([sampler.area_and_volume()[1] for _ in range(2)])
    assert object_volumes(means).sum() == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("count", [2_000, 3 * MOST_PARTICLES])
def test_convex_bodies_fill_their_hull_however_many_particles(count: int) -> None:
    """Random places, half of them on the surface: the worst sampling there is."""
    directions = np.random.default_rng(0).normal(size=(count, 3))
    positions = 0.2 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    positions[::2] *= np.random.default_rng(1).uniform(size=(len(positions[::2]), 1)) ** (1 / 3)
    volumes = object_volumes(positions)
    assert volumes.shape == (count,)
    assert volumes.sum() == pytest.approx(ConvexHull(positions).volume, rel=0.05)


def test_uneven_samples_have_the_bodys_centre_of_mass() -> None:
    """One half has eight times as many particles as the other."""
    coarse, fine = (np.stack(np.meshgrid(*[np.arange(0, 6.1, h)] * 3, indexing="ij"), -1) for h in (1.0, 0.5))
    positions = np.concatenate([fine.reshape(-1, 3), np.array([7, 0, 0]) + coarse.reshape(-1, 3)])
    volumes = object_volumes(positions)
    assert volumes.sum() == pytest.approx(13 * 6 * 6, rel=0.02)
    np.testing.assert_allclose(volumes @ positions / volumes.sum(), [6.5, 3, 3], atol=0.13)
    assert positions[:, 0].mean() < 4.5


def test_surfaces_are_what_they_enclose_or_thin() -> None:
    k = np.arange(3_000) + 0.5  # evenly, on a spiral
    z, angle = 1 - 2 * k / 3_000, np.pi * (1 + np.sqrt(5)) * k
    sphere = 0.2 * np.stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z], 1)
    ball = 4 / 3 * np.pi * 0.2**3
    assert object_volumes(sphere).sum() == pytest.approx(ball, rel=0.02)
    few_inside = np.random.default_rng(1).uniform(-0.1, 0.1, size=(100, 3))
    assert object_volumes(np.concatenate([sphere, few_inside])).sum() == pytest.approx(ball, rel=0.02)
    open_one = object_volumes(sphere[sphere[:, 2] < 0])
    assert 0 < open_one.sum() < 0.05 * ball
    sheet = np.random.default_rng(0).uniform(size=(3_000, 3)) * [1, 1, 0]
    assert 0 < object_volumes(sheet).sum() < 1 / np.sqrt(3_000)


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 20])
def test_every_particle_has_a_volume(count: int) -> None:
    for positions in (np.random.default_rng(0).uniform(size=(count, 3)), np.ones((count, 3))):
        volumes = object_volumes(positions)
        assert volumes.shape == (count,)
        assert np.isfinite(volumes).all()
        assert (volumes > 0).all()
