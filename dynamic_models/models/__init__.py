"""Define the models, one file each, their interface, how they are rolled out, and their checkpoints."""
