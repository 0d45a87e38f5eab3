"""Starting Warp quietly."""

import ctypes
import os
from functools import cache

import warp as wp


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
    """
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
