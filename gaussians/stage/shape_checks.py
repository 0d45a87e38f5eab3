"""Check shapes of tensors at the edge of a package."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def check_shape(name: str, tensor: "torch.Tensor | np.ndarray", *shape: int | str) -> None:
    """Raise ``ValueError`` unless ``tensor`` has ``shape``, in which strings name free sizes.

    >>> check_shape("means", torch.zeros(5, 3), "N", 3)
    """
    found = tuple(tensor.shape)
    fits = len(found) == len(shape) and all(
        isinstance(want, str) or want == have for want, have in zip(shape, found, strict=True)
    )
    if not fits:
        expected = ", ".join(str(size) for size in shape)
        raise ValueError(f"{name}: expected shape ({expected}), found {found}")
