"""Marks by which a process is known again, on this machine and on others that share its files."""

import hashlib
import os
from functools import cache
from pathlib import Path


def own_mark() -> str:
    """A text for names of files, ``<machine>-<process number>-<start>``, that no other process ever has."""
    return f"{_machine()}-{os.getpid()}-{_start(os.getpid())}"


def is_alive(mark: str) -> bool | None:
    """Whether the process of ``own_mark`` still runs; None if it ran on another machine, which we cannot ask.

    A number that another process got since is not mistaken for it. What is no mark belongs to nobody.
    """
    parts = mark.split("-")
    if len(parts) != 3 or not parts[1].isdecimal():
        return False
    machine, number, start = parts
    if machine != _machine():
        return None
    return _start(int(number)) == start


@cache
def _machine() -> str:
    # Containers of one machine count processes from 1, each for itself.
    namespace = Path("/proc/self/ns/pid")
    inode = namespace.stat().st_ino if namespace.exists() else 0
    return hashlib.sha256(f"{os.uname().nodename} {inode}".encode()).hexdigest()[:8]


def _start(pid: int) -> str | None:
    """When a process began, as hexadecimal digits that differ after a reboot too; None if there is no such process.

    Where there is no /proc, all running processes give the same.
    """
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "0"
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name before it may hold spaces
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in "ZX":  # ended, and its parent has not asked yet
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    return hashlib.sha256(f"{boot} {fields[19]}".encode()).hexdigest()[:8]
