"""Shapes made of formulas, and how they are turned into Gaussians."""
