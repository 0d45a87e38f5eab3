"""From predicted keypoints to the motion of every Gaussian."""
