"""This module transfers mass and momentum from particles to the grid's nodes, and velocity back.

Particles carry an affine velocity field (APIC, Jiang et al., "The affine particle-in-cell method", 2015) and reach the
27 nearest nodes through quadratic B-splines.
"""

# mypy: ignore-errors

import re

import warp as wp

from dataset.mpm.grid import ExactGridStruct, GridStruct, vec4l
from dataset.mpm.lattice import (
    BLOCK_BITS,
    BLOCK_MASK,
    NODES_IN_BLOCK,
    LatticeStruct,
    block_of,
    first_node,
    stencil_offsets,
)

wp.set_module_options({"enable_backward": False})

INVERSE_INERTIA = wp.constant(4.0)
"""The quadratic B-spline's D^-1 = 4 / dx^2 (Jiang et al. 2015), in units of nodes."""
THREADS_IN_BLOCK = 128
"""Number of threads in a block of the CUDA kernels that scatter; ``scatter_by_warp`` shares memory among them."""


_CONSTANTS = {
    "THREADS": THREADS_IN_BLOCK,
    "BLOCK_BITS": BLOCK_BITS,
    "BLOCK_MASK": BLOCK_MASK,
    "NODES_IN_BLOCK": NODES_IN_BLOCK,
}


def with_constants(code: str) -> str:
    """Return native code with the names of constants replaced by their values."""
    for name, value in _CONSTANTS.items():
        code = re.sub(rf"\b{name}\b", str(value), code)
    return code


@wp.func_native("""
#if defined(__CUDA_ARCH__)
    const float4 value = reinterpret_cast<const float4*>(grid.data)[index];
    return wp::vec4(value.x, value.y, value.z, value.w);
#else
    return grid.data[index];
#endif
""")
def load_node(grid: wp.array(dtype=wp.vec4), index: int) -> wp.vec4:
    """Read a node with one vector load instead of four scalar ones."""


@wp.func_native("""
#if defined(__CUDA_ARCH__)
    reinterpret_cast<float4*>(grid.data)[index] = make_float4(value[0], value[1], value[2], value[3]);
#else
    grid.data[index] = value;
#endif
""")
def store_node(grid: wp.array(dtype=wp.vec4), index: int, value: wp.vec4):
    """Write a node with one vector store instead of four scalar ones."""


@wp.func
def middle(clock: wp.array(dtype=wp.float64), offset: wp.float64) -> float:
    """Return the middle of a substep, s: rounding never moves it out of a condition's window.

    Args:
        clock: time at the start of the frame, s.
        offset: from there on, s.
    """
    return float(clock[0] + offset)


@wp.func
def spline(f: float) -> wp.vec3:
    """Return the weights of the three nodes along an axis; f, 0.5 to 1.5, is the distance from the first in cells."""
    a = 1.5 - f
    b = f - 1.0
    c = f - 0.5
    return wp.vec3(0.5 * a * a, 0.75 - b * b, 0.5 * c * c)


@wp.struct
class SubstepStruct:
    """Describes a substep for kernels."""

    dt: float  # s
    units: wp.vec4  # of momenta [kg m/s] and mass [kg] in whole numbers, see ``scatter_exactly``
    now: int  # which of the grid's two counts is that of this substep
    number: int  # of the substep in its frame, from 1 on


@wp.struct
class Contribution:
    """Holds what a particle adds to the grid: a mass, and a momentum field that is affine around the particle."""

    active: bool  # whether the particle takes part
    first: wp.vec3i  # the first of its 27 nodes, in its layer
    f: wp.vec3  # distance from that node, in nodes, 0.5 to 1.5
    mass: float  # kg
    momentum: wp.vec3  # kg m/s
    gradient: wp.mat33  # of the momentum field, kg m/s a node


@wp.func
def collect(lattice: LatticeStruct, velocities: wp.array(dtype=wp.vec4), c: wp.vec3, shift: int):
    """Return velocity, m/s, and its gradient, 1/s, of the grid at a place in units of nodes.

    Args:
        shift: ``layer_shift`` of the layer to read.
    """
    first = first_node(c)
    f = c - wp.vec3(float(first[0]), float(first[1]), float(first[2]))
    wx = spline(f[0])
    wy = spline(f[1])
    wz = spline(f[2])
    ox, oy, oz = stencil_offsets(lattice, wp.vec3i(first[0] + shift, first[1], first[2]))
    # Sums over the nodes of w v, and of w v times the node's distance from the first one along each axis.
    sum_v = wp.vec4()
    sum_x = wp.vec4()
    sum_y = wp.vec4()
    sum_z = wp.vec4()
    for i in range(3):
        plane_v = wp.vec4()
        plane_y = wp.vec4()
        plane_z = wp.vec4()
        for j in range(3):
            offset = ox[i] + oy[j]
            v1 = wz[1] * load_node(velocities, offset + oz[1])
            v2 = wz[2] * load_node(velocities, offset + oz[2])
            column_v = wz[0] * load_node(velocities, offset + oz[0]) + v1 + v2
            plane_v += wy[j] * column_v
            plane_y += (wy[j] * float(j)) * column_v
            plane_z += wy[j] * (v1 + 2.0 * v2)
        sum_v += wx[i] * plane_v
        sum_x += (wx[i] * float(i)) * plane_v
        sum_y += wx[i] * plane_y
        sum_z += wx[i] * plane_z
    s = INVERSE_INERTIA * lattice.inverse_dx
    gx = s * (sum_x - f[0] * sum_v)
    gy = s * (sum_y - f[1] * sum_v)
    gz = s * (sum_z - f[2] * sum_v)
    gradient = wp.mat33(gx[0], gy[0], gz[0], gx[1], gy[1], gz[1], gx[2], gy[2], gz[2])
    return wp.vec3(sum_v[0], sum_v[1], sum_v[2]), gradient


