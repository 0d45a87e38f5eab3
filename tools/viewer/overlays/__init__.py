"""What is drawn over Gaussians: ground, axes and box, motion and forces, cameras."""
