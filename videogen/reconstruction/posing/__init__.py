"""Read pictures, and find the cameras that took them."""
