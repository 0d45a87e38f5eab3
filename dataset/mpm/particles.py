"""This module sorts the solver's copy of the particles: a table of a row for each number, a column for each particle.

Rows make what neighbouring threads read and write adjacent. Columns are sorted by cell, so that neighbouring threads
have the same nodes to read from and to add to.
"""

# mypy: ignore-errors

from dataclasses import dataclass
from functools import cache

import warp as wp

from dataset.mpm.lattice import LatticeStruct, coordinates, first_node, is_inside, layer_shift, memory_index
from dataset.mpm.model import ModelStruct
from dataset.mpm.state import StateStruct

wp.set_module_options({"enable_backward": False})


@dataclass(frozen=True)
class Rows:
    """Numbers the rows of the particles' table: of the three of a vector or nine of a matrix, it gives the first.

    Attributes:
        plastic: whether there are plastic materials.
        layered: whether bodies have a layer of the grid each, whose number the row ``body`` has.
    """

    plastic: bool
    layered: bool = False

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
        """Return how many rows are sorted within a frame; the rows after them are needed at its ends only."""
        return self.body + self.layered

    @property
    def body(self) -> int:
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


@wp.struct
class ParticlesStruct:
    """Holds the sorted particles for kernels."""

    count: int
    table: wp.array2d(dtype=float)
    origin: wp.array(dtype=int)  # row in the state and the model of each column's particle
    start: wp.array(dtype=wp.vec3)  # where each particle of the state started, m; by which conditions choose


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
def cell_key(lattice: LatticeStruct, layer: int, past: int, x: wp.vec3) -> int:
    """Return the index in memory of a particle's first node in its layer, ``past`` for particles outside the grid."""
    c = coordinates(lattice, x)
    if not is_inside(lattice, c):
        return past
    first = first_node(c)
    return memory_index(lattice, wp.vec3i(first[0] + layer_shift(lattice, layer), first[1], first[2]))


@wp.kernel
def find_cells(
    lattice: LatticeStruct,
    past: int,
    x: wp.array(dtype=wp.vec3),
    body: wp.array(dtype=int),
    keys: wp.array(dtype=int),
    order: wp.array(dtype=int),
):
    """Write keys to sort particles by, in the order of the state; ``body`` is None where there is one layer."""
    t = wp.tid()
    layer = int(0)
    if body:
        layer = body[t]
    keys[t] = cell_key(lattice, layer, past, x[t])
    order[t] = t


@wp.kernel
def find_cells_again(
    particles: ParticlesStruct,
    lattice: LatticeStruct,
    past: int,
    row: int,
    keys: wp.array(dtype=int),
    order: wp.array(dtype=int),
):
    """Write keys to sort columns by, in the order of the table; ``row`` has layers, -1 where there is one layer."""
    t = wp.tid()
    layer = int(0)
    if row >= 0:
        layer = int(particles.table[row, t])
    keys[t] = cell_key(lattice, layer, past, vector_in(particles.table, 0, t))
    order[t] = t


@wp.kernel
def reorder(rows: int, order: wp.array(dtype=int), particles: ParticlesStruct, particles_out: ParticlesStruct):
    """Copy the first ``rows`` rows of the columns in another order."""
    t = wp.tid()
    source = order[t]
    for row in range(rows):
        particles_out.table[row, t] = particles.table[row, source]
    particles_out.origin[t] = particles.origin[source]


@cache
def load_particles(rows: Rows) -> wp.Kernel:
    """Return the kernel that fills the table from a state and a model, in a given order."""

    @wp.kernel(module="unique", enable_backward=False)
    def kernel(order: wp.array(dtype=int), state: StateStruct, model: ModelStruct, particles: ParticlesStruct):
        t = wp.tid()
        p = order[t]
        table = particles.table
        particles.origin[t] = p
        put_vector(table, wp.static(rows.x), t, state.x[p])
        put_vector(table, wp.static(rows.v), t, state.v[p])
        put_matrix(table, wp.static(rows.affine), t, state.C[p])
        put_matrix(table, wp.static(rows.F), t, state.F[p])
        table[wp.static(rows.mass), t] = model.mass[p]
        table[wp.static(rows.volume), t] = model.volume[p]
        table[wp.static(rows.mu), t] = model.mu[p]
        table[wp.static(rows.lam), t] = model.lam[p]
        table[wp.static(rows.law), t] = float(model.law[p])
        if wp.static(rows.layered):
            table[wp.static(rows.body), t] = float(model.body[p])
        if wp.static(rows.plastic):
            put_matrix(table, wp.static(rows.total), t, state.total[p])
            table[wp.static(rows.history), t] = state.history[p]
            for i in range(4):
                table[wp.static(rows.parameters) + i, t] = model.parameters[p][i]

    return kernel


@cache
def store_particles(rows: Rows) -> wp.Kernel:
    """Return the kernel that brings the particles back into a state."""

    @wp.kernel(module="unique", enable_backward=False)
    def kernel(particles: ParticlesStruct, state: StateStruct):
        t = wp.tid()
        p = particles.origin[t]
        table = particles.table
        state.x[p] = vector_in(table, wp.static(rows.x), t)
        state.v[p] = vector_in(table, wp.static(rows.v), t)
        state.C[p] = matrix_in(table, wp.static(rows.affine), t)
        state.F[p] = matrix_in(table, wp.static(rows.F), t)
        if wp.static(rows.plastic):
            state.total[p] = matrix_in(table, wp.static(rows.total), t)
            state.history[p] = table[wp.static(rows.history), t]

    return kernel
