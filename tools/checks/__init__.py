"""Check every kind of file in a dataset."""
