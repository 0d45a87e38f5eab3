"""This module fills objects whose Gaussians only show their surface with new particles.

Each object is filled by itself. Space is divided into cells; where the Gaussians' opacity density exceeds
``search_threshold`` is the object's surface, which may be some cells thick. A cell is inside if rays from it along the
six directions of the axes meet more of the surface, but for ``search_exclude_direction``, and if, unless it is surface
itself, the ray along ``ray_cast_direction`` meets it an odd number of times: once where it leaves a closed body. Cells
inside, and cells denser than ``density_threshold``, are filled until they hold ``max_particles_per_cell`` particles,
Gaussians included. So a body ends a cell within the surface's outer side.

A hollow ball or box is filled. The hollow of an open bowl that stands upright is not, as nothing lies above it; with
direction 4 (up) excluded and the ray cast along another, it is, up to the rim. A body that is open below, as one on a
table of which no camera saw the bottom, is filled with direction 5 (down) excluded, which is the default.

The settings, their meaning and their defaults are those of PhysGaussian (Xie et al. 2024).

>>> filled = fill(positions, covariances, opacities, labels, config.particle_filling, lattice)
>>> filled.positions, filled.labels
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import warp as wp
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator

from dataset.mpm import particle_filling_kernels as kernels
from dataset.mpm.lattice import WORLD_TO_MPM, Lattice
from dataset.mpm.opacity_density import CellGrid, Ellipsoids, closed, opacity_density, without_haze
from gaussians.numbers import NotNegative, Real
from gaussians.stage.errors import InputError
from gaussians.stage.shape_checks import check_shape
from gaussians.stage.threads import core_count
from gaussians.stage.warp_runtime import start_warp

MOST_CELLS = 2**25
"""Largest number of cells in an object's grid: with up to 40 bytes a cell, 1.3 GiB."""

_MOST_N_GRID = 2048
_FINER = 4
_MARGIN = 8

Direction = Literal[-1, 0, 1, 2, 3, 4, 5]


