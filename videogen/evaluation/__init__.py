"""Compare predicted videos with simulated truth."""
