"""Files of Gaussians at rest: a module for each format, and one that reads and writes any of them."""
