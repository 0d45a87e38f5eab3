"""Show Gaussians in a browser."""
