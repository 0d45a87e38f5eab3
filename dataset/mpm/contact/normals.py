"""This module has the kernels that find the normal of each pair of bodies at each node where they meet."""

# mypy: ignore-errors

from functools import cache

import warp as wp

from dataset.mpm.contact.arrays import (
    ROWS_OF_MOMENTS,
    ContactStruct,
    ExactContactStruct,
    pair_row,
    take_row,
    take_row_exactly,
)
from dataset.mpm.contact.law import LEAST_WEIGHT, Spread, separating_normal, spread_of
from dataset.mpm.contact.shared_blocks import SharedBlocksStruct, has_body, used_slots
from dataset.mpm.lattice import BLOCK_BITS, NODES_IN_BLOCK, LatticeStruct, node_at
from dataset.mpm.transfers import SubstepStruct, load_node, store_node, with_constants

wp.set_module_options({"enable_backward": False})


@cache
def spread_of_body(exact: bool) -> wp.Function:
    """Return the function that gives the spread of a body around a node."""
    contact_type, take = (ExactContactStruct, take_row_exactly) if exact else (ContactStruct, take_row)

    @wp.func
    def spread(contact: contact_type, slot: int, body: int, place: int) -> Spread:
        at = ((slot * contact.shared.bodies + body) * NODES_IN_BLOCK + place) * ROWS_OF_MOMENTS
        sums = wp.static(take)(contact.moments, at)
        products = wp.static(take)(contact.moments, at + 1)
        others = wp.static(take)(contact.moments, at + 2)
        return spread_of(sums, products, others, contact.spacing[body])

    return spread


@cache
def find_normals(exact: bool) -> wp.Kernel:
    """Return the kernel that finds the normal of each pair at each node, as sure as there are particles of both."""
    contact_type = ExactContactStruct if exact else ContactStruct
    spread = spread_of_body(exact)

    @wp.kernel(module="unique", enable_backward=False, grid_stride=False)
    def kernel(substep: SubstepStruct, threads: int, contact: contact_type):
        n = wp.tid()
        count = used_slots(contact.shared, substep) * NODES_IN_BLOCK
        pairs = contact.shared.bodies * (contact.shared.bodies - 1) // 2
        while n < count:
            slot = n >> (3 * BLOCK_BITS)
            place = n & (NODES_IN_BLOCK - 1)
            present = contact.shared.present[slot]
            for a in range(contact.shared.bodies - 1):
                if has_body(present, a):
                    spread_a = spread(contact, slot, a, place)
                    for b in range(a + 1, contact.shared.bodies):
                        if has_body(present, b):
                            normal = wp.vec4()
                            if spread_a.weight > LEAST_WEIGHT:
                                spread_b = spread(contact, slot, b, place)
                                if spread_b.weight > LEAST_WEIGHT:
                                    sure = spread_a.weight * spread_b.weight
                                    direction = separating_normal(spread_a, spread_b)
                                    normal = sure * wp.vec4(direction[0], direction[1], direction[2], 0.0)
                            row = (slot * pairs + pair_row(contact.shared.bodies, a, b)) * NODES_IN_BLOCK + place
                            store_node(contact.normals, row, normal)
            n += threads

    return kernel


