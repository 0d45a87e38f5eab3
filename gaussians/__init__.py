"""What every stage passes on: Gaussians, their files, cameras, and how they are drawn."""

__version__ = "0.1.0"
