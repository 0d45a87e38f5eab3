"""What a dataset holds, counted and shown."""
