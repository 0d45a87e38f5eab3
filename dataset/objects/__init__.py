"""This package makes objects: the builtin ones, and users' own from meshes or Gaussians."""
