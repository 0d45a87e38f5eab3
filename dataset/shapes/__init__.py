"""This package models shapes by formulas and turns them into Gaussians."""
