"""This module holds the grid's arrays on a device, which scenes of the same lattice can share one after the other."""

# mypy: ignore-errors

import warp as wp

from dataset.mpm.lattice import NODES_IN_BLOCK, Lattice, LatticeStruct
from gaussians.stage.errors import InputError
from gaussians.stage.memory import check_memory
from gaussians.stage.warp_runtime import start_warp

_MOST_NODES = 2**31 - 1  # kernels number them with ints

vec4l = wp.types.vector(length=4, dtype=wp.int64)


@wp.struct
class GridStruct:
    """Holds the arrays of a ``Grid`` for kernels."""

    lattice: LatticeStruct
    momenta: wp.array(dtype=wp.vec4)
    velocities: wp.array(dtype=wp.vec4)
    touching: wp.array(dtype=int)
    sides: wp.array(dtype=int)
    marked: wp.array(dtype=int)
    touched: wp.array(dtype=int)
    counts: wp.array(dtype=int)


@wp.struct
class ExactGridStruct:
    """Holds the arrays of a ``Grid`` that sums in whole numbers, for kernels."""

    lattice: LatticeStruct
    momenta: wp.array(dtype=vec4l)
    velocities: wp.array(dtype=wp.vec4)
    touching: wp.array(dtype=int)
    sides: wp.array(dtype=int)
    marked: wp.array(dtype=int)
    touched: wp.array(dtype=int)
    counts: wp.array(dtype=int)


class Grid:
    """Holds arrays over the nodes of a lattice in memory order, and over its blocks.

    Between frames momenta are zero, so that the next frame may be another scene's. Bodies with a velocity
    field of their own each have a layer, which is a whole lattice of nodes; the layers follow one another in memory, so
    that block b of layer k is number k * blocks + b.

    Args:
        lattice: the nodes.
        device: where the arrays are.
        deterministic: sum in whole numbers, which gives the same in any order. On the CPU, where the order never
            changes, this makes no difference.
        layers: how many bodies have a velocity field of their own; 1 for one field that all share.

    Attributes:
        layers: how many layers there are.
        exact: whether sums are in whole numbers.
        struct: the arrays, over the nodes and blocks of all layers, for kernels:
            ``momenta``, (nodes,) vec4 of momentum [kg m/s] and mass [kg], or whole multiples of the solver's units;
            ``velocities``, (nodes,) vec4 of velocity [m/s] and mass [kg];
            ``touching``, (nodes,), bits of the boundaries that particles near the node touch, if these have surfaces;
            ``sides``, (nodes,), those bits where velocities are known;
            ``marked``, (blocks,), the last substep of the frame, from 1 on, with particles near the block, or 0;
            ``touched``, the blocks that are marked in the present substep;
            ``counts``, (2,), how many these are, and how many in the substep before or after it.
    """

    def __init__(
        self, lattice: Lattice, device: str | wp.Device = "cpu", deterministic: bool = False, layers: int = 1
    ) -> None:
        start_warp()
        self.lattice = lattice
        self.layers = layers
        self.device = wp.get_device(device)
        self.exact = deterministic and self.device.is_cuda
        blocks = layers * lattice.blocks**3
        nodes = blocks * NODES_IN_BLOCK
        momentum = 32 if self.exact else 16  # bytes
        free = self.device.free_memory if self.device.is_cuda else None
        what = f"n_grid {lattice.n_grid}" + (f" for each of {layers} objects" if layers > 1 else "")
        check_memory(momentum * nodes, what, free)
        if nodes > _MOST_NODES:
            raise InputError(f"{what}: expected at most {_MOST_NODES:,} nodes in all, found {nodes:,}")
        self.struct = ExactGridStruct() if self.exact else GridStruct()
        self.struct.lattice = lattice.struct()
        self.struct.momenta = wp.zeros(nodes, dtype=vec4l if self.exact else wp.vec4, device=device)
        # Read only where it was written before, so that its memory need not be cleared.
        self.struct.velocities = wp.empty(nodes, dtype=wp.vec4, device=device)
        self.struct.marked = wp.zeros(blocks, dtype=int, device=device)
        self.struct.touched = wp.empty(blocks, dtype=int, device=device)
        self.struct.counts = wp.zeros(2, dtype=int, device=device)

    def hold_surfaces(self) -> None:
        """Allocate ``touching`` and ``sides``, if they are not there."""
        if self.struct.touching is None or len(self.struct.touching) == 0:
            nodes = len(self.struct.velocities)
            free = self.device.free_memory if self.device.is_cuda else None
            check_memory(8 * nodes, f"surfaces on a grid of n_grid {self.lattice.n_grid}", free)
            self.struct.touching = wp.zeros(nodes, dtype=int, device=self.device)
            self.struct.sides = wp.empty(nodes, dtype=int, device=self.device)
