"""Points of other objects within reach: brute-force searches that skip points outside the box around an object."""

# mypy: ignore-errors

import torch
import warp as wp

from gaussians.warp_runtime import start_warp

wp.set_module_options({"enable_backward": False})

_FAR = 1e6  # metres: where points that do not exist are kept
_SHARES_ON_GPU = 16  # of the other object's points, enough threads to fill a GPU with a single scene
_INSIDE = 4.0  # largest nearness


@wp.struct
class Points:
    """Of all objects.

    Attributes:
        world: (B, O, P), metres.
        mask: (B, O, P), which exist.
        low: (B, O), corner of the box around an object and its reach, metres.
        high: (B, O), the opposite one.
    """

    world: wp.array3d(dtype=wp.vec3)
    mask: wp.array3d(dtype=wp.bool)
    low: wp.array2d(dtype=wp.vec3)
    high: wp.array2d(dtype=wp.vec3)


@wp.func
def may_touch(points: Points, b: int, i: int, p: int, j: int):
    """Whether point p of object i exists and lies in the box around j."""
    if i == j or not points.mask[b, i, p]:
        return False
    here, low, high = points.world[b, i, p], points.low[b, j], points.high[b, j]
    inside = here[0] >= low[0] and here[1] >= low[1] and here[2] >= low[2]
    return inside and here[0] <= high[0] and here[1] <= high[1] and here[2] <= high[2]


@wp.kernel
def search(points: Points, shares: int, squared: wp.array4d(dtype=float)):
    """Each point of i looks at all points of j, which ``shares`` threads share among them."""
    pair, share, p = wp.tid()
    objects = points.mask.shape[1]
    b = pair // (objects * objects)
    i = pair // objects % objects
    j = pair % objects
    if not may_touch(points, b, i, p, j):
        return
    here = points.world[b, i, p]
    nearest = squared[b, i, j, p]
    for q in range(share, points.world.shape[2], shares):
        if points.mask[b, j, q]:
            nearest = wp.min(nearest, wp.length_sq(points.world[b, j, q] - here))
    wp.atomic_min(squared, b, i, j, p, nearest)


@torch.library.custom_op("dynamic_models::nearest_squared", mutates_args=())
def nearest_squared(world: torch.Tensor, mask: torch.Tensor, reach: float, far: float) -> torch.Tensor:
    """(B, O, O, P) float32, metres^2: squared distance of each point of i to the nearest point of j, at most ``far``.

    Args:
        world: (B, O, P, 3), metres.
        mask: (B, O, P), bool, which points exist.
        reach: metres; where the nearest point is further away, the answer may be ``far``, as it is for i = j.
    """
    batch, objects, count = mask.shape
    squared = world.new_full((batch, objects, objects, count), far, dtype=torch.float32)
    shares = _SHARES_ON_GPU if world.is_cuda else 1
    arguments = [_points(world, mask, reach), shares, _array(squared, wp.float32)]
    _launch(search, (batch * objects**2, shares, count), arguments, world.device)
    return squared


@nearest_squared.register_fake
def _(world: torch.Tensor, mask: torch.Tensor, reach: float, far: float) -> torch.Tensor:
    batch, objects, count = mask.shape
    return world.new_empty(batch, objects, objects, count, dtype=torch.float32)


@wp.kernel
def add_up(
    points: Points, velocities: wp.array3d(dtype=wp.vec3), reach: float, shares: int, sums: wp.array3d(dtype=float)
):
    """Each point of i looks at all points of j, which ``shares`` threads share among them: the sums of the kernel
    1 - (distance / reach)^2, and of that times offset and velocity."""
    pair, share, p = wp.tid()
    objects = points.mask.shape[1]
    b = pair // (objects * objects)
    i = pair // objects % objects
    j = pair % objects
    if not may_touch(points, b, i, p, j):
        return
    here = points.world[b, i, p]
    total = wp.float32(0.0)  # a literal would be a constant to Warp
    offsets = wp.vec3()
    speeds = wp.vec3()
    for q in range(share, points.world.shape[2], shares):
        offset = points.world[b, j, q] - here
        kernel = 1.0 - wp.length_sq(offset) / (reach * reach)
        if kernel > 0.0 and points.mask[b, j, q]:
            total += kernel
            offsets += kernel * offset
            speeds += kernel * velocities[b, j, q]
    if total > 0.0:
        wp.atomic_add(sums, pair, p, 0, total)
        for k in range(3):
            wp.atomic_add(sums, pair, p, 1 + k, offsets[k])
            wp.atomic_add(sums, pair, p, 4 + k, speeds[k])


