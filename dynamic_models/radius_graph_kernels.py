"""The kernel of the radius graph."""

# mypy: ignore-errors

import warp as wp

wp.set_module_options({"enable_backward": False})

ROWS = wp.constant(8)  # of the matrix for one thread
_ONE = wp.constant(wp.int16(0x3F80))  # the bits of 1 in bfloat16


@wp.kernel
def connect(
    points: wp.array2d(dtype=wp.vec3),
    mask: wp.array2d(dtype=wp.bool),
    reach: float,
    adjacency: wp.array3d(dtype=wp.int16),
    degrees: wp.array2d(dtype=float),
):
    """Whether ``ROWS`` points and one other are nearer than ``reach``, and how many of them."""
    b, block, j = wp.tid()
    here = points[b, j]
    exists = mask[b, j]
    count = wp.float32(0.0)  # a literal would be a constant to Warp
    for i in range(block * ROWS, wp.min((block + 1) * ROWS, points.shape[1])):
        offset = points[b, i] - here
        if exists and mask[b, i] and wp.dot(offset, offset) < reach * reach:
            adjacency[b, i, j] = _ONE
            count += 1.0
        else:
            adjacency[b, i, j] = wp.int16(0)
    if count > 0.0:
        wp.atomic_add(degrees, b, j, count)
