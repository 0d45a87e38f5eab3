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
    memory_index,
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


@wp.func_native("""
    return threadIdx.x % 32;
""")
def lane_in_warp() -> int:
    """Return the number of a thread in its CUDA warp."""


@wp.func_native("""
    return __ballot_sync(0xffffffffu, condition);
""")
def ballot(condition: bool) -> wp.uint32:
    """Return where a condition holds in a CUDA warp, as bits."""


@wp.func_native("""
    return __shfl_sync(0xffffffffu, value, lane);
""")
def shuffle(value: int, lane: int) -> int:
    """Return the value that another thread of the CUDA warp has."""


@wp.func_native("""
    const float x = __shfl_sync(0xffffffffu, value[0], lane), y = __shfl_sync(0xffffffffu, value[1], lane);
    return wp::vec3(x, y, __shfl_sync(0xffffffffu, value[2], lane));
""")
def shuffle_vector(value: wp.vec3, lane: int) -> wp.vec3:
    """Do ``shuffle`` with vectors."""


@wp.func
def offset_moments(w: float, x: float, y: float, z: float):
    """Return the rows of moments of a weight ``w`` at an offset (x, y, z)."""
    return w * wp.vec4(1.0, x, y, z), w * wp.vec4(x * x, x * y, x * z, y * y), w * wp.vec4(y * z, z * z, 0.0, 0.0)


@wp.func
def add_by_particle(
    lattice: LatticeStruct,
    substep: SubstepStruct,
    contact: ContactStruct,
    active: bool,
    body: int,
    first: wp.vec3i,
    f: wp.vec3,
):
    """Add the moments of a particle to those of its 27 nodes that another body reaches.

    Args:
        active: whether the particle takes part.
        body: which it belongs to.
        first: the first of the nodes, in the first layer.
        f: distance from that node, in nodes, 0.5 to 1.5.
    """
    if not active:
        return
    shared = contact.shared
    block = block_of(lattice, first)
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
                sums, products, others = offset_moments(
                    wx[i] * wy[j] * wz[k], f[0] - float(i), f[1] - float(j), f[2] - float(k)
                )
                at = (at_body + place) * ROWS_OF_MOMENTS
                add_row(contact.moments, at, sums)
                add_row(contact.moments, at + 1, products)
                add_row(contact.moments, at + 2, others)


@wp.func
def spline_along(i: int) -> wp.vec3:
    """Return a, b and c of the weight a + b f + c f^2 that ``spline`` has for node i of the three."""
    if i == 0:
        return wp.vec3(1.125, -1.5, 0.5)
    if i == 1:
        return wp.vec3(-0.25, 2.0, -1.0)
    return wp.vec3(0.125, -0.5, 0.5)


@cache
def add_by_warp(exact: bool) -> wp.Function:
    """Return the function that does ``add_by_particle`` for all particles of a CUDA warp together.

    Particles of one cell and body follow one another, because they are sorted. Lane n of the warp is node n of the 27
    and sums over such a run of particles: one addition to a node a run, not one a particle, and none where a run is
    alone. Every thread of the warp must come here.
    """
    contact_type, add_to_row = (ExactContactStruct, add_row_exactly) if exact else (ContactStruct, add_row)

    @wp.func
    def add(
        lattice: LatticeStruct,
        substep: SubstepStruct,
        contact: contact_type,
        active: bool,
        body: int,
        first: wp.vec3i,
        f: wp.vec3,
    ):
        shared = contact.shared
        lane = lane_in_warp()
        nodes = lattice.nodes
        key = int(-1)
        if active:
            key = ((body * nodes + first[0]) * nodes + first[1]) * nodes + first[2]
        before = shuffle(key, wp.max(lane - 1, 0))
        heads = ballot(lane == 0 or key != before)
        rest = heads & ballot(active)
        i = lane // 9
        j = lane // 3 % 3
        k = lane % 3
        ax = spline_along(i)
        ay = spline_along(j)
        az = spline_along(k)
        while rest != wp.uint32(0):
            p = lowest_bit(wp.uint64(rest))
            rest = rest & (rest - wp.uint32(1))
            run_body = shuffle(body, p)
            node = wp.vec3i(shuffle(first[0], p) + i, shuffle(first[1], p) + j, shuffle(first[2], p) + k)
            at = int(-1)
            if lane < 27:
                index = memory_index(lattice, node)
                block = index >> (3 * BLOCK_BITS)
                place = index & (NODES_IN_BLOCK - 1)
                found = shared.last[block]
                if found.number == substep.number:
                    others = reached_by_others(shared, blocks_in_layer(lattice), block, found.bodies, run_body)
                    if (others >> wp.uint64(place)) & wp.uint64(1) == wp.uint64(1):
                        at = ((found.slot * shared.bodies + run_body) * NODES_IN_BLOCK + place) * ROWS_OF_MOMENTS
            if ballot(at >= 0) != wp.uint32(0):
                sums = wp.vec4()
                products = wp.vec4()
                rest_products = wp.vec4()
                in_run = bool(True)
                while in_run:
                    g = shuffle_vector(f, p)
                    wx = ax[0] + g[0] * (ax[1] + g[0] * ax[2])
                    wy = ay[0] + g[1] * (ay[1] + g[1] * ay[2])
                    wz = az[0] + g[2] * (az[1] + g[2] * az[2])
                    of_sums, of_products, of_rest = offset_moments(
                        wx * wy * wz, g[0] - float(i), g[1] - float(j), g[2] - float(k)
                    )
                    sums += of_sums
                    products += of_products
                    rest_products += of_rest
                    p += 1
                    in_run = p < 32 and (heads >> wp.uint32(p)) & wp.uint32(1) == wp.uint32(0)
                if at >= 0:
                    wp.static(add_to_row)(contact.moments, at, sums)
                    wp.static(add_to_row)(contact.moments, at + 1, products)
                    wp.static(add_to_row)(contact.moments, at + 2, rest_products)

    return add


@cache
def add_moments(rows: Rows, cuda: bool, exact: bool) -> wp.Kernel:
    """Return the kernel that adds the moments of particles to those nodes near them that another body reaches.

    Args:
        rows: of the particles' table.
        cuda: add the moments of a CUDA warp together; needs whole warps.
        exact: sum in whole numbers, on CUDA.
    """
    contact_type = ExactContactStruct if exact else ContactStruct
    add = add_by_warp(exact) if cuda else add_by_particle

    @wp.kernel(module="unique", enable_backward=False, grid_stride=False)
    def kernel(lattice: LatticeStruct, substep: SubstepStruct, particles: ParticlesStruct, contact: contact_type):
        t = wp.tid()
        if contact.shared.counts[substep.now] == 0:
            return
        active = bool(False)
        body = int(0)
        first = wp.vec3i()
        f = wp.vec3()
        if t < particles.count:
            c = coordinates(lattice, vector_in(particles.table, wp.static(rows.x), t))
            if is_inside(lattice, c):
                body = int(particles.table[wp.static(rows.body), t])
                first = first_node(c)
                f = c - wp.vec3(float(first[0]), float(first[1]), float(first[2]))
                active = contact.shared.near[block_of(lattice, first)] == substep.number
        add(lattice, substep, contact, active, body, first, f)

    return kernel
