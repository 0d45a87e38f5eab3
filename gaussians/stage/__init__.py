"""Build commands: arguments, errors, checks of shapes and JSON, atomic files, claimed directories, Warp's start."""
