"""This package turns trajectories into pictures and videos."""
