"""The nearest points of other objects on a GPU: a brute-force search that skips objects far apart."""

# mypy: ignore-errors

import torch
import warp as wp

from gaussians.warp_runtime import start_warp

wp.set_module_options({"enable_backward": False})


@wp.kernel
def search(
    world: wp.array3d(dtype=wp.vec3),
    mask: wp.array3d(dtype=wp.bool),
    near: wp.array3d(dtype=wp.bool),
    far: float,
    squared: wp.array4d(dtype=float),
):
    b, i, j, p = wp.tid()
    nearest = far
    if i != j and near[b, i, j] and mask[b, i, p]:
        here = world[b, i, p]
        for q in range(world.shape[2]):
            if mask[b, j, q]:
                offset = world[b, j, q] - here
                nearest = wp.min(nearest, wp.dot(offset, offset))
    squared[b, i, j, p] = nearest


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
    squared = world.new_empty(batch, objects, objects, count)
    arrays = [
        wp.from_torch(tensor.contiguous(), dtype=dtype)
        for tensor, dtype in ((world, wp.vec3), (mask, wp.bool), (near, wp.bool))
    ]
    stream = wp.stream_from_torch(torch.cuda.current_stream(world.device))
    wp.launch(search, squared.shape, [*arrays, far], [wp.from_torch(squared)], stream=stream)
    return squared


@nearest_squared.register_fake
def _(world: torch.Tensor, mask: torch.Tensor, near: torch.Tensor, far: float) -> torch.Tensor:
    batch, objects, count = mask.shape
    return world.new_empty(batch, objects, objects, count)
