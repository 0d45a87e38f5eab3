"""Drawing Gaussians: ``rasterize``, with gsplat behind it on CUDA and a Warp tile rasterizer on the CPU."""

from gaussians.rasterization.api import Rendered, rasterize
from gaussians.rasterization.instance_masks import instance_masks

__all__ = ["Rendered", "instance_masks", "rasterize"]