# The rows of normals are found for all blocks around before any normal is loaded, and then all of these at once: one
# after the other, these loads were most of what smoothing took.
_SMOOTH_NORMAL = """
    const auto load = [&normals](int index) {
#if defined(__CUDA_ARCH__)
        const float4 value = reinterpret_cast<const float4*>(normals.data)[index];
        return wp::vec4(value.x, value.y, value.z, value.w);
#else
        return normals.data[index];
#endif
    };
    // Of the neighbours along each axis: the blocks of the first and the last, whether the node's own is that of the
    // last, and places in their blocks. At the lattice's edge the node stands for a neighbour that it lacks.
    int block[3][2], place[3][3];
    bool last[3];
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) {
        const int i = node[axis], before = i > 0 ? i - 1 : i, after = i + 1 < lattice.nodes ? i + 1 : i;
        block[axis][0] = before >> BLOCK_BITS;
        block[axis][1] = after >> BLOCK_BITS;
        last[axis] = i >> BLOCK_BITS == block[axis][1];
        place[axis][0] = before & BLOCK_MASK;
        place[axis][1] = i & BLOCK_MASK;
        place[axis][2] = after & BLOCK_MASK;
    }
    const int pairs = shared.bodies * (shared.bodies - 1) / 2, side = lattice.blocks, both = 1 << a | 1 << b;
    const int pair = a * (2 * shared.bodies - a - 1) / 2 + b - a - 1;
    int row[3][3][3];  // the first of each neighbour's block, or -1
#pragma unroll
    for (int n = 0; n < 8; ++n) {
        const int x = n >> 2, y = n >> 1 & 1, z = n & 1;
        const auto found = shared.last.data[(block[0][x] * side + block[1][y]) * side + block[2][z]];
        const bool known = found.number == number && (found.bodies & both) == both;
        row[2 * x][2 * y][2 * z] = known ? (found.slot * pairs + pair) * NODES_IN_BLOCK : -1;
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {
        const int y = n & 2, z = 2 * (n & 1);
        row[1][y][z] = last[0] ? row[2][y][z] : row[0][y][z];
    }
#pragma unroll
    for (int n = 0; n < 6; ++n) {
        const int x = n >> 1, z = 2 * (n & 1);
        row[x][1][z] = last[1] ? row[x][2][z] : row[x][0][z];
    }
#pragma unroll
    for (int n = 0; n < 9; ++n) {
        const int x = n / 3, y = n % 3;
        row[x][y][1] = last[2] ? row[x][y][2] : row[x][y][0];
    }
    wp::vec4 total;
#pragma unroll
    for (int n = 0; n < 27; ++n) {
        const int x = n / 9, y = n / 3 % 3, z = n % 3, first = row[x][y][z];
        const wp::vec4 normal = load(
            (first < 0 ? 0 : first) + ((place[0][x] << BLOCK_BITS | place[1][y]) << BLOCK_BITS | place[2][z])
        );
        const float weight = (x == 1 ? 2 : 1) * (y == 1 ? 2 : 1) * (z == 1 ? 2 : 1) / 64.0f;
        if (first >= 0)
            total += wp::mul(weight, normal);
    }
    return total;
"""


@wp.func_native(with_constants(_SMOOTH_NORMAL))
def smooth_normal(
    shared: SharedBlocksStruct,
    normals: wp.array(dtype=wp.vec4),
    lattice: LatticeStruct,
    number: int,
    node: wp.vec3i,
    a: int,
    b: int,
) -> wp.vec4:
    """Return a pair's mean normal of a node and its 26 neighbours.

    Args:
        number: of the substep in its frame.
        a, b: the pair, a < b.
    """


@cache
def smooth_normals(exact: bool) -> wp.Kernel:
    contact_type = ExactContactStruct if exact else ContactStruct

    @wp.kernel(module="unique", enable_backward=False, grid_stride=False)
    def kernel(lattice: LatticeStruct, substep: SubstepStruct, threads: int, contact: contact_type):
        n = wp.tid()
        count = used_slots(contact.shared, substep) * NODES_IN_BLOCK
        pairs = contact.shared.bodies * (contact.shared.bodies - 1) // 2
        while n < count:
            slot = n >> (3 * BLOCK_BITS)
            place = n & (NODES_IN_BLOCK - 1)
            present = contact.shared.present[slot]
            node = node_at(lattice, contact.shared.blocks[slot], place)
            for a in range(contact.shared.bodies - 1):
                if has_body(present, a):
                    for b in range(a + 1, contact.shared.bodies):
                        if has_body(present, b):
                            row = (slot * pairs + pair_row(contact.shared.bodies, a, b)) * NODES_IN_BLOCK + place
                            value = wp.vec4()
                            if wp.length_sq(load_node(contact.normals, row)) > 0.0:
                                value = smooth_normal(
                                    contact.shared, contact.normals, lattice, substep.number, node, a, b
                                )
                            store_node(contact.smooth_normals, row, value)
            n += threads

    return kernel
