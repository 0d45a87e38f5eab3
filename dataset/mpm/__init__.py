"""This package simulates with explicit MLS-MPM in Warp, on the CPU and on CUDA: every Gaussian is a particle."""
