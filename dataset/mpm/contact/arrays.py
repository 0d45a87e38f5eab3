"""This module has the arrays over the places where bodies meet, for kernels, and access to their moments."""

# mypy: ignore-errors

import warp as wp

from dataset.mpm.contact.shared_blocks import SharedBlocksStruct
from dataset.mpm.grid import vec4l
from dataset.mpm.transfers import load_node, store_node

wp.set_module_options({"enable_backward": False})

ROWS_OF_MOMENTS = wp.constant(3)
"""How many vec4 the moments of one body at one node take: the sum of weights and of weighted offsets, then the sums of
weighted products of offsets, xx, xy, xz, yy, yz, zz, and two zeros; offsets are in cells."""
# Moments are below 2^21 for any number of particles that a node may have near it, and round by less than float32 does.
_MOMENT_UNIT = 2.0**-40


@wp.struct
class ContactStruct:
    """Holds arrays over the places where several bodies meet, and the constants of contact, for kernels."""

    shared: SharedBlocksStruct
    moments: wp.array(dtype=wp.vec4)  # (capacity * bodies * nodes * 3,)
    normals: wp.array(dtype=wp.vec4)  # (capacity * pairs * nodes,) of each pair, and 0
    smooth_normals: wp.array(dtype=wp.vec4)
    friction: wp.array2d(dtype=float)  # (bodies, bodies) Coulomb's coefficients
    spacing: wp.array(dtype=float)  # (bodies,) distance of neighbouring particles, in cells


@wp.struct
class ExactContactStruct:
    """Holds what ``ContactStruct`` does, with moments in whole numbers."""

    shared: SharedBlocksStruct
    moments: wp.array(dtype=vec4l)
    normals: wp.array(dtype=wp.vec4)
    smooth_normals: wp.array(dtype=wp.vec4)
    friction: wp.array2d(dtype=float)
    spacing: wp.array(dtype=float)


@wp.func
def pair_row(bodies: int, a: int, b: int) -> int:
    """Return the number of the pair of bodies a < b."""
    return a * (2 * bodies - a - 1) // 2 + b - a - 1


@wp.func_native("""
#if defined(__CUDA_ARCH__)
#if __CUDA_ARCH__ >= 900
    asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};"
                 :: "l"(moments.data + index), "f"(value[0]), "f"(value[1]), "f"(value[2]), "f"(value[3]) : "memory");
#else
    for (int n = 0; n < 4; ++n)
        atomicAdd(&moments.data[index][n], value[n]);
#endif
#else
    for (int n = 0; n < 4; ++n)
        moments.data[index][n] += value[n];
#endif
""")
def add_row(moments: wp.array(dtype=wp.vec4), index: int, value: wp.vec4):
    """Add to a row of moments."""


@wp.func
def add_row_exactly(moments: wp.array(dtype=vec4l), index: int, value: wp.vec4):
    """Do ``add_row`` in whole numbers."""
    whole = vec4l()
    for n in range(4):
        whole[n] = wp.int64(wp.rint(wp.float64(value[n]) / wp.float64(_MOMENT_UNIT)))
    wp.atomic_add(moments, index, whole)


@wp.func
def take_row(moments: wp.array(dtype=wp.vec4), index: int) -> wp.vec4:
    return load_node(moments, index)


@wp.func
def take_row_exactly(moments: wp.array(dtype=vec4l), index: int) -> wp.vec4:
    value = moments[index]
    result = wp.vec4()
    for n in range(4):
        result[n] = float(wp.float64(value[n]) * wp.float64(_MOMENT_UNIT))
    return result


@wp.func
def clear_row(moments: wp.array(dtype=wp.vec4), index: int):
    store_node(moments, index, wp.vec4())


@wp.func
def clear_row_exactly(moments: wp.array(dtype=vec4l), index: int):
    moments[index] = vec4l()
