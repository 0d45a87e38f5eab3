"""Predict the motion of keypoints, and carry every Gaussian along."""
