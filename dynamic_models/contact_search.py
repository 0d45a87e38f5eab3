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
    start_warp()
    batch, objects, count = mask.shape
    squared = world.new_full((batch, objects, objects, count), far)
    arrays = [
        wp.from_torch(tensor.detach().contiguous(), dtype=dtype, requires_grad=False)
        for tensor, dtype in ((world, wp.vec3), (mask, wp.bool), (near, wp.bool))
    ]
    stream = wp.stream_from_torch(torch.cuda.current_stream(world.device))
    threads = (batch * objects**2, _SHARES, count)
    wp.launch(search, threads, [*arrays, far], [wp.from_torch(squared, requires_grad=False)], stream=stream)
    return squared


@nearest_squared.register_fake
def _(world: torch.Tensor, mask: torch.Tensor, near: torch.Tensor, far: float) -> torch.Tensor:
    batch, objects, count = mask.shape
    return world.new_empty(batch, objects, objects, count)
