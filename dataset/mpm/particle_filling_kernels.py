"""This module finds the inside of an object from the opacity density of its Gaussians."""

# mypy: ignore-errors

import warp as wp

wp.set_module_options({"enable_backward": False})

_STEPS = wp.constant(16777216.0)  # 2^24: the resolution of the sums


@wp.kernel
def splat(
    centers: wp.array(dtype=wp.vec3),
    whitening: wp.array(dtype=wp.mat33),
    low: wp.array(dtype=wp.vec3i),
    high: wp.array(dtype=wp.vec3i),
    opacities: wp.array(dtype=float),
    sums: wp.array3d(dtype=wp.int64),
):
    """Add each Gaussian to the cells within three standard deviations, row by row along z."""
    n = wp.tid()
    c = centers[n]
    A = whitening[n]
    first = low[n]
    last = high[n]
    along = wp.vec3(A[0, 2], A[1, 2], A[2, 2])
    square = wp.dot(along, along)
    for i in range(first[0], last[0] + 1):
        for j in range(first[1], last[1] + 1):
            start = A * wp.vec3(float(i) - c[0], float(j) - c[1], 0.0)
            middle = -wp.dot(start, along) / square
            nearest = start + middle * along
            distance = wp.dot(nearest, nearest)
            if distance < 9.0:
                half = wp.sqrt((9.0 - distance) / square)
                bottom = wp.max(wp.ceil(c[2] + middle - half), float(first[2]))
                top = wp.min(wp.floor(c[2] + middle + half), float(last[2]))
                for k in range(int(bottom), int(top) + 1):
                    offset = float(k) - c[2] - middle
                    weight = opacities[n] * wp.exp(-0.5 * (distance + square * offset * offset))
                    wp.atomic_add(sums, i, j, k, wp.int64(weight * _STEPS + 0.5))


@wp.kernel
def add_coarser(
    sums: wp.array3d(dtype=wp.int64),
    coarser: wp.array3d(dtype=float),
    is_coarsest: bool,
    density: wp.array3d(dtype=float),
):
    """Turn sums into densities, and add the coarser grid's density, interpolated linearly between its centres."""
    i, j, k = wp.tid()
    value = float(wp.float64(sums[i, j, k]) / wp.float64(_STEPS))
    if not is_coarsest:
        # The coarser grid begins one of its cells earlier: centre i is at 1/2 i + 3/4 there.
        x = i // 2 + i % 2
        y = j // 2 + j % 2
        z = k // 2 + k % 2
        fx = 0.75 - 0.5 * float(i % 2)
        fy = 0.75 - 0.5 * float(j % 2)
        fz = 0.75 - 0.5 * float(k % 2)
        for a in range(2):
            for b in range(2):
                for c in range(2):
                    weight = wp.abs(float(1 - a) - fx) * wp.abs(float(1 - b) - fy) * wp.abs(float(1 - c) - fz)
                    value = value + weight * coarser[x + a, y + b, z + c]
    density[i, j, k] = value


@wp.kernel
def extreme(density: wp.array3d(dtype=float), axis: int, reach: int, sign: float, result: wp.array3d(dtype=float)):
    """Return the greatest (sign 1) or least (-1) of the densities at most ``reach`` cells away along an axis."""
    i, j, k = wp.tid()
    cell = wp.vec3i(i, j, k)
    first = wp.max(cell[axis] - reach, 0)
    last = wp.min(cell[axis] + reach, density.shape[axis] - 1)
    value = sign * density[i, j, k]
    for n in range(first, last + 1):
        cell[axis] = n
        value = wp.max(value, sign * density[cell[0], cell[1], cell[2]])
    result[i, j, k] = sign * value