@wp.func
def mark(grid: GridStruct, substep: SubstepStruct, block: int):
    """List a block among the touched ones, once."""
    number = substep.number
    if grid.marked[block] != number and wp.atomic_exch(grid.marked, block, number) != number:
        grid.touched[wp.atomic_add(grid.counts, substep.now, 1)] = block


@wp.func
def scatter_by_particle(grid: GridStruct, substep: SubstepStruct, part: Contribution):
    """Add a particle's contribution to its 27 nodes, and list their blocks."""
    if not part.active:
        return
    first = part.first
    f = part.f
    A = part.gradient
    for corner in range(8):
        # The 27 nodes reach into at most two blocks along each axis, so that their corners lie in all of them.
        far = wp.vec3i(first[0] + 2 * (corner & 1), first[1] + (corner & 2), first[2] + ((corner & 4) >> 1))
        mark(grid, substep, block_of(grid.lattice, far))
    wx = spline(f[0])
    wy = spline(f[1])
    wz = spline(f[2])
    ox, oy, oz = stencil_offsets(grid.lattice, first)
    corner_momentum = part.momentum - A * f
    step_x = wp.vec4(A[0, 0], A[1, 0], A[2, 0], 0.0)
    step_y = wp.vec4(A[0, 1], A[1, 1], A[2, 1], 0.0)
    step_z = wp.vec4(A[0, 2], A[1, 2], A[2, 2], 0.0)
    at_corner = wp.vec4(corner_momentum[0], corner_momentum[1], corner_momentum[2], part.mass)
    for i in range(3):
        for j in range(3):
            at_column = at_corner + float(i) * step_x + float(j) * step_y
            weight = wx[i] * wy[j]
            offset = ox[i] + oy[j]
            for k in range(3):
                wp.atomic_add(grid.momenta, offset + oz[k], (weight * wz[k]) * (at_column + float(k) * step_z))


@wp.func
def touch(touching: wp.array(dtype=int), lattice: LatticeStruct, first: wp.vec3i, sides: int):
    """Tell a particle's 27 nodes, of which ``first`` is the first, what it touches: one or more bits."""
    ox, oy, oz = stencil_offsets(lattice, first)
    for i in range(3):
        for j in range(3):
            for k in range(3):
                index = ox[i] + oy[j] + oz[k]
                if (touching[index] & sides) != sides:  # most often another particle was here
                    wp.atomic_or(touching, index, sides)


