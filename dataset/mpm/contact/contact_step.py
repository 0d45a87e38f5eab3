"""This module does the part of a substep that is contact: bodies exchange momenta where they meet."""

import warp as wp

from dataset.mpm.contact import arrays, exchange, moments, normals, shared_blocks
from dataset.mpm.grid import Grid, vec4l
from dataset.mpm.lattice import NODES_IN_BLOCK
from dataset.mpm.model import MPMModel
from dataset.mpm.particles import ParticlesStruct, Rows
from dataset.mpm.transfers import SubstepStruct
from gaussians.stage.memory import check_memory

# Enough for bodies of four particles a cell that are nowhere thicker than one and touch everywhere, so that in practice
# there is always room.
_PARTICLES_IN_SHARED_BLOCK = 16
_FEWEST_SLOTS = 512
_SHARED_BLOCKS_AT_ONCE = 1 << 9


class ContactStep:
    """Holds memory for the places where bodies meet, and launches the kernels of contact.

    Args:
        model: with ``contact``.
        grid: with a layer for each body.
        rows: of the particles' table.
        conditions: names of the grid conditions in use.
        surfaces: whether these hold at their surfaces.
        settings: their settings, on the device.
    """

    def __init__(
        self, model: MPMModel, grid: Grid, rows: Rows, conditions: tuple[str, ...], surfaces: bool, settings: wp.array
    ) -> None:
        assert model.contact is not None
        self._grid, self._device, self._count, self._settings = grid, model.device, len(model), settings
        contact, exact, blocks = model.contact, grid.exact, model.lattice.blocks**3
        wanted = max(_FEWEST_SLOTS, len(model) // _PARTICLES_IN_SHARED_BLOCK)
        slots = min(blocks, wanted)
        rows_of_moments = slots * contact.bodies * NODES_IN_BLOCK * arrays.ROWS_OF_MOMENTS
        free = self._device.free_memory if self._device.is_cuda else None
        check_memory((32 if exact else 16) * rows_of_moments, f"contact of {contact.bodies} objects", free)
        struct = arrays.ExactContactStruct() if exact else arrays.ContactStruct()
        shared = shared_blocks.SharedBlocksStruct()
        shared.bodies, shared.capacity = contact.bodies, slots
        shared.counts = wp.zeros(2, dtype=int, device=self._device)
        shared.blocks = wp.zeros(blocks, dtype=int, device=self._device)
        shared.present = wp.zeros(blocks, dtype=int, device=self._device)
        shared.last = wp.zeros(blocks, dtype=shared_blocks.SharedBlock, device=self._device)
        shared.near = wp.zeros(blocks, dtype=int, device=self._device)
        shared.reached = wp.zeros(blocks * contact.bodies, dtype=wp.uint64, device=self._device)
        struct.shared = shared
        struct.moments = wp.zeros(rows_of_moments, dtype=vec4l if exact else wp.vec4, device=self._device)
        pairs = contact.bodies * (contact.bodies - 1) // 2
        struct.normals = wp.zeros(slots * pairs * NODES_IN_BLOCK, dtype=wp.vec4, device=self._device)
        struct.smooth_normals = wp.zeros(slots * pairs * NODES_IN_BLOCK, dtype=wp.vec4, device=self._device)
        struct.friction = wp.array(contact.friction, dtype=float, device=self._device)
        spacing = (contact.spacing / model.lattice.dx).clip(1e-3, 1.0)
        struct.spacing = wp.array(spacing, dtype=float, device=self._device)
        self._struct = struct
        self._add = moments.add_moments(rows, self._device.is_cuda, exact)
        self._normals = normals.find_normals(exact)
        self._smooth = normals.smooth_normals(exact)
        self._exchange = exchange.exchange(conditions, surfaces, exact)

    @property
    def kernels(self) -> tuple[wp.Kernel, ...]:
        """Return the kernels that are launched."""
        return self._add, self._normals, self._smooth, self._exchange

    @property
    def shared(self) -> shared_blocks.SharedBlocksStruct:
        """Return where the grid's kernel lists the blocks that bodies share."""
        return self._struct.shared

    def begin(self) -> None:
        """Begin a frame: forget the one before."""
        for array in (self.shared.counts, self.shared.last, self.shared.near):
            array.zero_()

    def exchange(self, at: SubstepStruct, particles: ParticlesStruct, clock: wp.array, offset: float) -> None:
        """Let bodies push each other, after the grid's kernel.

        Args:
            at: the substep.
            particles: which have been added to the grid.
            clock: time at the start of the frame, s.
            offset: the middle of the substep, s after that.
        """
        grid, struct, device = self._grid.struct, self._struct, self._device
        if device.is_cuda:
            slots = _SHARED_BLOCKS_AT_ONCE
        else:  # the count is at hand
            slots = int(self.shared.counts.numpy()[at.now])
            if slots == 0:
                return
        # Warps add together: none may be short of threads.
        threads = -(-self._count // 32) * 32 if device.is_cuda else self._count
        wp.launch(self._add, threads, [grid.lattice, at, particles, struct], device=device)
        threads = slots * NODES_IN_BLOCK
        wp.launch(self._normals, threads, [at, threads, struct], device=device)
        wp.launch(self._smooth, threads, [grid.lattice, at, threads, struct], device=device)
        inputs = [grid, at, threads, struct, self._settings, clock, offset]
        wp.launch(self._exchange, threads, inputs, device=device)
