"""This package simulates scenes of Gaussians and writes the frames of their trajectories."""
