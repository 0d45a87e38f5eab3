"""Offer programs for people: benchmarks, checks of datasets, downloads, and a viewer."""
