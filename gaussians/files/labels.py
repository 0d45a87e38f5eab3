"""Read label files, which say in NumPy's .npy format which object each Gaussian belongs to."""

from pathlib import Path

import numpy as np
import torch

from gaussians.stage.errors import InputError


def read_labels(path: str | Path) -> torch.Tensor:
    """Read an .npy file of whole numbers, one for each Gaussian, as (N,) int32.

    Raises:
        InputError: the file is missing, damaged, or holds anything but whole numbers in one dimension.
    """
    try:
        labels = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # NumPy parses the header as Python, which raises many kinds
        raise InputError(f"{path}: not a readable .npy file: {error}") from None
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{path}: expected one whole number for each Gaussian")
    return torch.from_numpy(labels.astype(np.int32))
