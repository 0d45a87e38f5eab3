"""From a scene of Gaussians to particles of the simulator, and back to the frames of a trajectory."""
