"""Reconstruct a scene as Gaussians, with cameras, from pictures alone: Pi3_splat, one network and one pass.

Pi3 (Wang et al. 2025, arXiv 2507.13347) encodes pictures with DINOv2 (Oquab et al. 2023; with registers, Darcet et al.
2023), lets their patches attend to each other within a view and over all views in turn, and reads a point for each
pixel, its confidence and the cameras from that; no view comes first. Pi3_splat has a fourth head, which makes a
Gaussian of each pixel.
"""

from externals.pi3_splat.pi3_splat import Pi3Splat
from externals.pi3_splat.reconstruction import Pi3Reconstruction

__all__ = ["Pi3Reconstruction", "Pi3Splat"]
