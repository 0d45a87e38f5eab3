"""This module says where the nodes of the grid stand in the world, and where they lie in memory.

Nodes are stored in blocks of BLOCK^3, so that what lies together in space lies together in memory and only the blocks
near particles need any work.
"""

# mypy: ignore-errors

import math
from dataclasses import dataclass

import numpy as np
import warp as wp

from gaussians.numbers import Vector
from gaussians.stage.shape_checks import check_shape

WORLD_TO_MPM = (2.0, 2.0, 1.0)
"""What is added to world coordinates to get those of the configuration, metres."""
PADDING = 3
"""Nodes outside the walls on each side."""
BLOCK_BITS = wp.constant(2)
BLOCK = wp.constant(1 << BLOCK_BITS)
"""Nodes along each side of a block: a power of two, so that kernels can shift and mask."""
BLOCK_MASK = wp.constant(BLOCK - 1)
NODES_IN_BLOCK = wp.constant(BLOCK**3)

# At 200 nodes over 4 metres the published grid, which spans [-2, 2] x [-2, 2] x [-1, 3], leaves its first node free
# at these places. Anchoring every lattice there keeps floor and walls still when the resolution changes.
_FIRST_FREE = (-1.94, -1.94, -0.94)
_WALL_INSET = 0.12


@wp.struct
class LatticeStruct:
    """Holds the numbers of a ``Lattice`` for kernels."""

    origin: wp.vec3
    dx: float
    inverse_dx: float
    nodes: int
    blocks: int


@dataclass(frozen=True)
class Lattice:
    """Places the nodes of a cubic grid.

    Attributes:
        n_grid: cells along a side of ``grid_lim``.
        grid_lim: side of the simulation box with its margins, metres.
    """

    n_grid: int
    grid_lim: float = 4.0

    @property
    def dx(self) -> float:
        """Return the distance between nodes, metres."""
        return self.grid_lim / self.n_grid

    @property
    def origin(self) -> Vector:
        """Return the world position of node (0, 0, 0), metres."""
        x, y, z = (first - PADDING * self.dx for first in _FIRST_FREE)
        return x, y, z

    @property
    def nodes(self) -> int:
        """Return the number of nodes along each side, the padding included."""
        return round((self.grid_lim - _WALL_INSET) / self.dx) + 2 * PADDING

    @property
    def blocks(self) -> int:
        """Return the number of blocks along each side."""
        return math.ceil(self.nodes / BLOCK)

    @property
    def walls(self) -> tuple[Vector, Vector]:
        """Return the world positions of the first free nodes, which are the lower walls and the floor, and of the first
        blocked nodes, which are the upper walls."""
        span = (self.nodes - 2 * PADDING) * self.dx
        x, y, z = _FIRST_FREE
        return (x, y, z), (x + span, y + span, z + span)

    def struct(self) -> LatticeStruct:
        value = LatticeStruct()
        value.origin = wp.vec3(*self.origin)
        value.dx = self.dx
        value.inverse_dx = 1.0 / self.dx
        value.nodes = self.nodes
        value.blocks = self.blocks
        return value

    def coordinates(self, positions: np.ndarray) -> np.ndarray:
        """Return positions (N, 3), metres, in units of nodes from node (0, 0, 0)."""
        check_shape("positions", positions, "N", 3)
        return (positions.astype(np.float64) - self.origin) / self.dx

    def contains(self, positions: np.ndarray) -> np.ndarray:
        """Return (N,) bool: whether the 27 nodes around a particle exist; false for NaN."""
        coordinates = self.coordinates(positions)
        return np.all((coordinates >= 0.5) & (coordinates < self.nodes - 1.5), axis=1)

    def _cells(self, positions: np.ndarray) -> np.ndarray:
        """Return (N,), the number of each particle's cell."""
        i, j, k = np.floor(self.coordinates(positions)).astype(np.int64).T
        return (i * self.nodes + j) * self.nodes + k

    def mean_particles_per_cell(self, positions: np.ndarray) -> float:
        """Return the mean number of particles in a cell, over the cells that have any."""
        return len(positions) / len(np.unique(self._cells(positions)))

    def particle_volumes(self, positions: np.ndarray) -> np.ndarray:
        """Return (N,), m^3: each cell's volume is shared equally by the particles in it."""
        _, cell, counts = np.unique(self._cells(positions), return_inverse=True, return_counts=True)
        return self.dx**3 / counts[cell]


