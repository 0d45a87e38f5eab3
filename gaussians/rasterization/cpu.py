"""Draw on the CPU with a tile rasterizer in Warp, which spreads bands of tiles over as many threads as PyTorch uses.

Warp runs a CPU launch on the calling thread and without Python's lock, so several threads launch at once.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import torch
import warp as wp

from gaussians.cameras import Cameras
from gaussians.rasterization.image_model import MIN_ALPHA
from gaussians.rasterization.kernels import TILE, Camera, Covariance, Splat, covariance_from_scales, draw_band, project
from gaussians.representation import Gaussians
from gaussians.stage.warp_runtime import start_warp


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
    wp.load_module(project.module, device="cpu")  # compile it before threads would do so at once
    count, height, width = len(cameras), cameras.height, cameras.width
    rgb = torch.empty(count, height, width, 3)
    depth = torch.empty(count, height, width)
    alpha = torch.empty(count, height, width)
    means, opacities = _plain(gaussians.means), _plain(gaussians.opacities)
    precise_means, opaque = means.double(), opacities >= MIN_ALPHA
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        inputs = [
            wp.from_torch(means, dtype=wp.vec3f),
            wp.from_torch(opacities),
            _covariances(gaussians, pool, threads),
            wp.from_torch(_plain(gaussians.sh), dtype=wp.vec3f),
            sh_degree,
        ]
        for c in range(count):
            axis, offset = cameras.viewmats[c, 2, :3].double(), cameras.viewmats[c, 2, 3].double()
            depths = (precise_means @ axis + offset).float()
            order = _front_to_back(depths, opaque & (depths >= near_plane) & (depths <= far_plane))
            splats = wp.empty(len(order), dtype=Splat, device="cpu")
            bounds = wp.empty(len(order), dtype=wp.vec4i, device="cpu")
            shared = [wp.from_torch(order), *inputs, _camera(cameras, c), radius_clip, splats, bounds]
            _launch_in_shares(pool, threads, project, len(order), shared)
            background = wp.vec3f(*backgrounds[c].tolist())
            images = [wp.from_torch(rgb[c], dtype=wp.vec3f), wp.from_torch(depth[c]), wp.from_torch(alpha[c])]
            tops = iter(range(0, height, TILE))
            works = [pool.submit(_draw_bands, tops, splats, bounds, background, images) for _ in range(threads)]
            for work in works:
                work.result()
    return rgb, depth, alpha


def _covariances(gaussians: Gaussians, pool: Executor, threads: int) -> object:
    """Return covariances in double precision from the scales on: single would cost long thin Gaussians their width."""
    if gaussians.covariances is not None:
        return wp.from_torch(_plain(gaussians.covariances).double(), dtype=Covariance)
    assert gaussians.scales is not None
    assert gaussians.quaternions is not None
    covariances = wp.empty(len(gaussians), dtype=Covariance, device="cpu")
    scales = wp.from_torch(_plain(gaussians.scales), dtype=wp.vec3f)
    quaternions = wp.from_torch(_plain(gaussians.quaternions), dtype=wp.vec4f)
    inputs = [scales, quaternions, covariances]
    _launch_in_shares(pool, threads, covariance_from_scales, len(gaussians), inputs)
    return covariances


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().float().contiguous()


def _launch_in_shares(pool: Executor, threads: int, kernel: wp.Kernel, size: int, inputs: Sequence[object]) -> None:
    """Launch ``kernel(first, *inputs)`` over ``range(size)``, one contiguous share for each thread."""
    step = max(1, -(-size // threads))
    works = [
        pool.submit(wp.launch, kernel, dim=min(step, size - first), inputs=[first, *inputs], device="cpu")
        for first in range(0, size, step)
    ]
    for work in works:
        work.result()


def _draw_bands(
    tops: Iterator[int], splats: wp.array, bounds: wp.array, background: wp.vec3f, images: Sequence[object]
) -> None:
    """Draw bands until ``tops``, which all threads share, has no more."""
    selected = wp.empty(len(splats), dtype=wp.int32, device="cpu")
    for top in tops:
        inputs = [top, splats, bounds, selected, background, *images]
        wp.launch(draw_band, dim=1, inputs=inputs, device="cpu")


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
