"""Draw on the CPU with a tile rasterizer in Warp, which spreads bands of tiles over as many threads as PyTorch uses.

Warp runs a CPU launch on the calling thread and without Python's lock, so several threads launch at once.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import warp as wp
from torch.autograd.function import once_differentiable

from gaussians.cameras import Cameras
from gaussians.rasterization.gradient_kernels import blend_gradient, covariance_gradient, project_gradient
from gaussians.rasterization.image_model import MIN_ALPHA
from gaussians.rasterization.kernels import Camera, Covariance, covariance_from_scales, draw_band, project
from gaussians.rasterization.tile_blending import MOMENTS, TILE, Splat
from gaussians.representation import Gaussians
from gaussians.stage.warp_runtime import start_warp

Item = TypeVar("Item")
Result = TypeVar("Result")


def draw(
    gaussians: Gaussians,
    cameras: Cameras,
    backgrounds: torch.Tensor,
    sh_degree: int,
    near_plane: float,
    far_plane: float,
    radius_clip: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return RGB (C, H, W, 3), accumulated depth (C, H, W) and alpha (C, H, W); the arguments are ``rasterize``'s."""
    start_warp()
    for kernel in (project, blend_gradient) if torch.is_grad_enabled() else (project,):
        wp.load_module(kernel.module, device="cpu")  # compile it before threads would do so at once
    view = _View(cameras, sh_degree, near_plane, far_plane, radius_clip)
    shape = (gaussians.scales, gaussians.quaternions, gaussians.covariances)
    return _Draw.apply(gaussians.means, gaussians.opacities, gaussians.sh, *shape, backgrounds, view)


@dataclass(frozen=True)
class _View:
    """A ``_View`` holds the arguments of ``draw`` that have no gradient."""

    cameras: Cameras
    sh_degree: int
    near_plane: float
    far_plane: float
    radius_clip: float


class _Splats(NamedTuple):
    """A ``_Splats`` holds V splats of one camera, front to back, the rows ``order`` of their Gaussians, and bounds."""

    order: torch.Tensor
    splats: wp.array
    bounds: wp.array


