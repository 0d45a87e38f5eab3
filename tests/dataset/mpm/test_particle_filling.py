"""Filling against bodies whose inside is known."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from dataset.mpm.lattice import WORLD_TO_MPM
from dataset.mpm.particle_filling import fill
from dataset.objects.mesh_interior import sample_inside
from gaussians.files.splats.ply import read_ply
from gaussians.stage.errors import InputError
from tests.dataset.mpm.clouds import (
    LATTICE,
    OPACITY,
    SIGMA,
    body_volume,
    box_surface,
    cell_numbers,
    cloud,
    random_cloud,
    settings,
    sphere,
    together,
)


def test_bad_covariances_do_not_hide_the_body() -> None:
    ball = cloud(sphere())
    bad = cloud(np.zeros((4, 3)))
    bad[1][:] = [
        [1e30, 0, 0, 1e30, 0, 1e30],  # haze over everything
        [np.inf, 0, 0, np.inf, 0, np.inf],
        [0, 0, 0, 0, 0, 0],
        [1e-30, 0, 0, -1e-12, 0, 1e-30],  # as rounding leaves it
    ]
    with_bad = fill(*together(ball, bad), settings(), LATTICE)
    # The four have cells of their own or share one, which takes no more.
    assert len(fill(*ball, settings(), LATTICE)) - len(with_bad) in (1, 2, 3, 4)
    # Others may lie anywhere.
    away = cloud(np.array([[1e30, 0, 0], [0, -1e30, 0], [1e9, 1e9, 1e9]]), label=1)
    assert len(fill(*together(ball, away), settings(), LATTICE)) == len(fill(*ball, settings(), LATTICE))


def shell_radius(count: int, radius: float, threshold: float, size: float) -> float:
    """Where the density outside a shell of ``count`` Gaussians falls to ``threshold``.

    At the distance d from a plane with n Gaussians per area it is n 2 pi s^2 opacity (exp(-d^2 / 2 s^2) - exp(-9 / 2)).
    """
    s = max(SIGMA, size / 2)
    middle = count / (4 * math.pi * radius**2) * 2 * math.pi * s**2 * OPACITY
    return radius + s * math.sqrt(-2 * math.log(threshold / middle + math.exp(-4.5)))


def eroded_volume(radius: float, size: float) -> float:
    """Of the points of a ball from which a step of ``size`` along each axis, forth and back, stays in it."""
    directions = np.abs(sphere(2000, 1.0))
    # |r n + size e| = radius, of the axes e the one nearest to the direction n.
    a = directions.max(1) * size
    r = -a + np.sqrt(a**2 - size**2 + radius**2)
    return float((r**3).mean() * 4 / 3 * math.pi)


@pytest.mark.parametrize("n_grid", [200, 400])
def test_hollow_ball_is_filled_to_its_surface(n_grid: int) -> None:
    count, radius, size = 20_000, 0.3, 4 / n_grid
    points = sphere(count, radius)
    filled = fill(*cloud(points), settings(n_grid=n_grid, search_exclude_direction=-1), LATTICE)
    distances = np.linalg.norm(filled.positions, axis=1)
    edge = shell_radius(count, radius, 0.5, size)
    # The last cell on each ray is not filled. Cells that hold a Gaussian count whatever: of 2 cm, some beyond.
    volume = body_volume(points, filled, size)
    assert volume == pytest.approx(eroded_volume(edge, size), rel=0.06 if n_grid == 200 else 0.01)
    layer = 4 * math.pi * radius**2 * max(size, edge - radius)
    assert abs(volume - 4 / 3 * math.pi * radius**3) < layer
    assert distances.max() < edge + math.sqrt(3) / 2 * size  # half a cell's diagonal
    inner = distances < 0.5 * radius
    assert inner.sum() * size**3 == pytest.approx(4 / 3 * math.pi * (0.5 * radius) ** 3, rel=0.02)


@pytest.mark.parametrize("most", [1, 4])
def test_cells_hold_no_more_than_they_may(most: int) -> None:
    points = sphere(2000)
    filled = fill(*cloud(points), settings(max_particles_per_cell=most), LATTICE)
    size = 0.02
    cells, counts = np.unique(cell_numbers(filled.positions, size), axis=0, return_counts=True)
    own = Counter(map(tuple, cell_numbers(points, size).tolist()))
    for cell, count in zip(cells.tolist(), counts.tolist(), strict=True):
        assert count == max(0, most - own[tuple(cell)])


def test_dense_cells_are_filled_whether_inside_or_not() -> None:
    # A solid block of Gaussians, and none of its cells counts as surface.
    steps = np.arange(-0.095, 0.1, 0.01)
    points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    solid = {"search_threshold": 1e6, "n_grid": 400, "max_particles_per_cell": 3}
    # Within a block the density is that of space: (2 pi)^(3/2) s^3 per volume, 0.9 of which counts.
    middle = OPACITY * (2 * math.pi) ** 1.5 * SIGMA**3 / 0.01**3
    assert len(fill(*cloud(points), settings(density_threshold=middle * 1.01, **solid), LATTICE)) == 0
    filled = fill(*cloud(points), settings(density_threshold=middle / 2, **solid), LATTICE)
    # Half of it is at the block's faces.
    assert np.abs(filled.positions).max() == pytest.approx(0.1, abs=0.01)
    cells = len(np.unique(cell_numbers(np.concatenate([points, filled.positions]), 0.01), axis=0))
    # At a cell of the faces it is 0.69 of the middle's, but along the 12 edges 0.69^2 = 0.48.
    edges = 12 * 18 + 8
    assert cells == 20**3
    assert len(filled) == 2 * (20**3 - edges)


def test_hollow_box_is_filled() -> None:
    points = box_surface(0.25)
    filled = fill(*cloud(points), settings(), LATTICE)
    # The sides stand in the middle of cells, 26 of them along each edge; where sides meet there may be a cell more.
    assert 26**3 <= round(body_volume(points, filled, 0.02) / 0.02**3) <= 26**3 + 12 * 2 * 26
    # Where the density of a side of 10^4 Gaussians per m^2 falls to 0.5, and half a cell.
    assert np.abs(filled.positions).max() < 0.25 + 0.022 + 0.01
    inner = np.abs(filled.positions).max(1) < 0.2
    assert inner.sum() == pytest.approx(0.4**3 / 0.02**3, rel=0.03)  # the layer of cells at the limit, in part


CAP = math.pi * 0.2**2 * (3 * 0.25 - 0.2) / 3
"""Volume of a ball of radius 0.25 m beyond 0.05 m from its centre, m^3."""


@pytest.mark.parametrize(
    ("directions", "is_filled"),
    [
        ({}, False),  # nothing above
        ({"search_exclude_direction": 4}, False),  # nothing above need lie, but the ray up meets nothing
        ({"search_exclude_direction": 4, "ray_cast_direction": 5}, True),
        ({"search_exclude_direction": 4, "ray_cast_direction": -1}, True),
        ({"search_exclude_direction": -1, "ray_cast_direction": -1}, False),
    ],
)
def test_open_bowl_is_filled_only_when_asked(directions: dict[str, int], is_filled: bool) -> None:
    points = sphere()
    points = points[points[:, 2] < 0]
    filled = fill(*cloud(points), settings(**directions), LATTICE)
    deep = (np.linalg.norm(filled.positions, axis=1) < 0.25) & (filled.positions[:, 2] < -0.05)
    assert deep.sum() * 0.02**3 == pytest.approx(CAP if is_filled else 0, rel=0.03, abs=0)
    assert filled.positions[:, 2].max(initial=0) < 0.03  # the rim's thickness


@pytest.mark.parametrize(("excluded", "is_filled"), [(5, True), (-1, False), (0, False)])
def test_body_open_below_is_filled_unless_all_sides_must_be_closed(excluded: int, is_filled: bool) -> None:
    points = sphere()
    points = points[points[:, 2] > 0]
    filled = fill(*cloud(points), settings(search_exclude_direction=excluded), LATTICE)
    deep = (np.linalg.norm(filled.positions, axis=1) < 0.25) & (filled.positions[:, 2] > 0.05)
    assert deep.sum() * 0.02**3 == pytest.approx(CAP if is_filled else 0, rel=0.03, abs=0)


def test_ray_must_leave_once() -> None:
    # From the inner one of two balls the ray meets two surfaces.
    points = np.concatenate([sphere(), sphere(3000, 0.15)])
    for ray, inner_is_filled in ((4, False), (-1, True)):
        filled = fill(*cloud(points), settings(ray_cast_direction=ray), LATTICE)
        distances = np.linalg.norm(filled.positions, axis=1)
        assert (distances < 0.1).any() == inner_is_filled
        beside = (np.abs(filled.positions[:, 2]) < 0.1) & (distances > 0.2)
        assert beside.any()


def test_smoothing_closes_gaps_in_the_surface() -> None:
    points = sphere(20_000)
    for hole in sphere(150):
        points = points[np.linalg.norm(points - hole, axis=1) > 0.015]
    counts = {}
    for smooth in (False, True):
        filled = fill(*cloud(points, 0.005), settings(n_grid=400, smooth=smooth), LATTICE)
        distances = np.linalg.norm(filled.positions, axis=1)
        counts[smooth] = (distances < 0.25).sum() * 0.01**3 / (4 / 3 * math.pi * 0.25**3)
        assert distances.max() < 0.33
    assert counts[False] < 0.85
    assert counts[True] > 0.97


def test_no_more_particles_than_asked_for_evenly_thinned() -> None:
    ball = cloud(sphere())
    everything = fill(*ball, settings(), LATTICE)
    assert everything.room == len(everything)
    for most in (1, 1000, everything.room - 1, everything.room, everything.room + 1):
        filled = fill(*ball, settings(max_particles_num=most), LATTICE)
        assert len(filled) == min(most, everything.room)
        assert filled.room == everything.room
        assert len(np.unique(cell_numbers(filled.positions, 0.02), axis=0)) == len(filled)
    filled = fill(*ball, settings(max_particles_num=4000), LATTICE)
    for share in (lambda x: x[:, 0] > 0.1, lambda x: x[:, 2] > 0.1, lambda x: np.linalg.norm(x, axis=1) < 0.2):
        expected = share(everything.positions).mean()
        # Four standard deviations of independent draws; those from even stretches vary less.
        assert share(filled.positions).mean() == pytest.approx(expected, abs=4 * math.sqrt(expected / 4000))


def test_objects_are_filled_one_by_one() -> None:
    left, right = sphere(3000, 0.2, (-0.4, 0, 0)), sphere(3000, 0.15, (0.4, 0, 0))
    between = {"search_exclude_direction": -1}
    filled = fill(*together(cloud(left, label=3), cloud(right, label=1)), settings(**between), LATTICE)
    assert np.all(np.diff(filled.labels) >= 0)
    for points, label, center in ((left, 3, -0.4), (right, 1, 0.4)):
        own = filled.positions[filled.labels == label]
        alone = fill(*cloud(points, label=label), settings(**between), LATTICE)
        np.testing.assert_array_equal(own, alone.positions)
        assert np.abs(own - [center, 0, 0]).max() < 0.23
    # With a limit, each gets its share.
    half = fill(
        *together(cloud(left, label=3), cloud(right, label=1)),
        settings(max_particles_num=filled.room // 2, **between),
        LATTICE,
    )
    share = (filled.labels == 3).mean()
    assert (half.labels == 3).mean() == pytest.approx(share, abs=1e-3)


def test_what_stands_inside_another_object_is_filled_once() -> None:
    outer, inner = sphere(20_000, 0.3), sphere(3000, 0.12)
    filled = fill(*together(cloud(outer, label=0), cloud(inner, label=1)), settings(), LATTICE)
    assert len(np.unique(cell_numbers(filled.positions, 0.02), axis=0)) == len(filled)
    distances = np.linalg.norm(filled.positions, axis=1)
    assert distances[filled.labels == 1].max() < 0.15
    assert set(filled.labels[distances < 0.1].tolist()) == {1}
    assert set(filled.labels[distances > 0.16].tolist()) == {0}


def test_nearest_gaussian_is_of_the_same_object() -> None:
    gaussians = together(cloud(sphere(1000, 0.2), label=1), cloud(sphere(300, 0.08), label=0))
    filled = fill(*gaussians, settings(search_threshold=0.2), LATTICE)
    assert set(filled.labels.tolist()) == {0, 1}
    rows = filled.nearest(gaussians[0], gaussians[3])
    distances = np.linalg.norm(filled.positions[:, None] - gaussians[0][None], axis=2)
    distances[filled.labels[:, None] != gaussians[3][None]] = np.inf
    np.testing.assert_array_equal(rows, distances.argmin(1))


def test_boundary_bounds_what_is_looked_at_and_filled() -> None:
    whole = cloud(sphere())
    # A box around the right half, in the configuration's coordinates; 0.8 m over 40 cells are cells of 2 cm.
    low, high = np.array([0.0, -0.4, -0.4]) + WORLD_TO_MPM, np.array([0.4, 0.4, 0.4]) + WORLD_TO_MPM
    bounds = np.stack([low, high], 1).ravel().tolist()
    filled = fill(*whole, settings(boundary=bounds, n_grid=40, search_exclude_direction=1), LATTICE)
    assert filled.positions[:, 0].min() >= 0
    inner = np.linalg.norm(filled.positions, axis=1) < 0.25
    assert inner.sum() * 0.02**3 == pytest.approx(2 / 3 * math.pi * 0.25**3, rel=0.03)
    # All sides must be closed: of the half that is seen, one is open.
    open_half = fill(*whole, settings(boundary=bounds, n_grid=40, search_exclude_direction=-1), LATTICE)
    assert not (np.linalg.norm(open_half.positions, axis=1) < 0.25).any()
    with pytest.raises(InputError, match="particle_filling: boundary"):
        fill(*whole, settings(boundary=[0.1, 0.2, 0.1, 0.2, 0.1, 0.2]), LATTICE)


def test_nothing_is_put_outside_the_walls() -> None:
    (left, _back, floor), (right, _front, _ceiling) = LATTICE.walls
    on_floor, at_wall = sphere(10_000, 0.3, (0, 0, floor + 0.29)), sphere(10_000, 0.3, (right - 0.29, 0, 0))
    gaussians = together(cloud(on_floor), cloud(at_wall, label=1))
    filled = fill(*gaussians, settings(density_threshold=0.5, max_particles_per_cell=3), LATTICE)
    assert LATTICE.contains(filled.positions).all()
    # float32 rounds to 1e-7.
    assert filled.positions[:, 2].min() > floor - 1e-6
    assert filled.positions[:, 0].max() < right + 1e-6
    for label, center in ((0, (0, 0, floor + 0.29)), (1, (right - 0.29, 0, 0))):
        own = filled.positions[filled.labels == label] - center
        inner = np.linalg.norm(own, axis=1) < 0.25
        assert inner.sum() * 0.02**3 / 3 == pytest.approx(4 / 3 * math.pi * 0.25**3, rel=0.03)
    assert left < filled.positions[:, 0].min()


def test_same_seed_same_particles() -> None:
    ball = cloud(sphere())
    first, again, other = (fill(*ball, settings(), LATTICE, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.positions, again.positions)
    assert not np.array_equal(first.positions, other.positions)
    np.testing.assert_array_equal(cell_numbers(first.positions, 0.02), cell_numbers(other.positions, 0.02))


def test_particles_spread_evenly_within_a_cell() -> None:
    positions = fill(*cloud(sphere()), settings(max_particles_per_cell=8), LATTICE).positions
    within = (positions.astype(np.float64) - LATTICE.walls[0]) / 0.02 % 1
    counts, _edges = np.histogramdd(within, bins=4, range=[(0, 1)] * 3)
    expected = len(positions) / 64
    # Five standard deviations of independent points; these are more even.
    assert np.abs(counts - expected).max() < 5 * math.sqrt(expected)


@pytest.mark.gpu
@pytest.mark.parametrize("smooth", [False, True])
def test_gpu_agrees(smooth: bool) -> None:
    rng = np.random.default_rng(0)
    needles = random_cloud(200, (0.0, 0.01, 0.5), rng)
    gaussians = together(cloud(sphere(20_000)), needles, cloud(sphere(5000, 0.2, (0.6, 0, 0)), label=1))
    some = settings(n_grid=400, smooth=smooth, max_particles_per_cell=2)
    on_cpu, on_gpu, again = (fill(*gaussians, some, LATTICE, device) for device in ("cpu", "cuda", "cuda"))
    np.testing.assert_array_equal(on_gpu.positions, again.positions)
    assert len(on_cpu) > 100_000
    for a, b in ((on_cpu, on_gpu), (on_gpu, on_cpu)):
        distances, _ = cKDTree(a.positions).query(b.positions)
        # Where rounding takes a cell over a threshold, the cells on its ray may follow.
        assert (distances > 1e-6).mean() < 1e-3


def test_duck_is_filled_as_its_mesh_says(real_data: Path) -> None:
    mesh = trimesh.load_mesh(real_data / "meshes/duck/duck.obj")
    mesh.apply_translation(-mesh.bounds.mean(0))
    mesh.apply_scale(0.6 / mesh.extents.max())
    points, faces = trimesh.sample.sample_surface(mesh, 20_000, seed=0)
    # Flat Gaussians that lie in the surface.
    normals = mesh.face_normals[faces]
    across = np.eye(3)[np.abs(normals).argmin(1)]
    first = np.cross(normals, across)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    rotations = np.stack([first, np.cross(normals, first), normals], 2)
    gaussians = cloud(np.asarray(points), (0.008, 0.008, 0.0005), rotations)
    size = 0.01
    filled = fill(*gaussians, settings(n_grid=400), LATTICE)
    inside = sample_inside(mesh, 20_000, np.random.default_rng(0))
    assert inside is not None
    # A layer of half a cell and of a deviation on the area.
    layer = mesh.area * (size / 2 + 0.008)
    assert abs(body_volume(gaussians[0], filled, size) - inside.volume) < layer
    body = np.unique(cell_numbers(np.concatenate([gaussians[0], filled.positions]), size), axis=0).tolist()
    occupied = {tuple(cell) for cell in body}
    deep = inside.points[inside.depths > 2 * size]
    assert np.mean([tuple(cell) in occupied for cell in cell_numbers(deep, size).tolist()]) > 0.99


def test_trained_doughnut_is_filled_but_for_its_hole(real_data: Path) -> None:
    doughnut = read_ply(real_data / "gaussians/donut.ply").transformed(scale=3.0)
    visible = doughnut.opacities > 0.02
    doughnut = doughnut[visible]
    means = doughnut.means.double().numpy()
    means -= np.median(means, 0)
    labels = np.zeros(len(means), int)
    arguments = (means, doughnut.covariance().double().numpy(), doughnut.opacities.double().numpy(), labels)
    # A trained object has Gaussians within as well, which an odd number of crossings takes for walls.
    some = settings(n_grid=400, search_threshold=1.0, search_exclude_direction=-1, ray_cast_direction=-1)
    filled = fill(*arguments, some, LATTICE)
    low, high = np.percentile(means, [0.5, 99.5], 0)
    assert ((filled.positions > low - 0.02) & (filled.positions < high + 0.02)).all(1).mean() > 0.999
    volume = body_volume(means, filled, 0.01)
    axis = int(np.ptp(means, 0).argmin())
    across = np.delete(filled.positions, axis, 1)
    center = np.delete((low + high) / 2, axis)
    distances = np.linalg.norm(across - center, axis=1)
    # A ring with an elliptic section, around a hole of radius 0.08.
    outer, half_height = np.delete(high - low, axis).mean() / 2, (high - low)[axis] / 2
    ring = 2 * math.pi * (outer + 0.08) / 2 * math.pi * (outer - 0.08) / 2 * half_height
    assert volume == pytest.approx(ring, rel=0.1)
    assert distances.min() > 0.06
