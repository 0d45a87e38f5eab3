"""Settings of particle filling, and what it refuses."""

import re
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dataset.mpm import opacity_density as od
from dataset.mpm.particle_filling import MOST_CELLS, ParticleFilling, _Space, fill
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import validated
from tests.dataset.mpm.clouds import LATTICE, cloud, settings, sphere


def test_settings_are_the_published_ones() -> None:
    published = {
        "n_grid": 100,
        "density_threshold": 100.0,
        "search_threshold": 1.0,
        "search_exclude_direction": 2,
        "ray_cast_direction": 4,
        "max_particles_num": 2000000,
        "max_partciels_per_cell": 3,
        "boundary": [0.4, 1.6, 0.4, 1.6, 0.4, 1.6],
        "smooth": True,
        "visualize": False,
    }
    found = validated("config.json", published, ParticleFilling)
    assert found.max_particles_per_cell == 3
    assert found.boundary == (0.4, 1.6, 0.4, 1.6, 0.4, 1.6)
    assert validated("config.json", {"max_particles_per_cell": 3}, ParticleFilling).max_particles_per_cell == 3
    assert ParticleFilling(max_particles_per_cell=3).max_particles_per_cell == 3
    defaults = ParticleFilling()
    assert (defaults.density_threshold, defaults.search_threshold, defaults.max_particles_num) == (5.0, 3.0, 2_000_000)
    assert (defaults.search_exclude_direction, defaults.ray_cast_direction) == (5, 4)
    # What is recorded reads back.
    assert validated("meta", found.model_dump(mode="json"), ParticleFilling) == found


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_particles_per_cell": 1, "max_partciels_per_cell": 1}, "max_partciels_per_cell: unknown key"),
        ({"max_particle_num": 5}, "max_particle_num: unknown key"),
        ({"max_particles_num": 0}, "max_particles_num: expected"),
        ({"n_grid": 100_000}, "n_grid: expected"),
        ({"n_grid": 100.5}, "n_grid: expected"),
        ({"search_exclude_direction": 6}, "search_exclude_direction: expected"),
        ({"boundary": [0, 1, 0, 1, 2, 1]}, "boundary: expected x0 < x1"),
        ({"search_threshold": -1.0}, "search_threshold: expected"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        validated("config.json", wrong, ParticleFilling)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        settings().n_grid = 3  # type: ignore[misc]


def test_too_many_cells_are_refused() -> None:
    far = cloud(np.array([[-1.9, -1.9, -0.9], [1.9, 1.9, 2.9]]))
    with pytest.raises(InputError, match=r"n_grid: expected \d+ at most for object 0") as caught:
        fill(*far, settings(n_grid=2000), LATTICE)
    largest = int(re.search(r"expected (\d+)", str(caught.value)).group(1))  # type: ignore[union-attr]
    _first, shape = _Space.of(settings(), LATTICE, largest).cells_around(od.Ellipsoids.of(*far[:3]))
    # Within 7 % of the largest n_grid.
    assert 0.8 * MOST_CELLS < shape.prod() <= MOST_CELLS
    assert len(fill(*far, settings(n_grid=64), LATTICE)) == 0


def test_wrong_arrays_are_refused() -> None:
    means, covariances, opacities, labels = cloud(sphere(10))
    with pytest.raises(ValueError, match="covariances: expected shape"):
        fill(means, covariances[:5], opacities, labels, settings(), LATTICE)
    means[3, 1] = np.nan
    with pytest.raises(ValueError, match="means: expected finite"):
        fill(means, covariances, opacities, labels, settings(), LATTICE)


def test_nothing_to_fill() -> None:
    filled = fill(*cloud(np.zeros((0, 3))), settings(), LATTICE)
    assert (filled.positions.shape, filled.room) == ((0, 3), 0)
    assert filled.nearest(np.zeros((0, 3)), np.zeros(0)).shape == (0,)
