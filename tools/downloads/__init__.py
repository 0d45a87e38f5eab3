"""Find published files, and download them."""
