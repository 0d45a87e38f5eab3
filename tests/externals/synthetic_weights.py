"""Weights for tests, made from the published names and shapes of a model's tensors and a seed.

The goldens were computed with the same weights: each tensor depends on its name, its shape and the seed alone.
"""

import hashlib
import math
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


# Of weights before the outputs of heads, on a standard deviation of 1 / sqrt(number of inputs).
_PI3_GAINS = {
    "point_head.proj.weight": 0.12,
    "conf_head.proj.weight": 0.25,
    "camera_head.fc_t.weight": 2.0,
    "camera_head.fc_rot.weight": 4.0,
    "feature_head.down_proj.weight": 0.7,
}
_PI3_CONSTANTS = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}


def make_pi3_tensor(name: str, shape: Sequence[int], salt: str = "") -> np.ndarray:
    """Return one tensor of Pi3_splat by its published name: uniform values, of which no head saturates."""
    kind = name.rsplit(".", 1)[-1]
    if kind in _PI3_CONSTANTS:
        return np.reshape(np.float32(_PI3_CONSTANTS[kind]), shape)
    if kind == "num_batches_tracked":
        return np.full(shape, 100, np.int64)
    inputs = math.prod(shape[1:])
    if name.endswith("upsample_proj.model.15.weight"):  # transposed, of a stride that is the kernel's size
        inputs = shape[0]
    gain = next((gain for ending, gain in _PI3_GAINS.items() if name.endswith(ending)), 1.0)
    mean, deviation = 0.0, gain / math.sqrt(inputs)
    if kind == "running_var":
        mean, deviation = 1.0, 0.25
    elif kind == "gamma":
        mean, deviation = 0.3, 0.1
    elif "token" in kind or kind == "pos_embed":
        deviation = 0.3
    elif kind in ("running_mean", "bias"):
        deviation = 0.1
    elif len(shape) == 1:
        mean, deviation = 1.0, 0.1
    # The raw numbers of the generator, whose stream is fixed, as two halves each.
    seed = int.from_bytes(hashlib.sha256(f"{salt}|{name}".encode()).digest()[:8], "big")
    count = math.prod(shape)
    halves = np.random.PCG64(seed).random_raw((count + 1) // 2).astype("<u8").view("<u4")[:count]
    uniform = (halves >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
    unit = (uniform - np.float32(0.5)) * np.float32(math.sqrt(12))
    return (np.float32(mean) + np.float32(deviation) * unit).reshape(shape)
