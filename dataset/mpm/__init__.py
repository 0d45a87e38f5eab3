"""Explicit MLS-MPM in Warp, for the CPU and CUDA from the same kernels: every Gaussian is a particle."""
