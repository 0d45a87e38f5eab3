"""File formats, one module each: PLY, tensor files, HDF5, trajectories, video."""
