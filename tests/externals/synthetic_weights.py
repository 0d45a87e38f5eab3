"""Weights for tests, made from the published names and shapes of a model's tensors and a seed.

The goldens were computed with the same weights: each tensor depends on its name, its shape and the seed alone.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

Shapes = Mapping[str, Sequence[int]]


def make_weights(
    shapes: Shapes,
    seed: int = 0,
    constants: Mapping[str, float] | None = None,
    factors: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray]:
    """Return the tensors of a model by their published names.

    Args:
        shapes: by name.
        constants: what the tensors of these names are filled with (a golden's ``set_rules``).
        factors: what tensors are multiplied by whose names end like this (``scale_rules``).
    """
    weights = {name: make_tensor(name, shape, seed) for name, shape in shapes.items()}
    for name, value in (constants or {}).items():
        weights[name] = np.full_like(weights[name], value)
    for ending, factor in (factors or {}).items():
        for name in weights:
            if name.endswith(ending):
                weights[name] = weights[name] * np.float32(factor)
    return weights


def make_tensor(name: str, shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Return one tensor, float32 (int64 for a count of batches), so scaled that activations neither grow nor vanish."""
    shape = tuple(int(size) for size in shape)
    kind = name.rsplit(".", 1)[-1]
    if kind == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    digest = hashlib.sha256(f"{seed}|{name}|{','.join(str(size) for size in shape)}".encode()).digest()
    # RandomState: its numbers are the same in every version of NumPy.
    normal = np.asarray(np.random.RandomState(int.from_bytes(digest[:4], "little")).standard_normal(shape))
    if kind == "running_var":
        values = 1.0 + 0.2 * np.abs(normal)
    elif kind == "running_mean":
        values = 0.1 * normal
    elif len(shape) == 1 and kind == "bias":
        values = 0.05 * normal
    elif len(shape) <= 1:
        values = 1.0 + 0.1 * normal
    else:
        values = normal / np.sqrt(max(np.prod(shape[1:]), 1))
    return np.asarray(values, np.float32)
