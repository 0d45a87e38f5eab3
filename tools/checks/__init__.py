"""The checks of every kind of file in a dataset."""
