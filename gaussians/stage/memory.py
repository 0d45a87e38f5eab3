"""Compare what will be allocated with the memory there is, before it is allocated.

Where memory is short Linux kills some process, without a word, long after it has promised the memory.
"""

import resource
from pathlib import Path

from gaussians.stage.control_groups import free_memory_of_groups
from gaussians.stage.errors import InputError


def free_memory() -> int:
    """Return how many bytes this process can still take, by the machine, its control groups, and ``ulimit -v``."""
    import psutil  # slow to import, and every command imports this module

    return min(psutil.virtual_memory().available, free_address_space(), *free_memory_of_groups())


def free_address_space() -> int:
    """Return how many bytes of addresses ``ulimit -v`` leaves to this process; a very large number without it."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return 2**62
    pages = Path("/proc/self/statm").read_text().split()[0]
    return max(0, limit - int(pages) * resource.getpagesize())


def check_address_space(needed: int, what: str) -> None:
    """Refuse to begin what would end in a crash, or hang, as libraries do that run out of addresses.

    Args:
        needed: bytes, at least.
        what: who needs them.

    Raises:
        InputError: ``ulimit -v`` leaves less.
    """
    if (left := free_address_space()) < needed:
        raise InputError(f"{what} needs {in_words(needed)} of addresses, of which `ulimit -v` leaves {in_words(left)}")


def check_memory(needed: float, what: str, free: int | None = None) -> None:
    """Refuse what takes more memory than there is.

    Args:
        needed: bytes, at least.
        what: the flag or setting that decides it, with its value.
        free: bytes that there are on another device; None: of this machine.

    Raises:
        InputError: it takes more than is free.
    """
    free = free_memory() if free is None else free
    if needed > free:
        raise InputError(f"{what}: takes at least {in_words(needed)} of memory, of which {in_words(free)} are free")


def in_words(size: float) -> str:
    """Return a number of bytes as a person reads it."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:,.0f} TiB" if size >= 1000 else f"{size:.3g} TiB"