@wp.kernel
def choose(
    points: Points,
    centres: wp.array2d(dtype=wp.vec3),
    volumes: wp.array2d(dtype=float),
    reach: float,
    sums: wp.array3d(dtype=float),
    nearness: wp.array3d(dtype=float),
    normals: wp.array3d(dtype=wp.vec3),
    velocities: wp.array3d(dtype=wp.vec3),
    partner: wp.array4d(dtype=float),
):
    """The object of which most is in reach of a point, and how it lies to it."""
    b, i, p = wp.tid()
    objects = points.mask.shape[1]
    largest = wp.float32(0.0)
    nearest = wp.int32(0)
    for j in range(objects):
        density = sums[(b * objects + i) * objects + j, p, 0] * volumes[b, j]
        if density > largest:
            largest = density
            nearest = j
    partner[b, i, p, nearest] = 1.0
    if largest == 0.0:
        return
    pair = (b * objects + i) * objects + nearest
    total = sums[pair, p, 0]
    away = -wp.vec3(sums[pair, p, 1], sums[pair, p, 2], sums[pair, p, 3]) / total
    # Deep inside there is no way out to see; then away from the other's centre.
    away += 0.1 * reach * wp.normalize(points.world[b, i, p] - centres[b, nearest])
    # A half-space of points sums up to half the kernel's integral over space, 8 pi / 15 reach^3.
    nearness[b, i, p] = wp.min(largest / (4.0 * wp.PI / 15.0 * reach * reach * reach), _INSIDE)
    normals[b, i, p] = wp.normalize(away)
    velocities[b, i, p] = wp.vec3(sums[pair, p, 4], sums[pair, p, 5], sums[pair, p, 6]) / total


@torch.library.custom_op("dynamic_models::touching_bodies", mutates_args=())
def touching_bodies(
    world: torch.Tensor,
    velocities: torch.Tensor,
    centres: torch.Tensor,
    mask: torch.Tensor,
    volumes: torch.Tensor,
    reach: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What ``contact.body_contact`` gives, in float32."""
    batch, objects, count = mask.shape
    points = _points(world, mask, reach)
    sums = _array(world.new_zeros(batch * objects**2, count, 7), wp.float32)
    shares = _SHARES_ON_GPU if world.is_cuda else 1
    arguments = [points, _array(velocities, wp.vec3), reach, shares, sums]
    _launch(add_up, (batch * objects**2, shares, count), arguments, world.device)
    found = _nothing_touches(world, mask)
    types = wp.float32, wp.vec3, wp.vec3, wp.float32
    outputs = [_array(tensor, dtype) for tensor, dtype in zip(found, types, strict=True)]
    arguments = [points, _array(centres, wp.vec3), _array(volumes, wp.float32), reach, sums, *outputs]
    _launch(choose, (batch, objects, count), arguments, world.device)
    return found


@touching_bodies.register_fake
def _(world, velocities, centres, mask, volumes, reach):
    return _nothing_touches(world, mask)


def _nothing_touches(world: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
    *shape, objects = *mask.shape, mask.shape[1]
    return tuple(world.new_zeros(*shape, *width, dtype=torch.float32) for width in ((), (3,), (3,), (objects,)))


def _points(world: torch.Tensor, mask: torch.Tensor, reach: float) -> Points:
    exists = mask[..., None]
    low, high = torch.where(exists, world, _FAR).amin(-2), torch.where(exists, world, -_FAR).amax(-2)
    points = Points()
    points.world, points.mask = _array(world, wp.vec3), _array(mask, wp.bool)
    points.low, points.high = _array(low - reach, wp.vec3), _array(high + reach, wp.vec3)
    return points


def _array(tensor: torch.Tensor, dtype: type) -> wp.array:
    """The tensor's memory where it is contiguous and in single precision, else a copy."""
    start_warp()
    tensor = tensor.detach() if dtype == wp.bool else tensor.detach().float()
    return wp.from_torch(tensor.contiguous(), dtype=dtype, requires_grad=False)


def _launch(kernel: wp.Kernel, threads: tuple[int, ...], arguments: list, device: torch.device) -> None:
    stream = wp.stream_from_torch(torch.cuda.current_stream(device)) if device.type == "cuda" else None
    wp.launch(kernel, threads, arguments, device=wp.device_from_torch(device), stream=stream)
