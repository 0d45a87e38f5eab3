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
from dataset.mpm.contact.shared_blocks import has_body, used_slots
from dataset.mpm.lattice import BLOCK_BITS, NODES_IN_BLOCK, LatticeStruct, memory_index, node_at
from dataset.mpm.transfers import SubstepStruct

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
                            normal = wp.vec3()
                            if spread_a.weight > LEAST_WEIGHT:
                                spread_b = spread(contact, slot, b, place)
                                if spread_b.weight > LEAST_WEIGHT:
                                    sure = spread_a.weight * spread_b.weight
                                    normal = sure * separating_normal(spread_a, spread_b)
                            row = (slot * pairs + pair_row(contact.shared.bodies, a, b)) * NODES_IN_BLOCK + place
                            contact.normals[row] = normal
            n += threads

    return kernel


@cache
def smooth_normal(exact: bool) -> wp.Function:
    """Return the function that gives a pair's mean normal of a node and its 26 neighbours."""
    contact_type = ExactContactStruct if exact else ContactStruct

    @wp.func
    def smooth(
        contact: contact_type,
        normals: wp.array(dtype=wp.vec3),
        lattice: LatticeStruct,
        number: int,
        node: wp.vec3i,
        a: int,
        b: int,
    ) -> wp.vec3:
        pairs = contact.shared.bodies * (contact.shared.bodies - 1) // 2
        both = (1 << a) | (1 << b)
        total = wp.vec3()
        for n in range(27):
            x = n // 9 - 1
            y = n // 3 % 3 - 1
            z = n % 3 - 1
            index = memory_index(lattice, wp.vec3i(node[0] + x, node[1] + y, node[2] + z))
            found = contact.shared.last[index >> (3 * BLOCK_BITS)]
            if found.number == number and found.bodies & both == both:
                row = found.slot * pairs + pair_row(contact.shared.bodies, a, b)
                row = row * NODES_IN_BLOCK + (index & (NODES_IN_BLOCK - 1))
                total += float((2 - x * x) * (2 - y * y) * (2 - z * z)) * normals[row]
        return total / 64.0

    return smooth


@cache
def smooth_normals(exact: bool) -> wp.Kernel:
    contact_type = ExactContactStruct if exact else ContactStruct
    smooth = smooth_normal(exact)

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
                            value = wp.vec3()
                            if wp.length_sq(contact.normals[row]) > 0.0:
                                value = smooth(contact, contact.normals, lattice, substep.number, node, a, b)
                            contact.smooth_normals[row] = value
            n += threads

    return kernel
