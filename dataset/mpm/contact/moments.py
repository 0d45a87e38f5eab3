"""This module has the kernels that find where bodies meet, and how their particles lie there.

Every body has a layer of the grid to itself (see ``Grid``), so that particles scatter and gather as if it were alone.
The blocks that several bodies touch get a slot each; there, nodes that several bodies reach gather for each body the
moments of its particles about the node, by the weights of the splines.
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
from dataset.mpm.contact.shared_blocks import has_body, used_slots
from dataset.mpm.grid import ExactGridStruct, GridStruct
from dataset.mpm.lattice import (
    BLOCK,
    BLOCK_BITS,
    BLOCK_MASK,
    NODES_IN_BLOCK,
    block_of,
    blocks_in_layer,
    coordinates,
    first_node,
    is_inside,
)
from dataset.mpm.particles import ParticlesStruct, Rows, vector_in
from dataset.mpm.transfers import SubstepStruct, spline

wp.set_module_options({"enable_backward": False})


@cache
def find_reached_nodes(exact: bool) -> wp.Kernel:
    """Return the kernel that finds the nodes that each body of a slot reaches, half a block a thread."""
    grid_type, contact_type = (ExactGridStruct, ExactContactStruct) if exact else (GridStruct, ContactStruct)

    @wp.kernel(module="unique", enable_backward=False, grid_stride=False)
    def kernel(grid: grid_type, substep: SubstepStruct, threads: int, contact: contact_type):
        n = wp.tid()
        layer = blocks_in_layer(grid.lattice)
        shared = contact.shared
        count = used_slots(shared, substep) * shared.bodies * 2
        while n < count:
            body = (n >> 1) % shared.bodies
            slot = (n >> 1) // shared.bodies
            reached = int(0)
            if has_body(shared.present[slot], body):
                start = (body * layer + shared.blocks[slot]) * NODES_IN_BLOCK + (n & 1) * 32
                for i in range(32):
                    if grid.velocities[start + i][3] > 0.0:
                        reached = reached | (1 << i)
            contact.reached[n] = reached
            n += threads

    return kernel


@wp.func
def reached_by_others(reached: wp.array(dtype=int), bodies: int, slot: int, body: int) -> wp.vec2i:
    """Return the nodes of a slot that any other body reaches, as bits."""
    result = wp.vec2i()
    for other in range(bodies):
        if other != body:
            at = 2 * (slot * bodies + other)
            result = wp.vec2i(result[0] | reached[at], result[1] | reached[at + 1])
    return result


@wp.func
def axis_bits(first: int, block: int) -> int:
    """Return which nodes of a block are among the three from ``first`` on along an axis, as 4 bits.

    Args:
        block: 0 for the block of ``first``, 1 for the next.
    """
    return ((7 << (first & BLOCK_MASK)) >> (block * BLOCK)) & 15


@wp.func
def nodes_in(x: int, y: int, z: int) -> wp.vec2i:
    """Return the nodes of a block, 64 bits, that lie at these places along each axis, 4 bits each."""
    plane = z * ((y & 1) | ((y & 2) << 3) | ((y & 4) << 6) | ((y & 8) << 9))
    low = (plane * (x & 1)) | ((plane * ((x >> 1) & 1)) << 16)
    high = (plane * ((x >> 2) & 1)) | ((plane * (x >> 3)) << 16)
    return wp.vec2i(low, high)


@wp.func_native("""
#if defined(__CUDA_ARCH__)
    return __ffs(bits) - 1;
#else
    return __builtin_ctz(bits);
#endif
""")
def lowest_bit(bits: int) -> int:
    """Return the number of the lowest bit that is set, of which there is one."""


@cache
def add_moments(rows: Rows, exact: bool) -> wp.Kernel:
    """Return the kernel that adds the moments of particles to those nodes near them that another body reaches."""
    grid_type, contact_type = (ExactGridStruct, ExactContactStruct) if exact else (GridStruct, ContactStruct)
    add = add_row_exactly if exact else add_row

    @wp.kernel(module="unique", enable_backward=False)
    def kernel(grid: grid_type, substep: SubstepStruct, particles: ParticlesStruct, contact: contact_type):
        t = wp.tid()
        lattice = grid.lattice
        c = coordinates(lattice, vector_in(particles.table, wp.static(rows.x), t))
        if not is_inside(lattice, c):
            return
        body = int(particles.table[wp.static(rows.body), t])
        first = first_node(c)
        f = c - wp.vec3(float(first[0]), float(first[1]), float(first[2]))
        block = block_of(lattice, first)
        if contact.shared.near[block] != substep.number:
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
            slot = int(-1)
            if bx <= corners[0] and by <= corners[1] and bz <= corners[2]:
                found = contact.shared.last[block + (bx * lattice.blocks + by) * lattice.blocks + bz]
                if found.number == substep.number:
                    slot = found.slot
            if slot >= 0:
                nodes = nodes_in(axis_bits(first[0], bx), axis_bits(first[1], by), axis_bits(first[2], bz))
                others = reached_by_others(contact.reached, contact.shared.bodies, slot, body)
                at_body = (slot * contact.shared.bodies + body) * NODES_IN_BLOCK
                for half in range(2):
                    bits = nodes[half] & others[half]
                    while bits != 0:
                        place = 32 * half + lowest_bit(bits)
                        bits = bits & (bits - 1)
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
