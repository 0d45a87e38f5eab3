"""Read label files, which say in NumPy's .npy format which object each Gaussian belongs to."""

from pathlib import Path

import numpy as np
import torch

from gaussians.stage.errors import InputError

_INT32 = np.iinfo(np.int32)


def read_labels(path: str | Path) -> torch.Tensor:
    """Read an .npy file of whole numbers, one for each Gaussian, as (N,) int32.

    Raises:
        InputError: the file is missing, damaged, or holds anything but whole numbers of 32 bits in one dimension.
    """
    try:
        # A file that declares more than it holds cannot be mapped, so that nothing is allocated for it.
        labels = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # NumPy parses the header as Python, which raises many kinds
        raise InputError(f"{path}: not a readable .npy file: {error}") from None
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{path}: expected one whole number for each Gaussian")
    return torch.from_numpy(int32_labels(str(path), labels))


def int32_labels(where: str, labels: np.ndarray) -> np.ndarray:
    """Return labels (N,) of any type of whole numbers as int32.

    Args:
        where: what the message of an error begins with.

    Raises:
        InputError: int32 does not hold one of them.
    """
    outside = np.flatnonzero((labels < _INT32.min) | (labels > _INT32.max))
    if len(outside):
        row = outside[0]
        raise InputError(f"{where}: expected labels of 32 bits, found {labels[row]} in row {row}")
    return labels.astype(np.int32)
