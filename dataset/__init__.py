"""The commands that make the GSCollision dataset: objects, scenes, simulations, videos."""
