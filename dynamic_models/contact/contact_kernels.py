"""Search for contact with Warp kernels, of which each thread looks at one point and at most a share of an object."""

# mypy: ignore-errors

import warp as wp

CHUNK = wp.constant(32)  # consecutive points of an object that have a box of their own
_LARGEST_NEARNESS = 4.0

wp.set_module_options({"enable_backward": False, "max_unroll": int(CHUNK)})


@wp.struct
class Points:
    """A ``Points`` holds the points of all objects.

    Attributes:
        world: (B, O, P), metres.
        mask: (B, O, P), which points exist.
        low: (B, O), low corner of the box around an object and its reach, metres.
        high: (B, O), high corner of that box, metres.
    """

    world: wp.array3d(dtype=wp.vec3)
    mask: wp.array3d(dtype=wp.bool)
    low: wp.array2d(dtype=wp.vec3)
    high: wp.array2d(dtype=wp.vec3)


@wp.func
def members(objects: int, pair: int):
    """Return the scene and the two objects of a pair; pairs are numbered through all scenes."""
    return pair // (objects * objects), pair // objects % objects, pair % objects


@wp.func
def may_touch(points: Points, b: int, i: int, p: int, j: int):
    """Return whether point p of object i exists and lies in the box around object j."""
    if i == j or not points.mask[b, i, p]:
        return False
    return within(points.world[b, i, p], points.low[b, j], points.high[b, j])


@wp.func
def within(point: wp.vec3, low: wp.vec3, high: wp.vec3):
    above = point[0] >= low[0] and point[1] >= low[1] and point[2] >= low[2]
    return above and point[0] <= high[0] and point[1] <= high[1] and point[2] <= high[2]


@wp.func
def in_box(point: wp.vec3, box: wp.array(dtype=float)):
    """Return whether a point lies in a box, which is its low corner and its high corner times -1."""
    return within(point, wp.vec3(box[0], box[1], box[2]), -wp.vec3(box[3], box[4], box[5]))


@wp.kernel
def search(points: Points, shares: int, squared: wp.array4d(dtype=float)):
    """Find the nearest point of object j for each point of i; ``shares`` threads share the points of j."""
    pair, share, p = wp.tid()
    b, i, j = members(points.mask.shape[1], pair)
    if not may_touch(points, b, i, p, j):
        return
    here = points.world[b, i, p]
    nearest = squared[b, i, j, p]
    for q in range(share, points.world.shape[2], shares):
        if points.mask[b, j, q]:
            nearest = wp.min(nearest, wp.length_sq(points.world[b, j, q] - here))
    wp.atomic_min(squared, b, i, j, p, nearest)


@wp.kernel
def add_up(
    points: wp.array3d(dtype=wp.vec3),
    velocities: wp.array3d(dtype=wp.vec3),
    boxes: wp.array4d(dtype=float),
    object_boxes: wp.array3d(dtype=float),
    reach: float,
    shares: int,
    sums: wp.array3d(dtype=float),
):
    """Add up the kernel 1 - (distance / reach)^2, and that times offset and velocity, over points of j for each of i.

    A point looks only at chunks whose boxes it lies in; ``shares`` threads share the chunks of j.
    """
    pair, share, p = wp.tid()
    b, i, j = members(points.shape[1], pair)
    here = points[b, i, p]
    if i == j or not in_box(here, object_boxes[b, j]):
        return
    scale = 1.0 / (reach * reach)
    total = wp.float32(0.0)  # a literal would be a constant to Warp
    offsets = wp.vec3()
    speeds = wp.vec3()
    for chunk in range(share, boxes.shape[2], shares):
        if in_box(here, boxes[b, j, chunk]):
            for k in range(CHUNK):  # without branches, so that loads do not wait for each other
                other = chunk * CHUNK + k
                offset = points[b, j, other] - here
                kernel = wp.max(1.0 - wp.length_sq(offset) * scale, 0.0)
                total += kernel
                offsets += kernel * offset
                speeds += kernel * velocities[b, j, other]
    if total > 0.0:
        wp.atomic_add(sums, 0, pair, p, total)
        for k in range(3):
            wp.atomic_add(sums, 1 + k, pair, p, offsets[k])
            wp.atomic_add(sums, 4 + k, pair, p, speeds[k])


@wp.kernel
def choose(
    points: wp.array3d(dtype=wp.vec3),
    centres: wp.array2d(dtype=wp.vec3),
    volumes: wp.array2d(dtype=float),
    reach: float,
    sums: wp.array3d(dtype=float),
    nearness: wp.array3d(dtype=float),
    normals: wp.array3d(dtype=wp.vec3),
    velocities: wp.array3d(dtype=wp.vec3),
    partner: wp.array4d(dtype=float),
):
    """Choose for each point the object of which most is in reach, and say how it lies to it; zeros where none is."""
    b, i, p = wp.tid()
    objects = points.shape[1]
    largest = wp.float32(0.0)
    densest = wp.int32(0)
    for j in range(objects):
        density = sums[0, (b * objects + i) * objects + j, p] * volumes[b, j]
        if density > largest:
            largest = density
            densest = j
    for j in range(objects):
        partner[b, i, p, j] = wp.where(largest > 0.0 and j == densest, 1.0, 0.0)
    if largest == 0.0:
        nearness[b, i, p] = 0.0
        normals[b, i, p] = wp.vec3()
        velocities[b, i, p] = wp.vec3()
        return
    pair = (b * objects + i) * objects + densest
    total = sums[0, pair, p]
    away = -wp.vec3(sums[1, pair, p], sums[2, pair, p], sums[3, pair, p]) / total
    # Deep inside the offsets cancel: there the normal points away from the other's centre.
    away += 0.1 * reach * wp.normalize(points[b, i, p] - centres[b, densest])
    # The sum over a half-space of points is half the kernel's integral over space, 8 pi / 15 reach^3.
    nearness[b, i, p] = wp.min(largest / (4.0 * wp.PI / 15.0 * reach * reach * reach), _LARGEST_NEARNESS)
    normals[b, i, p] = wp.normalize(away)
    velocities[b, i, p] = wp.vec3(sums[4, pair, p], sums[5, pair, p], sums[6, pair, p]) / total
