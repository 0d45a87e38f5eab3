"""Take keypoints from trajectories, and windows of frames to train on; define the state that models start from."""