class _Draw(torch.autograd.Function):
    """Draw Gaussians, and carry gradients of the images back to what they are made of, and to the backgrounds."""

    @staticmethod
    def forward(
        ctx: Any,
        means: torch.Tensor,
        opacities: torch.Tensor,
        sh: torch.Tensor,
        scales: torch.Tensor | None,
        quaternions: torch.Tensor | None,
        covariances: torch.Tensor | None,
        backgrounds: torch.Tensor,
        view: _View,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        cameras = view.cameras
        count, height, width = len(cameras), cameras.height, cameras.width
        rgb = torch.empty(count, height, width, 3)
        depth = torch.empty(count, height, width)
        alpha = torch.empty(count, height, width)
        opaque, precise_means = _plain(opacities) >= MIN_ALPHA, means.double()
        drawn = []
        with _Threads() as threads:
            world = _world(threads, means, opacities, sh, scales, quaternions, covariances)
            for c in range(count):
                axis, offset = cameras.viewmats[c, 2, :3].double(), cameras.viewmats[c, 2, 3].double()
                depths = (precise_means @ axis + offset).float()
                order = _front_to_back(depths, opaque & (depths >= view.near_plane) & (depths <= view.far_plane))
                splats = wp.empty(len(order), dtype=Splat, device="cpu")
                bounds = wp.empty(len(order), dtype=wp.vec4i, device="cpu")
                inputs = [wp.from_torch(order), *world, view.sh_degree, _camera(cameras, c), view.radius_clip]
                threads.launch(project, len(order), [*inputs, splats, bounds])
                background = wp.vec3f(*backgrounds[c].tolist())
                images = [wp.from_torch(rgb[c], dtype=wp.vec3f), wp.from_torch(depth[c]), wp.from_torch(alpha[c])]
                threads.map(partial(_draw_band, splats, bounds, background, images), _bands(bounds, height))
                if any(ctx.needs_input_grad):
                    drawn.append(_Splats(order, splats, bounds))
        if drawn:
            ctx.view, ctx.drawn = view, drawn
            ctx.save_for_backward(
                means, opacities, sh, scales, quaternions, covariances, backgrounds, rgb, depth, alpha
            )
        return rgb, depth, alpha

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, rgb_gradient: torch.Tensor, depth_gradient: torch.Tensor, alpha_gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        *inputs, backgrounds, rgb, depth, alpha = ctx.saved_tensors
        means, opacities, sh, scales, quaternions, covariances = inputs
        view: _View = ctx.view
        shape_gradients: tuple[torch.Tensor | None, ...]
        gradients = [torch.zeros_like(_plain(tensor)) for tensor in (means, opacities)]
        covariance_gradients = torch.zeros(len(means), 6, dtype=torch.float64)
        sh_gradients = torch.zeros_like(_plain(sh))
        outputs = [
            wp.from_torch(gradients[0], dtype=wp.vec3f),
            wp.from_torch(gradients[1]),
            wp.from_torch(covariance_gradients, dtype=Covariance),
            wp.from_torch(sh_gradients, dtype=wp.vec3f),
        ]
        # A pixel's colour is sum(w c) + (1 - sum(w)) background: as if alpha had this gradient, too.
        alpha_gradient = alpha_gradient - (rgb_gradient * backgrounds[:, None, None]).sum(-1)
        bare = rgb - (1 - alpha)[..., None] * backgrounds[:, None, None]
        totals = (rgb_gradient * bare).sum(-1) + depth_gradient * depth + alpha_gradient * alpha
        with _Threads() as threads:
            world = _world(threads, *inputs)
            for c, (order, splats, bounds) in enumerate(ctx.drawn):
                images = [
                    wp.from_torch(rgb_gradient[c].contiguous(), dtype=wp.vec3f),
                    *(wp.from_torch(image[c].contiguous()) for image in (depth_gradient, alpha_gradient, totals)),
                ]
                moments = _blend_gradients(threads, view.cameras.height, splats, bounds, images)
                arguments = [wp.from_torch(order), *world, view.sh_degree, _camera(view.cameras, c), bounds]
                threads.launch(project_gradient, len(order), [*arguments, wp.from_torch(moments), *outputs])
            if covariances is not None:
                shape_gradients = (None, None, covariance_gradients.float())
            else:
                of_scales, of_quaternions = torch.empty_like(_plain(scales)), torch.empty_like(_plain(quaternions))
                shape = [
                    wp.from_torch(_plain(scales), dtype=wp.vec3f),
                    wp.from_torch(_plain(quaternions), dtype=wp.vec4f),
                    outputs[2],
                    wp.from_torch(of_scales, dtype=wp.vec3f),
                    wp.from_torch(of_quaternions, dtype=wp.vec4f),
                ]
                threads.launch(covariance_gradient, len(means), shape)
                shape_gradients = (of_scales, of_quaternions, None)
        background_gradients = (rgb_gradient * (1 - alpha)[..., None]).sum((1, 2))
        return (*gradients, sh_gradients, *shape_gradients, background_gradients, None)


class _Threads:
    """A ``_Threads`` spreads Warp's CPU launches over as many threads as PyTorch uses."""

    def __init__(self) -> None:
        self.count = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self.count)

    def __enter__(self) -> "_Threads":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def launch(self, kernel: wp.Kernel, size: int, inputs: Sequence[object]) -> None:
        """Launch ``kernel(first, *inputs)`` over ``range(size)``, one contiguous share for each thread."""
        step = max(1, -(-size // self.count))

        def launch(first: int) -> None:
            wp.launch(kernel, dim=min(step, size - first), inputs=[first, *inputs], device="cpu")

        self.map(launch, range(0, size, step))

    def map(self, function: Callable[[Item], Result], values: Iterable[Item]) -> list[Result]:
        return list(self._pool.map(function, values))


def _world(
    threads: _Threads,
    means: torch.Tensor,
    opacities: torch.Tensor,
    sh: torch.Tensor,
    scales: torch.Tensor | None,
    quaternions: torch.Tensor | None,
    covariances: torch.Tensor | None,
) -> list[object]:
    """Return means, opacities, covariances and coefficients as the kernels take them.

    Covariances are in double precision from the scales on: single would cost long thin Gaussians their width.
    """
    if covariances is not None:
        precise = wp.from_torch(_plain(covariances).double(), dtype=Covariance)
    else:
        precise = wp.empty(len(means), dtype=Covariance, device="cpu")
        shape = [wp.from_torch(_plain(scales), dtype=wp.vec3f), wp.from_torch(_plain(quaternions), dtype=wp.vec4f)]
        threads.launch(covariance_from_scales, len(means), [*shape, precise])
    return [
        wp.from_torch(_plain(means), dtype=wp.vec3f),
        wp.from_torch(_plain(opacities)),
        precise,
        wp.from_torch(_plain(sh), dtype=wp.vec3f),
    ]


def _draw_band(
    splats: wp.array, bounds: wp.array, background: wp.vec3f, images: Sequence[object], band: tuple[int, torch.Tensor]
) -> None:
    top, selected = band
    inputs = [top, splats, bounds, wp.from_torch(selected), background, *images]
    wp.launch(draw_band, dim=1, inputs=inputs, device="cpu")


def _blend_gradients(
    threads: _Threads, height: int, splats: wp.array, bounds: wp.array, images: Sequence[object]
) -> torch.Tensor:
    """Return the moments (V, MOMENTS) of the splats; ``images`` are the gradients and totals of ``blend_gradient``.

    Every band has its own, summed in order, so that the number of threads does not change the result.
    """

    def differentiate(band: tuple[int, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        top, selected = band
        moments = torch.zeros(len(selected), MOMENTS)
        inputs = [top, splats, bounds, wp.from_torch(selected), *images, wp.from_torch(moments)]
        wp.launch(blend_gradient, dim=1, inputs=inputs, device="cpu")
        return selected, moments

    total = torch.zeros(len(splats), MOMENTS)
    for selected, moments in threads.map(differentiate, _bands(bounds, height)):
        total.index_add_(0, selected, moments)
    return total


def _plain(tensor: torch.Tensor | None) -> torch.Tensor:
    assert tensor is not None
    return tensor.detach().float().contiguous()


def _bands(bounds: wp.array, height: int) -> list[tuple[int, torch.Tensor]]:
    """Return the first row of each band of TILE rows of pixels, with the splats that touch it, front to back."""
    first, end = bounds.numpy()[:, 2:].T.copy()  # contiguous, as every band looks at all of them
    return [
        (top, torch.from_numpy(np.flatnonzero((first < top + TILE) & (end > top)))) for top in range(0, height, TILE)
    ]


def _front_to_back(depths: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Return the indices (V,) of the ``visible`` by increasing depth, equal depths by index.

    The bits of positive floats increase with their values, so bits and index packed into one integer sort as the pair
    does, several times faster than a stable argsort.
    """
    index = visible.nonzero().squeeze(1)
    keys = (depths[index].view(torch.int32).long() << 32) | index
    return torch.from_numpy(np.sort(keys.numpy())) & 0xFFFFFFFF


def _camera(cameras: Cameras, index: int) -> Camera:
    viewmat, K = cameras.viewmats[index].double(), cameras.Ks[index].double()
    camera = Camera()
    camera.rotation = wp.mat33d(*viewmat[:3, :3].flatten().tolist())
    camera.translation = wp.vec3d(*viewmat[:3, 3].tolist())
    camera.position = wp.vec3d(*torch.linalg.solve(viewmat[:3, :3], -viewmat[:3, 3]).tolist())
    camera.focal = wp.vec2d(K[0, 0].item(), K[1, 1].item())
    camera.center = wp.vec2d(K[0, 2].item(), K[1, 2].item())
    camera.width, camera.height = wp.int32(cameras.width), wp.int32(cameras.height)
    return camera
