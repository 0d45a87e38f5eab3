"""Builds the kernels of a simulation and of pictures once, in the fork server, for all that it forks.

Warp writes a kernel's source before it knows that it has compiled it already, which takes a second or more.
"""

import warp as wp

from gaussians.rasterization.kernels import project
from tests.dataset.mpm.mpm_world import BOX, World, block

World(block((0.5, 0.5, 0.5), (0.1, 0.1, 0.1), 0.05), boundary_conditions=BOX).run(2, 1e-4)
wp.load_module(project.module, device="cpu")
