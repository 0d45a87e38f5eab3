"""This module writes PNGs, and stacks of one-channel pictures both as an HDF5 dataset and as a folder of PNGs."""

import io
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import h5py
import numpy as np

from gaussians.stage.atomic_files import atomic_path

_DEFLATE_LEVEL = 4


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture, (H, W, 3) uint8 RGB or (H, W) uint8 or uint16, as a PNG; other threads run meanwhile.

    Raises:
        OSError: the file cannot be written.
    """
    channels = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else np.ascontiguousarray(picture)
    _, contents = cv2.imencode(".png", channels)
    path.write_bytes(contents.data)


@contextmanager
def picture_stack(
    file: Path, dataset: str, folder: Path, names: Sequence[str], scalars: Mapping[str, np.ndarray] | None = None
) -> Iterator[Callable[[int, np.ndarray], None]]:
    """Yield a function ``write(index, picture)``, which any thread may call, for (H, W) uint8 or uint16 pictures.

    The files appear when the block ends well, the folder last: where it is there, the HDF5 file is, too.

    Args:
        file: path of the HDF5 file.
        dataset: name of its array (len(names), H, W), each picture of which is a compressed chunk.
        folder: path of the folder of PNGs.
        names: file names of the PNGs, one a picture.
        scalars: further datasets of the HDF5 file, by name.

    Raises:
        InputError: a file cannot be written.
    """
    chunks: dict[int, tuple[np.ndarray, bytes]] = {}  # each with an empty array of its shape and type
    with atomic_path(folder) as pictures:
        pictures.mkdir()

        def write(index: int, picture: np.ndarray) -> None:
            # HDF5 itself would compress one picture at a time, whatever the number of threads.
            deflated = zlib.compress(np.ascontiguousarray(picture).data, _DEFLATE_LEVEL)
            chunks[index] = np.empty((0, *picture.shape), picture.dtype), deflated
            write_png(pictures / names[index], picture)

        yield write
        _write_chunks(file, dataset, [chunks[index] for index in range(len(names))], scalars or {})


def _write_chunks(
    path: Path, name: str, chunks: Sequence[tuple[np.ndarray, bytes]], scalars: Mapping[str, np.ndarray]
) -> None:
    kind, buffer = chunks[0][0], io.BytesIO()
    with h5py.File(buffer, "w") as file:
        shape = kind.shape[1:]
        stack = file.create_dataset(
            name,
            (len(chunks), *shape),
            kind.dtype,
            chunks=(1, *shape),
            compression="gzip",
            compression_opts=_DEFLATE_LEVEL,
        )
        for index, (_, deflated) in enumerate(chunks):
            stack.id.write_direct_chunk((index, 0, 0), deflated)
        for key, value in scalars.items():
            file.create_dataset(key, data=value)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