@wp.func
def coordinates(lattice: LatticeStruct, x: wp.vec3) -> wp.vec3:
    """Return a world position in units of nodes from node (0, 0, 0)."""
    return (x - lattice.origin) * lattice.inverse_dx


@wp.func
def is_inside(lattice: LatticeStruct, c: wp.vec3) -> bool:
    """Return whether all 27 nodes exist; false for NaN, so that no particle ever reaches outside the arrays."""
    low = wp.min(c) >= 0.5
    high = wp.max(c) < float(lattice.nodes) - 1.5
    return low and high and c[0] == c[0] and c[1] == c[1] and c[2] == c[2]


@wp.func
def first_node(c: wp.vec3) -> wp.vec3i:
    """Return the first of the 27 nodes near a place."""
    return wp.vec3i(int(c[0] - 0.5), int(c[1] - 0.5), int(c[2] - 0.5))


@wp.func
def offset_along(i: int, block_stride: int, node_stride: int) -> int:
    """Return what index ``i`` along one axis adds to a node's index in memory."""
    return (i >> BLOCK_BITS) * block_stride + (i & BLOCK_MASK) * node_stride


@wp.func
def offsets_along(i: int, block_stride: int, node_stride: int) -> wp.vec3i:
    """Return ``offset_along`` of the three indices from ``i`` on."""
    return wp.vec3i(
        offset_along(i, block_stride, node_stride),
        offset_along(i + 1, block_stride, node_stride),
        offset_along(i + 2, block_stride, node_stride),
    )


@wp.func
def stencil_offsets(lattice: LatticeStruct, first: wp.vec3i):
    """Return, for each axis, what the three indices from ``first`` on add to an index in memory.

    Node ``first + (i, j, k)`` lies at ``x[i] + y[j] + z[k]``.
    """
    row = lattice.blocks * NODES_IN_BLOCK
    x = offsets_along(first[0], lattice.blocks * row, BLOCK * BLOCK)
    y = offsets_along(first[1], row, BLOCK)
    z = offsets_along(first[2], NODES_IN_BLOCK, 1)
    return x, y, z


@wp.func
def memory_index(lattice: LatticeStruct, node: wp.vec3i) -> int:
    """Return the index of a node in arrays over the grid."""
    row = lattice.blocks * NODES_IN_BLOCK
    x = offset_along(node[0], lattice.blocks * row, BLOCK * BLOCK)
    y = offset_along(node[1], row, BLOCK)
    return x + y + offset_along(node[2], NODES_IN_BLOCK, 1)


@wp.func
def block_of(lattice: LatticeStruct, node: wp.vec3i) -> int:
    """Return the number of the block that holds a node."""
    row = (node[0] >> BLOCK_BITS) * lattice.blocks + (node[1] >> BLOCK_BITS)
    return row * lattice.blocks + (node[2] >> BLOCK_BITS)


@wp.func
def blocks_in_layer(lattice: LatticeStruct) -> int:
    """Return the number of blocks of a whole lattice, which one layer of a ``Grid`` has."""
    return lattice.blocks * lattice.blocks * lattice.blocks


@wp.func
def layer_shift(lattice: LatticeStruct, layer: int) -> int:
    """Return what to add to a node's first index to get to the same place of another layer.

    Layers follow one another along x, so that ``memory_index`` and ``block_of`` work on such nodes too.
    """
    return layer * lattice.blocks * BLOCK


@wp.func
def node_at(lattice: LatticeStruct, block: int, place: int) -> wp.vec3i:
    """Return the node at ``place``, 0 to NODES_IN_BLOCK - 1, of a block; the inverse of ``memory_index``."""
    row = block // lattice.blocks
    return wp.vec3i(
        (row // lattice.blocks) * BLOCK + (place >> (2 * BLOCK_BITS)),
        (row % lattice.blocks) * BLOCK + ((place >> BLOCK_BITS) & BLOCK_MASK),
        (block % lattice.blocks) * BLOCK + (place & BLOCK_MASK),
    )
