"""Name what can be chosen about how trajectories and Gaussians are stored.

These names stand apart so that a command can offer them without loading what reads and writes the files.
"""

from typing import Literal, get_args

FIELDS = ("pos", "cov3D", "rot", "vel")
"""The datasets that a frame's file may hold."""

Compression = Literal["none", "fletcher32", "gzip", "blosc-zstd"]
"""How arrays are stored in a file: as they are; with checksums; compressed, with checksums (two ways)."""
COMPRESSIONS: tuple[str, ...] = get_args(Compression)

SplatFormat = Literal["ply", "compressed.ply", "spz"]
"""A format of files of Gaussians for other programs, by the end of their names."""
SPLAT_FORMATS: tuple[str, ...] = get_args(SplatFormat)

UP_AXES = ("x", "-x", "y", "-y", "z", "-z")
"""The axes of a file that may point upwards."""
