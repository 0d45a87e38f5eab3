"""Training data: keypoints of trajectories, windows of frames, batches."""
