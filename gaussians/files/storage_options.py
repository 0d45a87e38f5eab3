"""What can be chosen of how a trajectory lies in its files.

These stand apart so that a command can offer them without loading what reads and writes the files.
"""

from typing import Literal, get_args

FIELDS = ("pos", "cov3D", "rot", "vel")
"""The datasets of a frame."""

Compression = Literal["none", "fletcher32", "gzip", "blosc-zstd"]
"""How arrays lie in a file: as they are; with checksums; compressed, with checksums."""
COMPRESSIONS: tuple[str, ...] = get_args(Compression)
