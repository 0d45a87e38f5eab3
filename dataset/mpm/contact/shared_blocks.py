"""This module lists the blocks of the grid that several bodies touch, and which of their nodes each body reaches.

Every body has a layer of the grid to itself (see ``Grid``), so that particles scatter and gather as if it were alone.
The grid's own kernel, which goes through all touched blocks of all layers, gives those that several touch a slot each.
"""

# mypy: ignore-errors

from functools import cache

import warp as wp

from dataset.mpm.grid import ExactGridStruct, GridStruct
from dataset.mpm.lattice import blocks_in_layer
from dataset.mpm.transfers import SubstepStruct

wp.set_module_options({"enable_backward": False})


@wp.struct
class SharedBlock:
    """Says which bodies touched a block when several last did."""

    number: int  # of that substep in its frame, from 1 on; 0: none
    slot: int
    bodies: int  # as bits


@wp.struct
class SharedBlocksStruct:
    """Holds the blocks that several bodies touch in a substep, for kernels; each has a slot."""

    bodies: int  # how many there are in all
    capacity: int  # how many slots have moments
    counts: wp.array(dtype=int)  # (2,) used slots, of substeps in turn
    blocks: wp.array(dtype=int)  # (blocks,) the block of each slot
    present: wp.array(dtype=int)  # (blocks,) the bodies of each slot, as bits
    last: wp.array(dtype=SharedBlock)  # (blocks,) of each block, with a slot that has moments
    near: wp.array(dtype=int)  # (blocks,) the last substep in which nodes after those of a block were shared
    reached: wp.array(dtype=wp.uint64)  # (blocks of all layers,) the nodes that the body reaches, as bits, if touched


@wp.func
def has_body(bodies: int, body: int) -> bool:
    """Return whether a body is among those listed as bits."""
    return (bodies >> body) & 1 == 1


@wp.func
def used_slots(shared: SharedBlocksStruct, substep: SubstepStruct) -> int:
    """Return how many slots of a substep have moments."""
    return wp.min(shared.counts[substep.now], shared.capacity)


@wp.func_native("""
#if defined(__CUDA_ARCH__)
    const unsigned bits = __ballot_sync(0xffffffffu, reaches);
    if (place % 32 == 0)
        reinterpret_cast<unsigned*>(reached.data + block)[place / 32] = bits;
#else
    const unsigned long long bit = 1ull << place;
    reached.data[block] = reaches ? reached.data[block] | bit : reached.data[block] & ~bit;
#endif
""")
def put_reached(reached: wp.array(dtype=wp.uint64), block: int, place: int, reaches: bool):
    """Write whether a node is reached; the threads of a CUDA warp do so together, for half a block."""


@wp.func
def reached_by_others(shared: SharedBlocksStruct, layer: int, block: int, bodies: int, body: int) -> wp.uint64:
    """Return the nodes of a block that any other body reaches, as bits.

    Args:
        layer: blocks in a layer.
        block: its number in the first layer.
        bodies: which touch it, as bits.
        body: one of them.
    """
    result = wp.uint64(0)
    for other in range(shared.bodies):
        if other != body and has_body(bodies, other):
            result = result | shared.reached[other * layer + block]
    return result


@cache
def share_block(exact: bool) -> wp.Function:
    """Return the function that gives a touched block of a layer a slot if other bodies touch it in theirs.

    All threads of the grid's kernel may call it; the first node of a block speaks for all.
    """
    grid_type = ExactGridStruct if exact else GridStruct

    @wp.func
    def share(grid: grid_type, substep: SubstepStruct, shared: SharedBlocksStruct, block_in_layer: int, place: int):
        if place != 0:
            return
        layer = blocks_in_layer(grid.lattice)
        side = grid.lattice.blocks
        block = block_in_layer % layer
        bodies = int(0)
        for body in range(shared.bodies):
            if grid.marked[body * layer + block] == substep.number:
                bodies = bodies | (1 << body)
        first = bodies & (-bodies)
        # So does the first body.
        if bodies != first and first == 1 << (block_in_layer // layer):
            slot = wp.atomic_add(shared.counts, substep.now, 1)
            shared.blocks[slot] = block
            shared.present[slot] = bodies
            if slot < shared.capacity:
                found = SharedBlock()
                found.number = substep.number
                found.slot = slot
                found.bodies = bodies
                shared.last[block] = found
                # The 27 nodes of a particle reach from the block of the first of them into the next ones.
                corner = int(0)
                while corner < 8:
                    near = block - ((corner >> 2) * side + ((corner >> 1) & 1)) * side - (corner & 1)
                    if near >= 0:
                        shared.near[near] = substep.number
                    corner += 1

    return share
