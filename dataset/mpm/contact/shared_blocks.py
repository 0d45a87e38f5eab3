"""This module lists the blocks of the grid that several bodies touch, and what each body reaches there.

The grid's own kernel does so, as it goes through all touched blocks of all layers.
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


@wp.func
def has_body(bodies: int, body: int) -> bool:
    """Return whether a body is among those listed as bits."""
    return (bodies >> body) & 1 == 1


@wp.func
def used_slots(shared: SharedBlocksStruct, substep: SubstepStruct) -> int:
    """Return how many slots of a substep have moments."""
    return wp.min(shared.counts[substep.now], shared.capacity)


@cache
def share_block(exact: bool) -> wp.Function:
    """Return the function that gives a touched block of a layer a slot if other bodies touch it in theirs.

    All threads of the grid's kernel call it; the first of a block's nodes speaks for all.
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
        # The first body speaks for all.
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