@wp.kernel
def search(
    density: wp.array3d(dtype=float),
    threshold: float,
    axis: int,
    forward: bool,
    hit: bool,
    odd: bool,
    inside: wp.array3d(dtype=wp.uint8),
):
    """Exclude cells from the inside if a ray from them along an axis fails a test; one thread does a line of cells.

    A ray meets the surface once for each run of cells over the threshold beyond the cell itself.

    Args:
        forward: whether rays go towards higher indices.
        hit: whether a ray must meet the surface.
        odd: whether it must meet it an odd number of times, unless the cell is itself surface.
    """
    a, b = wp.tid()
    cell = wp.vec3i(0, a, b)
    if axis == 1:
        cell = wp.vec3i(a, 0, b)
    elif axis == 2:
        cell = wp.vec3i(a, b, 0)
    count = density.shape[axis]
    met = wp.int32(0)
    was_over = wp.bool(False)
    for n in range(count):
        cell[axis] = wp.where(forward, count - 1 - n, n)
        over = density[cell[0], cell[1], cell[2]] > threshold
        if (hit and met == 0) or (odd and not over and met % 2 == 0):
            inside[cell[0], cell[1], cell[2]] = wp.uint8(0)
        if over and not was_over:
            met = met + 1
        was_over = over


@wp.kernel
def count_particles(
    positions: wp.array(dtype=wp.vec3), origin: wp.vec3, size: float, counts: wp.array3d(dtype=wp.int32)
):
    """Add the positions to the counts of their cells; those outside the grid do not count."""
    c = (positions[wp.tid()] - origin) / size
    # Compared as numbers with a fraction: those far away are too large for whole ones.
    below = c[0] < float(counts.shape[0]) and c[1] < float(counts.shape[1]) and c[2] < float(counts.shape[2])
    if below and wp.min(c) >= 0.0:
        wp.atomic_add(counts, int(c[0]), int(c[1]), int(c[2]), 1)


@wp.kernel
def count_slots(
    cells: wp.array(dtype=wp.int32),
    slots: wp.array(dtype=wp.int32),
    shape: wp.vec3i,
    offset: wp.vec3i,
    counts: wp.array3d(dtype=wp.int32),
):
    """Add up how many particles are wanted in each cell.

    Args:
        cells: row-major numbers in a box of ``shape`` cells.
        offset: of that box, in cells.
    """
    n = wp.tid()
    i = cells[n] // (shape[1] * shape[2]) + offset[0]
    j = cells[n] // shape[2] % shape[1] + offset[1]
    k = cells[n] % shape[2] + offset[2]
    if wp.min(wp.vec3i(i, j, k)) >= 0 and i < counts.shape[0] and j < counts.shape[1] and k < counts.shape[2]:
        wp.atomic_add(counts, i, j, k, slots[n])


@wp.kernel
def free_slots(
    inside: wp.array3d(dtype=wp.uint8),
    density: wp.array3d(dtype=float),
    threshold: float,
    most: int,
    counts: wp.array3d(dtype=wp.int32),
):
    """Replace the number of particles of each cell by how many it still takes: none unless inside or dense."""
    i, j, k = wp.tid()
    free = wp.max(most - counts[i, j, k], 0)
    is_body = inside[i, j, k] != wp.uint8(0) or density[i, j, k] > threshold
    counts[i, j, k] = wp.where(is_body, free, 0)


# Powers of the plastic number's inverse: the sequence of their multiples fills a cube evenly (Roberts 2018).
_EVEN = wp.constant(wp.vec3(0.8191725, 0.6710436, 0.5497005))


@wp.kernel
def place(
    cells: wp.array(dtype=wp.vec3i),
    slots: wp.array(dtype=wp.int32),
    keys: wp.array(dtype=wp.int32),
    seed: int,
    corner: wp.vec3,
    size: float,
    low: wp.vec3,
    high: wp.vec3,
    positions: wp.array(dtype=wp.vec3),
):
    """Return where the particle in a slot of a cell stands: an even sequence from a random start of the cell's own.

    Args:
        keys: what the random start is drawn from, beside the seed.
        corner: of cell (0, 0, 0).
        low, high: what positions must stay within.
    """
    n = wp.tid()
    state = wp.rand_init(seed, keys[n])
    share = wp.vec3(wp.randf(state), wp.randf(state), wp.randf(state)) + float(slots[n]) * _EVEN
    cell = cells[n]
    x = wp.vec3()
    for axis in range(3):
        bottom = wp.max(corner[axis] + size * float(cell[axis]), low[axis])
        top = wp.min(corner[axis] + size * float(cell[axis] + 1), high[axis])
        # Rounding must not take a particle into the next cell.
        part = wp.clamp(share[axis] - wp.floor(share[axis]), 0.01, 0.99)
        x[axis] = bottom + part * (top - bottom)
    positions[n] = x
