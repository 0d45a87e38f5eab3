"""Name what can be chosen about how a trajectory is stored.

These names stand apart so that a command can offer them without loading what reads and writes the files.
"""

from typing import Literal, get_args

FIELDS = ("pos", "cov3D", "rot", "vel")
"""The datasets that a frame's file may hold."""

Compression = Literal["none", "fletcher32", "gzip", "blosc-zstd"]
"""How arrays are stored in a file: as they are; with checksums; compressed, with checksums (two ways)."""
COMPRESSIONS: tuple[str, ...] = get_args(Compression)
