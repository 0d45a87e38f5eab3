"""Make Gaussians of objects and their background from pictures: one module for each stage."""
