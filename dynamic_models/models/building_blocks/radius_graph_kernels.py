"""Find near points with a Warp kernel."""

# mypy: ignore-errors

import warp as wp

wp.set_module_options({"enable_backward": False})

ROWS = wp.constant(32)  # rows of the matrix that one thread fills in its column
_ONE = wp.constant(wp.int16(0x3F80))  # the bits of 1 in bfloat16


@wp.kernel
def connect(
    points: wp.array2d(dtype=wp.vec3),
    reach: float,
    adjacency: wp.array2d(dtype=wp.int16),
    degrees: wp.array2d(dtype=float),
):
    """Write whether each of ``ROWS`` points is nearer than ``reach`` to one other, and add up how many are.

    Args:
        points: (B, N), metres; NaN is near nothing.
        adjacency: (B, N N), the bits of bfloat16 numbers; flat, for fewer strides to multiply by.
        degrees: (B, N), how many points are near each.
    """
    b, block, j = wp.tid()
    here = points[b, j]
    count = wp.float32(0.0)  # a literal would be a constant to Warp
    total = points.shape[1]
    place = block * ROWS * total + j
    for i in range(block * ROWS, wp.min((block + 1) * ROWS, total)):
        entry = wp.int16(0)
        if wp.length_sq(points[b, i] - here) < reach * reach:
            entry = _ONE
            count += 1.0
        adjacency[b, place] = entry
        place += total
    if count > 0.0:
        wp.atomic_add(degrees, b, j, count)
