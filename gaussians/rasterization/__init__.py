"""Draw Gaussians: ``rasterize`` calls gsplat on CUDA and a tile rasterizer in Warp on the CPU, both differentiable."""

from gaussians.rasterization.api import Rendered, rasterize
from gaussians.rasterization.instance_masks import instance_masks

__all__ = ["Rendered", "instance_masks", "rasterize"]
