"""The grid's memory, which scenes of the same lattice can share one after the other."""

import warp as wp

from dataset.mpm.lattice import NODES_IN_BLOCK, Lattice
from gaussians.stage.warp_runtime import start_warp

vec4l = wp.types.vector(length=4, dtype=wp.int64)


class Grid:
    """Arrays over the nodes of a lattice in memory order, and over its blocks.

    Between frames momenta and marks are zero, so that the next frame may be another scene's.

    Args:
        deterministic: sum in whole numbers, the same in any order; on the CPU, where the order never changes, it makes
            no difference.

    Attributes:
        momenta: vec4 (momentum, mass), kg m/s and kg, or of whole numbers in units that the solver chooses.
        velocities: vec4, m/s; the last number is the mass.
        marked: of each block, whether particles are near.
        touched: the blocks with a mark.
        counts: (2,), how many there are in this substep and in the other one.
    """

    def __init__(self, lattice: Lattice, device: str | wp.Device = "cpu", deterministic: bool = False) -> None:
        start_warp()
        self.lattice = lattice
        self.device = wp.get_device(device)
        self.exact = deterministic and self.device.is_cuda
        blocks = lattice.blocks**3
        nodes = blocks * NODES_IN_BLOCK
        self.momenta = wp.zeros(nodes, dtype=vec4l if self.exact else wp.vec4, device=device)
        # Never read where it has not been written, so that the CPU's need not even be there.
        self.velocities = wp.empty(nodes, dtype=wp.vec4, device=device)
        self.marked = wp.zeros(blocks, dtype=int, device=device)
        self.touched = wp.empty(blocks, dtype=int, device=device)
        self.counts = wp.zeros(2, dtype=int, device=device)

    def arguments(self, now: int) -> tuple[wp.array | int, ...]:
        """In the order in which kernels take them; ``now`` is which of the counts is this substep's."""
        return self.momenta, self.velocities, self.marked, self.touched, self.counts, now
