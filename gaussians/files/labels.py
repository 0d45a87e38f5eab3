"""Label files: the object of each Gaussian, in NumPy's .npy format."""

from pathlib import Path

import numpy as np
import torch

from gaussians.stage.errors import InputError


def read_labels(path: str | Path) -> torch.Tensor:
    """An .npy file of object labels, (N,) int32.

    Raises:
        InputError: the file is missing, damaged, or holds anything but whole numbers in one dimension.
    """
    try:
        labels = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # a damaged header goes through Python's own parser, which has many
        raise InputError(f"{path}: not a readable .npy file: {error}") from None
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{path}: expected one whole number for each Gaussian")
    return torch.from_numpy(labels.astype(np.int32))
