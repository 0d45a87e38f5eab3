"""From trajectories to pictures and videos."""
