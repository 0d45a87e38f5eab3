"""This module has the kernel that finds how the particles of bodies lie about the nodes where they meet.

Nodes that several bodies reach gather for each body the moments of its particles about the node, by the weights of the
splines.
"""

# mypy: ignore-errors

from functools import cache

import warp as wp

from dataset.mpm.contact.arrays import (
    ROWS_OF_MOMENTS,
    ContactStruct,
    ExactContactStruct,
    add_row,
    add_row_exactly,
)
from dataset.mpm.contact.shared_blocks import reached_by_others
from dataset.mpm.lattice import (
    BLOCK,
    BLOCK_BITS,
    BLOCK_MASK,
    NODES_IN_BLOCK,
    LatticeStruct,
    block_of,
    blocks_in_layer,
    coordinates,
    first_node,
    is_inside,
)
from dataset.mpm.particles import ParticlesStruct, Rows, vector_in
from dataset.mpm.transfers import SubstepStruct, spline

wp.set_module_options({"enable_backward": False})


@wp.func
def axis_bits(first: int, block: int) -> int:
    """Return which nodes of a block are among the three from ``first`` on along an axis, as 4 bits.

    Args:
        block: 0 for the block of ``first``, 1 for the next.
    """
    return ((7 << (first & BLOCK_MASK)) >> (block * BLOCK)) & 15


@wp.func
def nodes_in(x: int, y: int, z: int) -> wp.uint64:
    """Return the nodes of a block, as bits, that lie at these places along each axis, 4 bits each."""
    plane = wp.uint64(z * ((y & 1) | ((y & 2) << 3) | ((y & 4) << 6) | ((y & 8) << 9)))
    nodes = wp.uint64(0)
    for i in range(BLOCK):
        if (x >> i) & 1 == 1:
            nodes = nodes | (plane << wp.uint64(BLOCK * BLOCK * i))
    return nodes


@wp.func_native("""
#if defined(__CUDA_ARCH__)
    return __ffsll(bits) - 1;
#else
    return __builtin_ctzll(bits);
#endif
""")
def lowest_bit(bits: wp.uint64) -> int:
    """Return the number of the lowest bit that is set, of which there is one."""


@cache
def add_moments(rows: Rows, exact: bool) -> wp.Kernel:
    """Return the kernel that adds the moments of particles to those nodes near them that another body reaches."""
    contact_type, add = (ExactContactStruct, add_row_exactly) if exact else (ContactStruct, add_row)

    @wp.kernel(module="unique", enable_backward=False)
    def kernel(lattice: LatticeStruct, substep: SubstepStruct, particles: ParticlesStruct, contact: contact_type):
        t = wp.tid()
        shared = contact.shared
        if shared.counts[substep.now] == 0:
            return
        c = coordinates(lattice, vector_in(particles.table, wp.static(rows.x), t))
        if not is_inside(lattice, c):
            return
        body = int(particles.table[wp.static(rows.body), t])
        first = first_node(c)
        f = c - wp.vec3(float(first[0]), float(first[1]), float(first[2]))
        block = block_of(lattice, first)
        if shared.near[block] != substep.number:
            return
        wx = spline(f[0])
        wy = spline(f[1])
        wz = spline(f[2])
        # Along an axis the three nodes reach into the next block from the third node of one on.
        corners = wp.vec3i((first[0] >> 1) & 1, (first[1] >> 1) & 1, (first[2] >> 1) & 1)
        for corner in range(8):
            bx = corner >> 2
            by = (corner >> 1) & 1
            bz = corner & 1
            if bx <= corners[0] and by <= corners[1] and bz <= corners[2]:
                there = block + (bx * lattice.blocks + by) * lattice.blocks + bz
                found = shared.last[there]
                bits = wp.uint64(0)
                if found.number == substep.number:
                    bits = nodes_in(axis_bits(first[0], bx), axis_bits(first[1], by), axis_bits(first[2], bz))
                    bits = bits & reached_by_others(shared, blocks_in_layer(lattice), there, found.bodies, body)
                at_body = (found.slot * shared.bodies + body) * NODES_IN_BLOCK
                while bits != wp.uint64(0):
                    place = lowest_bit(bits)
                    bits = bits & (bits - wp.uint64(1))
                    i = (place >> (2 * BLOCK_BITS)) + bx * BLOCK - (first[0] & BLOCK_MASK)
                    j = ((place >> BLOCK_BITS) & BLOCK_MASK) + by * BLOCK - (first[1] & BLOCK_MASK)
                    k = (place & BLOCK_MASK) + bz * BLOCK - (first[2] & BLOCK_MASK)
                    w = wx[i] * wy[j] * wz[k]
                    x = f[0] - float(i)
                    y = f[1] - float(j)
                    z = f[2] - float(k)
                    at = (at_body + place) * ROWS_OF_MOMENTS
                    wp.static(add)(contact.moments, at, w * wp.vec4(1.0, x, y, z))
                    wp.static(add)(contact.moments, at + 1, w * wp.vec4(x * x, x * y, x * z, y * y))
                    wp.static(add)(contact.moments, at + 2, w * wp.vec4(y * z, z * z, 0.0, 0.0))

    return kernel
