"""This module has the kernel in which the bodies of a node exchange momentum.

Both bodies of a pair get the same impulse at the same node, with opposite signs, so that linear and angular momentum
are exact to rounding. Three or more bodies at a node do so pair by pair, each pair by the velocities that the pairs
before have left, in several sweeps.
"""

# mypy: ignore-errors

from functools import cache

import warp as wp

from dataset.mpm.boundary_conditions import ConditionStruct, held_velocity
from dataset.mpm.contact.arrays import (
    ROWS_OF_MOMENTS,
    ContactStruct,
    ExactContactStruct,
    clear_row,
    clear_row_exactly,
)
from dataset.mpm.contact.law import LEAST_WEIGHT, pair_impulse
from dataset.mpm.contact.normals import smooth_normal, spread_of_body
from dataset.mpm.contact.shared_blocks import has_body
from dataset.mpm.grid import ExactGridStruct, GridStruct
from dataset.mpm.lattice import BLOCK_BITS, NODES_IN_BLOCK, blocks_in_layer, node_at
from dataset.mpm.transfers import SubstepStruct, load_node, middle, store_node

wp.set_module_options({"enable_backward": False})

_SWEEPS = wp.constant(4)


@wp.func
def share_velocity(velocities: wp.array(dtype=wp.vec4), bodies: int, present: int, index: int, layer: int):
    """Give all bodies of a node their common velocity, as on a grid with one for all.

    Args:
        bodies: how many there are in all.
        present: those of the node's block, as bits.
        index: of the node in the first layer.
        layer: nodes in a layer.
    """
    total = wp.vec4()
    for body in range(bodies):
        if has_body(present, body):
            field = load_node(velocities, body * layer + index)
            total += field[3] * wp.vec4(field[0], field[1], field[2], 1.0)
    for body in range(bodies):
        if has_body(present, body):
            field = load_node(velocities, body * layer + index)
            common = wp.vec4(total[0] / total[3], total[1] / total[3], total[2] / total[3], field[3])
            store_node(velocities, body * layer + index, common)


@cache
def exchange(conditions: tuple[str, ...], surfaces: bool, exact: bool) -> wp.Kernel:
    """Return the kernel that lets the bodies of each node push each other.

    Grid conditions have been applied to each body's velocities before; those that may have changed meet them again.
    Moments are set to zero for the next substep, since no other node looks at them.

    Args:
        conditions: names of the grid conditions in use.
        surfaces: whether these hold at their surfaces.
        exact: sums are in whole numbers.
    """
    held = held_velocity(conditions, surfaces)
    grid_type, contact_type = (ExactGridStruct, ExactContactStruct) if exact else (GridStruct, ContactStruct)
    spread = spread_of_body(exact)
    clear = clear_row_exactly if exact else clear_row

    @wp.func
    def exchange_pair(
        grid: grid_type, contact: contact_type, number: int, slot: int, place: int, a: int, b: int, dt: float
    ):
        lattice = grid.lattice
        block = contact.shared.blocks[slot]
        layer = blocks_in_layer(lattice) * NODES_IN_BLOCK
        index_a = a * layer + block * NODES_IN_BLOCK + place
        index_b = b * layer + block * NODES_IN_BLOCK + place
        field_a = load_node(grid.velocities, index_a)
        field_b = load_node(grid.velocities, index_b)
        if field_a[3] <= 0.0 or field_b[3] <= 0.0:
            return
        spread_a = spread(contact, slot, a, place)
        spread_b = spread(contact, slot, b, place)
        if spread_a.weight <= LEAST_WEIGHT or spread_b.weight <= LEAST_WEIGHT:
            return
        node = node_at(lattice, block, place)
        normal = smooth_normal(contact.shared, contact.smooth_normals, lattice, number, node, a, b)
        relative = field_a - field_b
        impulse = pair_impulse(
            wp.normalize(wp.vec3(normal[0], normal[1], normal[2])),
            spread_a,
            spread_b,
            field_a[3],
            field_b[3],
            wp.vec3(relative[0], relative[1], relative[2]),
            contact.friction[a, b],
            lattice.dx,
            dt,
        )
        change = wp.vec4(impulse[0], impulse[1], impulse[2], 0.0)
        store_node(grid.velocities, index_a, field_a - change / field_a[3])
        store_node(grid.velocities, index_b, field_b + change / field_b[3])

    @wp.kernel(module="unique", enable_backward=False, grid_stride=False)
    def kernel(
        grid: grid_type,
        substep: SubstepStruct,
        threads: int,
        contact: contact_type,
        settings: wp.array(dtype=ConditionStruct),
        clock: wp.array(dtype=wp.float64),
        offset: wp.float64,
    ):
        n = wp.tid()
        lattice = grid.lattice
        dt = substep.dt
        time = middle(clock, offset)
        layer = blocks_in_layer(lattice) * NODES_IN_BLOCK
        count = contact.shared.counts[substep.now]
        slots = wp.min(count, contact.shared.capacity)
        while n < count * NODES_IN_BLOCK:
            slot = n >> (3 * BLOCK_BITS)
            place = n & (NODES_IN_BLOCK - 1)
            index = contact.shared.blocks[slot] * NODES_IN_BLOCK + place
            present = contact.shared.present[slot]
            here = int(0)
            for body in range(contact.shared.bodies):
                if has_body(present, body) and load_node(grid.velocities, body * layer + index)[3] > 0.0:
                    here += 1
            if here > 1:
                if slot >= slots:
                    share_velocity(grid.velocities, contact.shared.bodies, present, index, layer)
                else:
                    # Not a loop of constant length, which would be unrolled.
                    sweeps = int(1)
                    if here > 2:
                        sweeps = _SWEEPS
                    for _sweep in range(sweeps):
                        for a in range(contact.shared.bodies - 1):
                            for b in range(a + 1, contact.shared.bodies):
                                if has_body(present, a) and has_body(present, b):
                                    exchange_pair(grid, contact, substep.number, slot, place, a, b, dt)
                if wp.static(len(conditions) > 0):
                    node = node_at(lattice, contact.shared.blocks[slot], place)
                    for body in range(contact.shared.bodies):
                        if has_body(present, body):
                            field = load_node(grid.velocities, body * layer + index)
                            if field[3] > 0.0:
                                v = wp.vec3(field[0], field[1], field[2])
                                sides = int(0)
                                if wp.static(surfaces):
                                    sides = grid.sides[body * layer + index]
                                v = held(settings, lattice, node, v, time, dt, sides)
                                store_node(grid.velocities, body * layer + index, wp.vec4(v[0], v[1], v[2], field[3]))
            if slot < slots:
                # Also where nobody met: a weight too small to be felt as a mass leaves moments.
                for body in range(contact.shared.bodies):
                    if has_body(present, body):
                        row = ((slot * contact.shared.bodies + body) * NODES_IN_BLOCK + place) * ROWS_OF_MOMENTS
                        for k in range(ROWS_OF_MOMENTS):
                            wp.static(clear)(contact.moments, row + k)
            n += threads

    return kernel
