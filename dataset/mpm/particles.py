"""The solver's own copy of the particles: a table with a row for each number and a column for each particle.

Rows make what neighbouring threads read and write adjacent. Columns are sorted by cell, so that neighbouring threads
have the same nodes to read from and to add to.
"""

# mypy: ignore-errors

from dataclasses import dataclass
from functools import cache

import warp as wp

from dataset.mpm.lattice import LatticeStruct, coordinates, first_node, is_inside, place_in_memory

wp.set_module_options({"enable_backward": False})


@dataclass(frozen=True)
class Rows:
    """Which rows hold what; those of vectors and matrices are the first of three and nine.

    Attributes:
        plastic: whether there are plastic materials.
    """

    plastic: bool

    x = 0
    F = 3
    mass = 12
    volume = 13
    mu = 14
    lam = 15
    law = 16
    history = 17
    parameters = 18
    total = 22

    @property
    def moved(self) -> int:
        """How many rows there are before those that only the ends of a frame need."""
        return 31 if self.plastic else 17

    @property
    def v(self) -> int:
        return self.moved

    @property
    def affine(self) -> int:
        return self.moved + 3

    @property
    def count(self) -> int:
        return self.moved + 12


@wp.func
def vector_in(table: wp.array2d(dtype=float), row: int, t: int) -> wp.vec3:
    return wp.vec3(table[row, t], table[row + 1, t], table[row + 2, t])


@wp.func
def put_vector(table: wp.array2d(dtype=float), row: int, t: int, value: wp.vec3):
    for i in range(3):
        table[row + i, t] = value[i]


@wp.func
def matrix_in(table: wp.array2d(dtype=float), row: int, t: int) -> wp.mat33:
    a = vector_in(table, row, t)
    b = vector_in(table, row + 3, t)
    c = vector_in(table, row + 6, t)
    return wp.mat33(a[0], a[1], a[2], b[0], b[1], b[2], c[0], c[1], c[2])


@wp.func
def put_matrix(table: wp.array2d(dtype=float), row: int, t: int, value: wp.mat33):
    for i in range(3):
        for j in range(3):
            table[row + 3 * i + j, t] = value[i, j]


@wp.func
def cell_key(lattice: LatticeStruct, x: wp.vec3) -> int:
    """The place in memory of a particle's first node; past all of them for particles outside the grid."""
    c = coordinates(lattice, x)
    if not is_inside(lattice, c):
        return lattice.blocks * lattice.blocks * lattice.blocks * 64
    first = first_node(c)
    return place_in_memory(lattice, first[0], first[1], first[2])


@wp.kernel
def find_cells(
    lattice: LatticeStruct, x: wp.array(dtype=wp.vec3), keys: wp.array(dtype=int), order: wp.array(dtype=int)
):
    """Keys to sort particles by, in the order of the state."""
    t = wp.tid()
    keys[t] = cell_key(lattice, x[t])
    order[t] = t


@wp.kernel
def find_cells_again(
    lattice: LatticeStruct, table: wp.array2d(dtype=float), keys: wp.array(dtype=int), order: wp.array(dtype=int)
):
    """Keys to sort columns by, in the order of the table."""
    t = wp.tid()
    keys[t] = cell_key(lattice, vector_in(table, 0, t))
    order[t] = t


@wp.kernel
def reorder(
    rows: int,
    order: wp.array(dtype=int),
    table: wp.array2d(dtype=float),
    particle: wp.array(dtype=int),
    table_out: wp.array2d(dtype=float),
    particle_out: wp.array(dtype=int),
):
    """Move columns; ``particle`` is the place in the state of each one's particle."""
    t = wp.tid()
    source = order[t]
    for row in range(rows):
        table_out[row, t] = table[row, source]
    particle_out[t] = particle[source]


@cache
def load_particles(rows: Rows) -> wp.Kernel:
    """The kernel that fills the table from a state and a model, in a given order."""

    @wp.kernel(module="unique", enable_backward=False)
    def kernel(
        order: wp.array(dtype=int),
        x: wp.array(dtype=wp.vec3),
        v: wp.array(dtype=wp.vec3),
        C: wp.array(dtype=wp.mat33),
        F: wp.array(dtype=wp.mat33),
        total: wp.array(dtype=wp.mat33),
        history: wp.array(dtype=float),
        mass: wp.array(dtype=float),
        volume: wp.array(dtype=float),
        mu: wp.array(dtype=float),
        lam: wp.array(dtype=float),
        law: wp.array(dtype=int),
        parameters: wp.array(dtype=wp.vec4),
        table: wp.array2d(dtype=float),
        particle: wp.array(dtype=int),
    ):
        t = wp.tid()
        p = order[t]
        particle[t] = p
        put_vector(table, wp.static(rows.x), t, x[p])
        put_vector(table, wp.static(rows.v), t, v[p])
        put_matrix(table, wp.static(rows.affine), t, C[p])
        put_matrix(table, wp.static(rows.F), t, F[p])
        table[wp.static(rows.mass), t] = mass[p]
        table[wp.static(rows.volume), t] = volume[p]
        table[wp.static(rows.mu), t] = mu[p]
        table[wp.static(rows.lam), t] = lam[p]
        table[wp.static(rows.law), t] = float(law[p])
        if wp.static(rows.plastic):
            put_matrix(table, wp.static(rows.total), t, total[p])
            table[wp.static(rows.history), t] = history[p]
            for i in range(4):
                table[wp.static(rows.parameters) + i, t] = parameters[p][i]

    return kernel


@cache
def store_particles(rows: Rows) -> wp.Kernel:
    """The kernel that brings the particles back into a state."""

    @wp.kernel(module="unique", enable_backward=False)
    def kernel(
        table: wp.array2d(dtype=float),
        particle: wp.array(dtype=int),
        x: wp.array(dtype=wp.vec3),
        v: wp.array(dtype=wp.vec3),
        C: wp.array(dtype=wp.mat33),
        F: wp.array(dtype=wp.mat33),
        total: wp.array(dtype=wp.mat33),
        history: wp.array(dtype=float),
    ):
        t = wp.tid()
        p = particle[t]
        x[p] = vector_in(table, wp.static(rows.x), t)
        v[p] = vector_in(table, wp.static(rows.v), t)
        C[p] = matrix_in(table, wp.static(rows.affine), t)
        F[p] = matrix_in(table, wp.static(rows.F), t)
        if wp.static(rows.plastic):
            total[p] = matrix_in(table, wp.static(rows.total), t)
            history[p] = table[wp.static(rows.history), t]

    return kernel
