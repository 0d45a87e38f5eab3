"""Measure how long each part of the system takes, one module for each part."""
