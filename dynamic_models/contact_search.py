"""The nearest points of other objects on a GPU: a brute-force search that skips objects far apart."""

# mypy: ignore-errors

import torch
import warp as wp

from gaussians.warp_runtime import start_warp

wp.set_module_options({"enable_backward": False})

_SHARES = wp.constant(16)  # enough threads to fill a GPU with a single scene


@wp.kernel
def search(
    world: wp.array3d(dtype=wp.vec3),
    mask: wp.array3d(dtype=wp.bool),
    near: wp.array3d(dtype=wp.bool),
    far: float,
    squared: wp.array4d(dtype=float),
):
    """Each point of i looks at all points of j, which ``_SHARES`` threads share among them."""
    pair, share, p = wp.tid()
    objects = mask.shape[1]
    b = pair // (objects * objects)
    i = pair // objects % objects
    j = pair % objects
    if i == j or not near[b, i, j] or not mask[b, i, p]:
        return
    nearest = far
    here = world[b, i, p]
    for q in range(share, world.shape[2], _SHARES):
        if mask[b, j, q]:
            offset = world[b, j, q] - here
            nearest = wp.min(nearest, wp.dot(offset, offset))
    wp.atomic_min(squared, b, i, j, p, nearest)


@torch.library.custom_op("dynamic_models::nearest_squared", mutates_args=())
def nearest_squared(world: torch.Tensor, mask: torch.Tensor, near: torch.Tensor, far: float) -> torch.Tensor:
    """(B, O, O, P), metres^2: squared distance of each point of i to the nearest point of j, at most ``far``.

    Args:
        world: (B, O, P, 3) float32 on a GPU, metres.
        mask: (B, O, P), bool, which points exist.
        near: (B, O, O), bool, which objects to look at; for others, and for i = j, the answer is ``far``.
    """
    batch, objects, count = mask.shape
    squared = world.new_full((batch, objects, objects, count), far)
    arrays = [_on_gpu(tensor, dtype) for tensor, dtype in ((world, wp.vec3), (mask, wp.bool), (near, wp.bool))]
    _launch(search, batch * objects**2, count, [*arrays, far], squared)
    return squared


@nearest_squared.register_fake
def _(world: torch.Tensor, mask: torch.Tensor, near: torch.Tensor, far: float) -> torch.Tensor:
    batch, objects, count = mask.shape
    return world.new_empty(batch, objects, objects, count)


@wp.kernel
def add_up(
    values: wp.array4d(dtype=float),
    mask: wp.array3d(dtype=wp.bool),
    near: wp.array3d(dtype=wp.bool),
    reach: float,
    sums: wp.array4d(dtype=float),
):
    """Each point of i looks at all points of j, which ``_SHARES`` threads share among them."""
    pair, share, p = wp.tid()
    objects = mask.shape[1]
    b = pair // (objects * objects)
    i = pair // objects % objects
    j = pair % objects
    if i == j or not near[b, i, j] or not mask[b, i, p]:
        return
    here = wp.vec3(values[b, i, p, 0], values[b, i, p, 1], values[b, i, p, 2])
    total = wp.float32(0.0)  # a literal would be a constant
    places = wp.vec3()
    speeds = wp.vec3()
    for q in range(share, values.shape[2], _SHARES):
        place = wp.vec3(values[b, j, q, 0], values[b, j, q, 1], values[b, j, q, 2])
        offset = (place - here) / reach
        kernel = 1.0 - wp.dot(offset, offset)
        if kernel > 0.0 and mask[b, j, q]:
            total += kernel
            places += kernel * place
            speeds += kernel * wp.vec3(values[b, j, q, 3], values[b, j, q, 4], values[b, j, q, 5])
    if total > 0.0:
        wp.atomic_add(sums, pair, p, 0, 0, total)
        for k in range(3):
            wp.atomic_add(sums, pair, p, 0, 1 + k, places[k])
            wp.atomic_add(sums, pair, p, 0, 4 + k, speeds[k])


@torch.library.custom_op("dynamic_models::sums_over_others", mutates_args=())
def sums_over_others(values: torch.Tensor, mask: torch.Tensor, near: torch.Tensor, reach: float) -> torch.Tensor:
    """(B, O, O, P, 7): for each point of i, sums over the points of j of 1 - (distance / ``reach``)^2, where that is
    positive, times 1 and their ``values``.

    Args:
        values: (B, O, P, 6) float32 on a GPU: places, metres, and velocities.
        mask: (B, O, P), bool, which points exist.
        near: (B, O, O), bool, which objects to look at; for others, and for i = j, the sums are 0.
        reach: metres.
    """
    batch, objects, count = mask.shape
    sums = values.new_zeros(batch * objects**2, count, 1, 7)
    arrays = [_on_gpu(tensor, dtype) for tensor, dtype in ((values, wp.float32), (mask, wp.bool), (near, wp.bool))]
    _launch(add_up, batch * objects**2, count, [*arrays, reach], sums)
    return sums.view(batch, objects, objects, count, 7)


@sums_over_others.register_fake
def _(values: torch.Tensor, mask: torch.Tensor, near: torch.Tensor, reach: float) -> torch.Tensor:
    batch, objects, count = mask.shape
    return values.new_empty(batch, objects, objects, count, 7)


def _on_gpu(tensor: torch.Tensor, dtype: type) -> wp.array:
    start_warp()
    return wp.from_torch(tensor.detach().contiguous(), dtype=dtype, requires_grad=False)


def _launch(kernel: wp.Kernel, pairs: int, count: int, inputs: list, output: torch.Tensor) -> None:
    outputs = [wp.from_torch(output, requires_grad=False)]
    stream = wp.stream_from_torch(torch.cuda.current_stream(output.device)) if output.is_cuda else None
    wp.launch(kernel, (pairs, _SHARES, count), inputs, outputs, device=outputs[0].device, stream=stream)
