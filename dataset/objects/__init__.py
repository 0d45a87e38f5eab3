"""Objects made from meshes and from the Gaussians of other programs."""
