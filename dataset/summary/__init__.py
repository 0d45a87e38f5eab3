"""This package counts and shows what a dataset holds."""
