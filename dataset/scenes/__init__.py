"""Scenes: what their names say, which objects they hold, and which Gaussian belongs to which object."""