class ParticleFilling(BaseModel):
    """Holds the settings of particle filling; directions are 0: +x, 1: -x, 2: +y, 3: -y, 4: +z, 5: -z, -1: none."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    n_grid: Annotated[int, Field(ge=4, le=_MOST_N_GRID)] | None = None
    """Cells along the longest side of ``boundary``, else along ``grid_lim``. None: four times the simulation's."""
    density_threshold: NotNegative = 5.0
    """Cells with more opacity density than this are filled whether inside or not."""
    search_threshold: NotNegative = 3.0
    """Cells with more opacity density than this are the surface that rays meet."""
    max_particles_num: Annotated[int, Field(ge=1, le=20_000_000)] = 2_000_000
    """New particles of all objects together; if there is room for more, they are thinned out evenly."""
    max_particles_per_cell: Annotated[
        int,
        Field(ge=1, le=64, validation_alias=AliasChoices("max_particles_per_cell", "max_partciels_per_cell")),
    ] = 1
    """Particles in a cell of ``n_grid``, Gaussians included. The published spelling, max_partciels_per_cell, works."""
    search_exclude_direction: Direction = 5
    """The direction in which nothing need lie; -1: rays in all six must meet the surface."""
    ray_cast_direction: Direction = 4
    """The direction in which the surface must be met an odd number of times; -1: any number will do."""
    boundary: tuple[Real, Real, Real, Real, Real, Real] | None = None
    """x0, x1, y0, y1, z0, z1, metres, in MPM coordinates: world + (2, 2, 1). What lies outside is neither looked at nor
    filled."""
    smooth: bool = False
    """Whether gaps of a few cells in the surface are closed before rays look for it."""
    visualize: bool = False
    """Whether new particles are written and drawn, each like the nearest Gaussian of its object."""

    @field_validator("boundary")
    @classmethod
    def _boundary_is_not_empty(cls, boundary: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if boundary is not None and any(boundary[i] >= boundary[i + 1] for i in (0, 2, 4)):
            raise ValueError("expected x0 < x1, y0 < y1, z0 < z1")
        return boundary


@dataclass(frozen=True)
class Filled:
    """Holds M new particles, ordered by label.

    Attributes:
        positions: (M, 3) float32, metres.
        labels: (M,) int32, the object each belongs to.
        room: particles there would have been without ``max_particles_num``.
    """

    positions: np.ndarray
    labels: np.ndarray
    room: int

    def __len__(self) -> int:
        return len(self.positions)

    def nearest(self, means: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return (M,) int64, the row of each particle's nearest Gaussian of the same object.

        Args:
            means: (N, 3), metres, of the Gaussians that were filled.
            labels: (N,).
        """
        from scipy.spatial import cKDTree  # slow to import, and every command reads the settings in this file

        rows = np.zeros(len(self), np.int64)
        for label in np.unique(self.labels):
            own, new = np.flatnonzero(labels == label), self.labels == label
            rows[new] = own[cKDTree(means[own]).query(self.positions[new], workers=core_count())[1]]
        return rows


@dataclass(frozen=True)
class _Space:
    """Places the cells for all objects: cell (0, 0, 0) begins at ``low``, metres; nothing is put beyond ``high``."""

    low: np.ndarray
    high: np.ndarray
    size: float

    @classmethod
    def of(cls, settings: ParticleFilling, lattice: Lattice, n_grid: int) -> "_Space":
        low, high = (np.array(corner) for corner in lattice.walls)
        if settings.boundary is None:
            return cls(low, high, lattice.grid_lim / n_grid)
        bounds = np.array(settings.boundary).reshape(3, 2) - np.array(WORLD_TO_MPM)[:, None]
        size = float((bounds[:, 1] - bounds[:, 0]).max()) / n_grid
        return cls(np.maximum(bounds[:, 0], low), np.minimum(bounds[:, 1], high), size)

    def cells_around(self, ellipsoids: Ellipsoids) -> tuple[np.ndarray, np.ndarray]:
        """Return first cell (3,) and shape (3,) of the box around three standard deviations, eight cells at most."""
        variances = (ellipsoids.axes**2 * ellipsoids.scales[:, None, :] ** 2).sum(2)
        reach = np.minimum(3 * np.sqrt(variances), _MARGIN * self.size)
        low = np.maximum((ellipsoids.means - reach).min(0), self.low)
        high = np.minimum((ellipsoids.means + reach).max(0), self.high)
        first = np.floor((low - self.low) / self.size + 1e-6).astype(np.int64)
        last = np.ceil((high - self.low) / self.size - 1e-6).astype(np.int64)
        return first, np.maximum(last - first, 0)

    def grid(self, first: np.ndarray, shape: np.ndarray) -> CellGrid:
        x, y, z = (self.low + first * self.size).tolist()
        i, j, k = shape.tolist()
        return CellGrid((x, y, z), self.size, (i, j, k))


@dataclass(frozen=True)
class _Room:
    """Counts how many particles each of the K cells of an object's box still takes.

    Attributes:
        first: (3,) the first cell of the box.
        shape: cells of the box along x, y, z.
        cells: (K,) int32, row-major numbers within the box.
        slots: (K,) int32.
    """

    label: int
    first: np.ndarray
    shape: tuple[int, int, int]
    cells: np.ndarray
    slots: np.ndarray


def fill(
    means: np.ndarray,
    covariances: np.ndarray,
    opacities: np.ndarray,
    labels: np.ndarray,
    settings: ParticleFilling,
    lattice: Lattice,
    device: str | wp.Device = "cpu",
    seed: int = 0,
) -> Filled:
    """Return new particles inside the objects that N Gaussians show.

    The smallest object is filled first, so that what stands inside another is not filled twice. Nothing is put outside
    the walls of the lattice. Time and memory are bounded: see ``opacity_density`` for what is done with huge, thin and
    degenerate covariances; those that are not finite are passed over.

    Args:
        means: (N, 3), metres, in the world.
        covariances: (N, 6), metres^2.
        opacities: (N,), 0 to 1.
        labels: (N,), the object of each Gaussian.
        settings: how.
        lattice: the simulation's grid.
        device: where to compute; the result is the same everywhere, but for rounding.
        seed: of the positions within the cells.

    Raises:
        InputError: an object needs too many cells.
        ValueError: arrays of other shapes, or means that are not finite.
    """
    count = len(means)
    check_shape("means", means, "N", 3)
    check_shape("covariances", covariances, count, 6)
    check_shape("opacities", opacities, count)
    check_shape("labels", labels, count)
    if not np.isfinite(means).all():
        raise ValueError("means: expected finite values")
    start_warp()
    n_grid = settings.n_grid or min(_FINER * lattice.n_grid, _MOST_N_GRID)
    space = _Space.of(settings, lattice, n_grid)
    usable = np.isfinite(covariances).all(1) & _within_boundary(means, settings)
    found: list[_Room] = []
    for label, ellipsoids, first, shape in _objects(means, covariances, opacities, labels, usable, space, n_grid):
        grid = space.grid(first, shape)
        counts = _counts(means, found, grid, first, device)
        inside, density = _body(without_haze(ellipsoids, grid), grid, settings, device)
        limits = [settings.density_threshold, settings.max_particles_per_cell]
        wp.launch(kernels.free_slots, grid.shape, [inside, density, *limits, counts], device=device)
        slots = counts.numpy().ravel()
        cells = np.flatnonzero(slots).astype(np.int32)
        found.append(_Room(label, first, grid.shape, cells, slots[cells]))
    return _place(sorted(found, key=lambda room: room.label), space, settings.max_particles_num, device, seed)


def _within_boundary(means: np.ndarray, settings: ParticleFilling) -> np.ndarray:
    """Return (N,) bool: whether each position is inside the settings' boundary."""
    if settings.boundary is None:
        return np.ones(len(means), bool)
    low, high = settings.boundary[0::2], settings.boundary[1::2]
    within = np.all((means + WORLD_TO_MPM > low) & (means + WORLD_TO_MPM < high), axis=1)
    if len(means) and not within.any():
        raise InputError("particle_filling: boundary: expected some Gaussians of the objects within, found none")
    return within


def _objects(
    means: np.ndarray,
    covariances: np.ndarray,
    opacities: np.ndarray,
    labels: np.ndarray,
    usable: np.ndarray,
    space: _Space,
    n_grid: int,
) -> list[tuple[int, Ellipsoids, np.ndarray, np.ndarray]]:
    """Return label, Gaussians, first cell and shape of each object with something to fill, the smallest first."""
    found = []
    for label in np.unique(labels[usable]).tolist():
        rows = usable & (labels == label)
        ellipsoids = Ellipsoids.of(means[rows], covariances[rows], opacities[rows])
        first, shape = space.cells_around(ellipsoids)
        if shape.prod() > MOST_CELLS:
            raise InputError(
                f"particle_filling: n_grid: expected {_largest_n_grid(shape, n_grid)} at most for object {label}, or a "
                f"boundary around a part of it, found {n_grid}, with which it needs {shape.prod():,} cells"
            )
        if shape.all():
            found.append((label, ellipsoids, first, shape))
    return sorted(found, key=lambda entry: int(entry[3].prod()))


def _largest_n_grid(shape: np.ndarray, n_grid: int) -> int:
    """Return the largest n_grid with which a box that has ``shape`` cells with ``n_grid`` keeps to ``MOST_CELLS``."""
    margin = 2 * _MARGIN + 1
    inner = np.maximum(shape - margin, 1) / n_grid
    return max(n for n in range(1, n_grid) if (inner * n + margin).prod() <= MOST_CELLS)


def _counts(
    means: np.ndarray, found: list[_Room], grid: CellGrid, first: np.ndarray, device: str | wp.Device
) -> wp.array:
    """Return how many particles, Gaussians and filled ones, each cell holds: int32 of the grid's shape."""
    counts = wp.zeros(grid.shape, dtype=wp.int32, device=device)
    positions: wp.array = wp.array(means, dtype=wp.vec3, device=device)
    arguments = [positions, wp.vec3(*grid.origin), grid.size, counts]
    wp.launch(kernels.count_particles, len(means), arguments, device=device)
    for room in found:
        arrays: list[wp.array] = [
            wp.array(values, dtype=wp.int32, device=device) for values in (room.cells, room.slots)
        ]
        offset = wp.vec3i(*(room.first - first).tolist())
        arguments = [*arrays, wp.vec3i(*room.shape), offset, counts]
        wp.launch(kernels.count_slots, len(room.slots), arguments, device=device)
    return counts


def _body(
    ellipsoids: Ellipsoids, grid: CellGrid, settings: ParticleFilling, device: str | wp.Device
) -> tuple[wp.array, wp.array]:
    """Return whether each cell is inside the object (uint8), and each cell's density with gaps not closed."""
    density = opacity_density(ellipsoids, grid, device)
    return _inside(closed(density) if settings.smooth else density, settings), density


def _inside(density: wp.array, settings: ParticleFilling) -> wp.array:
    """Return uint8 of the density's shape: 1 for cells that the surface encloses."""
    inside = wp.full(density.shape, 1, dtype=wp.uint8, device=density.device)
    for direction in range(6):
        axis, forward = direction // 2, direction % 2 == 0
        hit, odd = direction != settings.search_exclude_direction, direction == settings.ray_cast_direction
        if hit or odd:
            lines = [size for other, size in enumerate(density.shape) if other != axis]
            arguments = [density, settings.search_threshold, axis, forward, hit, odd, inside]
            wp.launch(kernels.search, lines, arguments, device=density.device)
    return inside


def _place(found: list[_Room], space: _Space, most: int, device: str | wp.Device, seed: int) -> Filled:
    """Place at most ``most`` particles, one in each of as many slots, spread evenly over all slots."""
    slots = np.concatenate([np.zeros(0, np.int32), *(room.slots for room in found)])
    ends = np.cumsum(slots, dtype=np.int64)
    room = int(ends[-1]) if len(ends) else 0
    count = min(room, most)
    # One slot of each of ``count`` equal stretches of the list of all slots.
    stretches = np.arange(count + 1) * room // max(count, 1)
    offsets = np.random.default_rng(seed).random(count) * np.diff(stretches)
    taken = stretches[:-1] + offsets.astype(np.int64)
    at = np.searchsorted(ends, taken, side="right")
    # A slot's number among those of its cell.
    numbers = (taken - (ends[at] - slots[at])).astype(np.int32)
    cells, labels = _cells_at(found, at)
    i, j, k = cells.T
    keys = ((i * _MOST_N_GRID + j) * _MOST_N_GRID + k).astype(np.uint32).view(np.int32)
    arrays: list[wp.array] = [
        wp.array(values, dtype=kind, device=device)
        for values, kind in ((cells, wp.vec3i), (numbers, wp.int32), (keys, wp.int32))
    ]
    corners = [wp.vec3(*space.low), space.size, wp.vec3(*space.low), wp.vec3(*space.high)]
    positions = wp.empty(count, dtype=wp.vec3, device=device)
    wp.launch(kernels.place, count, [*arrays, seed, *corners, positions], device=device)
    return Filled(positions.numpy(), labels, room)


def _cells_at(found: list[_Room], at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cells (M, 3) and labels (M,) int32 of entries ``at`` (M,), ascending, in the list of all rooms' cells."""
    ends = np.cumsum([0, *(len(room.cells) for room in found)])
    bounds = np.searchsorted(at, ends)
    cells, labels = np.zeros((len(at), 3), np.int64), np.zeros(len(at), np.int32)
    for room, start, low, high in zip(found, ends[:-1], bounds[:-1], bounds[1:], strict=True):
        within = np.unravel_index(room.cells[at[low:high] - start], room.shape)
        cells[low:high] = np.stack(within, 1) + room.first
        labels[low:high] = room.label
    return cells, labels
