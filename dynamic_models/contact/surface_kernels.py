"""Sum over the surface points of other objects with Warp kernels, of which each thread looks at one point."""

# mypy: ignore-errors

import warp as wp

from dynamic_models.contact.contact_kernels import CHUNK, in_box

wp.set_module_options({"enable_backward": False, "max_unroll": int(CHUNK)})

SUMS = wp.constant(8)
NO_GAP = wp.constant(1.0e3)  # metres, of points without a partner


@wp.kernel
def add_planes(
    points: wp.array3d(dtype=wp.vec3),
    normals: wp.array3d(dtype=wp.vec3),
    radii: wp.array2d(dtype=float),
    boxes: wp.array4d(dtype=float),
    object_boxes: wp.array3d(dtype=float),
    shares: int,
    sums: wp.array3d(dtype=float),
):
    """Add up weights, heights over the tangent planes, normals and offsets, over points of j for each point of i.

    The weight of a point of j is (1 - (distance / radius)^2)^2. A point looks only at chunks whose boxes it lies in;
    ``shares`` threads share the chunks of j.

    Args:
        points: (B, O), metres.
        normals: (B, O), unit vectors times how sure it is that the point lies on the surface.
        radii: (B, O), how far an object's points weigh, metres.
        boxes, object_boxes: see ``surroundings``.
        sums: (SUMS, B O O, P), what is added up.
    """
    pair, share, p = wp.tid()
    objects = points.shape[1]
    b, i, j = pair // (objects * objects), pair // objects % objects, pair % objects
    here = points[b, i, p]
    if i == j or not in_box(here, object_boxes[b, j]):
        return
    scale = 1.0 / (radii[b, j] * radii[b, j])
    total = wp.float32(0.0)  # a literal would be a constant to Warp
    heights = wp.float32(0.0)
    normal = wp.vec3()
    offsets = wp.vec3()
    for chunk in range(share, boxes.shape[2], shares):
        if in_box(here, boxes[b, j, chunk]):
            for k in range(CHUNK):  # without branches, so that loads do not wait for each other
                other = chunk * CHUNK + k
                offset = here - points[b, j, other]
                kernel = wp.max(1.0 - wp.length_sq(offset) * scale, 0.0)
                kernel = kernel * kernel
                total += kernel
                heights += kernel * wp.dot(normals[b, j, other], offset)
                normal += kernel * normals[b, j, other]
                offsets += kernel * offset
    if total > 0.0:
        wp.atomic_add(sums, 0, pair, p, total)
        wp.atomic_add(sums, 1, pair, p, heights)
        for k in range(3):
            wp.atomic_add(sums, 2 + k, pair, p, normal[k])
            wp.atomic_add(sums, 5 + k, pair, p, offsets[k])


@wp.kernel
def choose_surface(
    thickness: wp.array2d(dtype=float),
    sums: wp.array3d(dtype=float),
    gaps: wp.array3d(dtype=float),
    away: wp.array3d(dtype=wp.vec3),
    partner: wp.array4d(dtype=float),
):
    """Choose for each point the object whose surface it is the least above, and say how it lies to that."""
    b, i, p = wp.tid()
    objects = gaps.shape[1]
    lowest = wp.float32(NO_GAP)
    nearest = wp.int32(-1)
    direction = wp.vec3()
    for j in range(objects):
        pair = (b * objects + i) * objects + j
        total = sums[0, pair, p]
        if total > 0.0:
            normal = wp.vec3(sums[2, pair, p], sums[3, pair, p], sums[4, pair, p]) / total
            offset = wp.vec3(sums[5, pair, p], sums[6, pair, p], sums[7, pair, p]) / total
            length = wp.length(normal)
            distance = wp.length(offset)
            sure = wp.min(2.0 * length, 1.0)
            gap = sure * sums[1, pair, p] / total / wp.max(length, 1.0e-6)
            gap += (1.0 - sure) * (distance - thickness[b, j])
            if gap < lowest:
                lowest = gap
                nearest = j
                direction = sure * normal / wp.max(length, 1.0e-6)
                direction += (1.0 - sure) * offset / wp.max(distance, 1.0e-6)
    gaps[b, i, p] = lowest
    away[b, i, p] = wp.normalize(direction)
    for j in range(objects):
        partner[b, i, p, j] = wp.where(j == nearest, 1.0, 0.0)