# Particles of one cell follow one another, because they are sorted. Lane n of a warp is node n of the 27 and sums what
# such a run of particles, passed around through shared memory, adds to it: one addition to the grid a run, not one a
# particle. Every thread of the block must come here.
_SCATTER_BY_WARP = """
#if defined(__CUDA_ARCH__)
    constexpr unsigned all = 0xffffffffu;
    __shared__ float4 staged[THREADS / 32][4][32];
    float4 (&mine)[4][32] = staged[threadIdx.x / 32];
    const int lane = threadIdx.x % 32;
    const wp::vec3 f = part.f, momentum = part.momentum;
    const wp::mat33 A = part.gradient;
    const wp::vec3i first = part.first;
    mine[0][lane] = make_float4(f[0], f[1], f[2], part.mass);
    mine[1][lane] = make_float4(momentum[0], A.data[0][0], A.data[0][1], A.data[0][2]);
    mine[2][lane] = make_float4(momentum[1], A.data[1][0], A.data[1][1], A.data[1][2]);
    mine[3][lane] = make_float4(momentum[2], A.data[2][0], A.data[2][1], A.data[2][2]);
    const int nodes = grid.lattice.nodes, blocks = grid.lattice.blocks, number = substep.number;
    const int key = part.active ? (first[0] * nodes + first[1]) * nodes + first[2] : -1;
    const int before = __shfl_up_sync(all, key, 1);
    const unsigned heads = __ballot_sync(all, lane == 0 || key != before);
    __syncwarp();

    const int i = lane / 9, j = lane / 3 % 3, k = lane % 3;
    // The spline of node n is a_n + b_n f + c_n f^2.
    const float a[3] = {1.125f, -0.25f, 0.125f}, b[3] = {-1.5f, 2.0f, -0.5f}, c[3] = {0.5f, -1.0f, 0.5f};
    const float ax = i == 0 ? a[0] : i == 1 ? a[1] : a[2], ay = j == 0 ? a[0] : j == 1 ? a[1] : a[2];
    const float az = k == 0 ? a[0] : k == 1 ? a[1] : a[2], bx = i == 0 ? b[0] : i == 1 ? b[1] : b[2];
    const float by = j == 0 ? b[0] : j == 1 ? b[1] : b[2], bz = k == 0 ? b[0] : k == 1 ? b[1] : b[2];
    const float cx = i == 1 ? c[1] : c[0], cy = j == 1 ? c[1] : c[0], cz = k == 1 ? c[1] : c[0];
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 4
    for (int p = 0; p < 32; ++p) {
        const float4 q = mine[0][p], row0 = mine[1][p], row1 = mine[2][p], row2 = mine[3][p];
        const float weight = (ax + q.x * (bx + q.x * cx)) * (ay + q.y * (by + q.y * cy)) * (az + q.z * (bz + q.z * cz));
        const float dx = i - q.x, dy = j - q.y, dz = k - q.z;
        sum.x += weight * (row0.x + row0.y * dx + row0.z * dy + row0.w * dz);
        sum.y += weight * (row1.x + row1.y * dx + row1.z * dy + row1.w * dz);
        sum.z += weight * (row2.x + row2.y * dx + row2.z * dy + row2.w * dz);
        sum.w += weight * q.w;
        if (p < 31 && !((heads >> (p + 1)) & 1u))
            continue;
        const int x = __shfl_sync(all, first[0], p) + i, y = __shfl_sync(all, first[1], p) + j;
        const int z = __shfl_sync(all, first[2], p) + k;
        const int run = __shfl_sync(all, key, p);
        if (lane < 27 && run >= 0) {
            const int block = ((x >> BLOCK_BITS) * blocks + (y >> BLOCK_BITS)) * blocks + (z >> BLOCK_BITS);
            const int place = (((x & BLOCK_MASK) << BLOCK_BITS | (y & BLOCK_MASK)) << BLOCK_BITS) | (z & BLOCK_MASK);
            const int index = block * NODES_IN_BLOCK + place;
            ADD
            if (grid.marked.data[block] != number && atomicExch(grid.marked.data + block, number) != number)
                grid.touched.data[atomicAdd(grid.counts.data + substep.now, 1)] = block;
        }
        sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    __syncwarp();
#endif
"""
_ADD_FLOATS = """
#if __CUDA_ARCH__ >= 900
            asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};"
                         :: "l"(grid.momenta.data + index), "f"(sum.x), "f"(sum.y), "f"(sum.z), "f"(sum.w) : "memory");
#else
            float* node = &grid.momenta.data[index][0];
            atomicAdd(node, sum.x);
            atomicAdd(node + 1, sum.y);
            atomicAdd(node + 2, sum.z);
            atomicAdd(node + 3, sum.w);
#endif
"""
_ADD_WHOLE_NUMBERS = """
            auto* node = reinterpret_cast<unsigned long long*>(grid.momenta.data + index);
            const wp::vec4 units = substep.units;
            const float sums[4] = {sum.x, sum.y, sum.z, sum.w};
            for (int n = 0; n < 4; ++n)
                atomicAdd(node + n, static_cast<unsigned long long>(__double2ll_rn(sums[n] / double(units[n]))));
"""


@wp.func_native(with_constants(_SCATTER_BY_WARP.replace("ADD", _ADD_FLOATS)))
def scatter_by_warp(grid: GridStruct, substep: SubstepStruct, part: Contribution):
    """Do ``scatter_by_particle`` for all particles of a CUDA warp together."""


@wp.func_native(with_constants(_SCATTER_BY_WARP.replace("ADD", _ADD_WHOLE_NUMBERS)))
def scatter_exactly(grid: ExactGridStruct, substep: SubstepStruct, part: Contribution):
    """Do ``scatter_by_warp`` in multiples of the units: sums of whole numbers do not depend on the order."""


@wp.func
def take(grid: GridStruct, index: int, units: wp.vec4) -> wp.vec4:
    """Return a node's momentum and mass, and set them to zero."""
    value = load_node(grid.momenta, index)
    store_node(grid.momenta, index, wp.vec4())
    return value


@wp.func
def take_exactly(grid: ExactGridStruct, index: int, units: wp.vec4) -> wp.vec4:
    """Do ``take`` of multiples of ``units``."""
    value = grid.momenta[index]
    grid.momenta[index] = vec4l()
    result = wp.vec4()
    for i in range(4):
        result[i] = float(wp.float64(value[i]) * wp.float64(units[i]))
    return result
