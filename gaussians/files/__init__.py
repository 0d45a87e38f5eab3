"""Read and write files, one module for each format: PLY, tensor files, HDF5, trajectories, labels, forces, video."""
