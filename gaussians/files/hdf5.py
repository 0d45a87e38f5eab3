"""Write HDF5 files of arrays whole, optionally compressed and with checksums; read them with errors in one line."""

import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import torch

from gaussians.files.storage_options import Compression
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError

MAX_UNSTORED = 128 * 2**20
"""The size of a dataset, bytes, that is read however little of it the file stores."""
MAX_RATIO = 200
"""How many times as large as what the file stores of it a larger dataset may be."""

_CHUNK_BYTES = 1 << 20
_FILTERS: dict[str, dict[str, Any]] = {
    "fletcher32": {},
    "gzip": {"compression": "gzip", "compression_opts": 4, "shuffle": True},
    # This filter shuffles bytes by itself; higher levels save only one or two per cent more.
    "blosc-zstd": dict(hdf5plugin.Blosc("zstd", clevel=3, shuffle=hdf5plugin.Blosc.SHUFFLE)),
}


def storage(array: np.ndarray, compression: Compression) -> dict[str, Any]:
    """Return the arguments of ``h5py.Group.create_dataset`` that store ``array`` so, in chunks of about 1 MiB."""
    if compression == "none" or not array.size:
        return {}
    # All chunks get about the same number of rows, since HDF5 stores the last one filled up.
    rows = math.ceil(len(array) / math.ceil(array.nbytes / _CHUNK_BYTES))
    return {"chunks": (rows, *array.shape[1:]), "fletcher32": True} | _FILTERS[compression]


def write_hdf5(
    path: str | Path, datasets: Mapping[str, np.ndarray], compression: Compression = "none", **settings: Any
) -> None:
    """Write an HDF5 file of ``datasets``, atomically.

    Args:
        datasets: the arrays by name.
        compression: see ``Compression``; numbers without dimensions are stored as they are.
        settings: further arguments of ``h5py.Group.create_dataset`` for arrays with dimensions, such as chunks.

    Raises:
        InputError: the file cannot be written.
    """
    # Build the file in memory first, because HDF5 crashes where a disk is full.
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for key, array in datasets.items():
            file.create_dataset(key, data=array, **((storage(array, compression) | settings) if array.ndim else {}))
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file to read from it inside the block.

    Raises:
        InputError: the file is missing, or HDF5 finds something wrong with it.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise InputError(f"{path}: truncated or damaged HDF5 file: {error}") from None


def dataset_of(path: Path, name: str, file: h5py.File) -> h5py.Dataset:
    """Return the dataset ``name`` of an open file without reading its values.

    Raises:
        InputError: there is no such dataset, its values lie in another file, or it holds anything but real numbers.
    """
    if isinstance(file.get(name, getlink=True), h5py.ExternalLink | h5py.SoftLink):
        raise InputError(f"{path}: {name}: expected a dataset of this file, found a link")
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise InputError(f"{path}: no dataset {name!r}")
    if dataset.external or dataset.is_virtual:
        raise InputError(f"{path}: {name}: expected values in this file, found a reference to another file")
    if dataset.dtype.kind not in "fiu" or dataset.shape is None:
        raise InputError(f"{path}: {name}: expected real numbers, found {dataset.dtype}")
    return dataset


def check_size(path: Path, name: str, dataset: h5py.Dataset, rows: int | None = None) -> None:
    """Refuse a dataset that is far larger than what the file stores of it, before memory is allocated for it.

    That is the size of its values, or of ``rows`` of its rows, or of a chunk. Compressed, as much as
    ``MAX_UNSTORED`` bytes and ``MAX_RATIO`` times the stored bytes are read.

    Raises:
        InputError: it is larger.
    """
    declared = dataset.nbytes if rows is None else dataset.nbytes // max(len(dataset), 1) * rows
    declared = max(declared, math.prod(dataset.chunks or ()) * dataset.dtype.itemsize)
    stored = min(dataset.id.get_storage_size(), path.stat().st_size)
    if declared > max(MAX_UNSTORED, MAX_RATIO * stored):
        raise InputError(f"{path}: {name}: {declared} bytes declared, of which the file holds {stored}")


def values_of(path: Path, name: str, dataset: h5py.Dataset) -> torch.Tensor:
    """Return a dataset's values as float32.

    Raises:
        InputError: its bytes do not fit their checksum or cannot be decompressed, it is far larger than the file, or a
            value is not finite.
    """
    check_size(path, name, dataset)
    try:
        with np.errstate(over="ignore"):  # a float64 past float32's range becomes inf, which is reported
            array = np.asarray(dataset, dtype=np.float32)
    except OSError as error:
        reason = "its bytes do not fit their checksum" if dataset.fletcher32 else "its bytes cannot be read"
        raise InputError(f"{path}: {name}: truncated or damaged HDF5 file: {reason} ({error})") from None
    if not np.isfinite(array).all():
        raise InputError(f"{path}: {name}: expected finite values")
    return torch.from_numpy(array)


def read_values(path: Path, name: str) -> torch.Tensor:
    """Return the values of the dataset ``name`` of a file as float32.

    Raises:
        InputError: the file is missing or damaged, or has no such dataset of real, finite numbers.
    """
    with open_hdf5(path) as file:
        return values_of(path, name, dataset_of(path, name, file))
