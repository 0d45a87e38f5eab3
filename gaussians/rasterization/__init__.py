"""Drawing Gaussians: ``rasterize``, with gsplat behind it on CUDA and a Warp tile rasterizer on the CPU."""

from gaussians.rasterization.api import Rendered, rasterize

__all__ = ["Rendered", "rasterize"]
