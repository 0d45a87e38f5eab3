"""Start Warp quietly, and run its kernels between PyTorch's."""

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import warp as wp

from gaussians.stage.memory import check_address_space

_ADDRESSES = 2**30  # bytes; loading takes 360 MiB, compiling and running the largest kernels 500 MiB


def _has_cuda_driver() -> bool:
    for name in ("libcuda.so.1", "libcuda.so"):
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


@cache
def start_warp() -> None:
    """Start Warp without its banner, and on machines without a GPU without its remark about the missing driver.

    To be called before Warp is first used; later calls do nothing.

    Raises:
        InputError: ``ulimit -v`` leaves less than Warp needs, which would end in a crash.
    """
    check_address_space(_ADDRESSES, "Warp")
    wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)
    if _has_cuda_driver():
        wp.init()
        return
    # Warp's C code writes the remark straight to standard error, and no setting silences it.
    standard_error, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        wp.init()
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
        os.close(null)


def as_array(tensor: torch.Tensor, dtype: Any) -> Any:
    """Return a ``wp.array`` of the tensor, in its memory if contiguous and of that type, else a copy; no gradients.

    Args:
        dtype: Warp's, of 4-byte floats but for ``wp.bool`` and integers, which the tensor has to be already.
    """
    start_warp()
    tensor = tensor.detach()
    if tensor.is_floating_point():
        tensor = tensor.float()
    return wp.from_torch(tensor.contiguous(), dtype=dtype, requires_grad=False)


def launch(kernel: wp.Kernel, threads: int | tuple[int, ...], arguments: Sequence[Any], device: torch.device) -> None:
    """Run a kernel, on a GPU in PyTorch's current stream."""
    start_warp()
    stream = wp.stream_from_torch(torch.cuda.current_stream(device)) if device.type == "cuda" else None
    wp.launch(kernel, threads, arguments, device=wp.device_from_torch(device), stream=stream)
