"""Run each perception model on arrays, by the names of the goldens: published weights in, arrays out.

All goes through the models' own classes: the weights are written as the published checkpoint has them, and read,
renamed and checked as a user's are.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

Arrays = dict[str, np.ndarray]
Weights = Mapping[str, Any]
"""Arrays by the published names of the tensors; of several networks such mappings, by the networks' names."""


def run(target: str, weights: Weights, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Return the outputs of a golden.

    Args:
        target: the golden's name, one of ``TARGETS``.
        weights: see ``Weights``.
        inputs: the golden's inputs, by its names.
    """
    if target not in TARGETS:
        raise ValueError(f"target: expected one of {', '.join(TARGETS)}, found {target!r}")
    return TARGETS[target](weights, inputs)


def as_tensors(weights: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Return the arrays of a checkpoint as tensors."""
    return {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}


def write_pickle(path: Path, contents: object) -> Path:
    """Write a checkpoint as PyTorch pickles it, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(contents, path)
    return path


def write_safetensors(path: Path, weights: Mapping[str, np.ndarray]) -> Path:
    """Write a checkpoint in the format safetensors, and return its path."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(as_tensors(weights), path)
    return path


TARGETS: dict[str, Callable[[Weights, Mapping[str, np.ndarray]], Arrays]] = {}
