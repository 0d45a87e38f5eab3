"""Photos to Gaussians, Gaussians to motion, motion to video."""
