"""Mark files with the process that writes them, on this machine and on others that share the files."""

import hashlib
import os
from functools import cache
from pathlib import Path


def own_mark() -> str:
    """Return ``<machine>-<process number>-<start>``, a part of file names that no other process ever has."""
    return f"{_machine()}-{os.getpid()}-{_start(os.getpid())}"


def is_alive(mark: str) -> bool | None:
    """Return whether the process of ``own_mark`` still runs; None if it ran on another machine, which we cannot ask.

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
    # Machines may share a host name, and each container of a machine counts its processes from 1: the boot and the
    # namespace are parts of the name. After a reboot a machine is another one.
    namespace, boot = Path("/proc/self/ns/pid"), Path("/proc/sys/kernel/random/boot_id")
    inode = namespace.stat().st_ino if namespace.exists() else 0
    since = boot.read_text().strip() if boot.exists() else ""
    return hashlib.sha256(f"{os.uname().nodename} {since} {inode}".encode()).hexdigest()[:8]


def _start(pid: int) -> str | None:
    """Return when a process began, as hexadecimal digits; None if there is none.

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
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the program's name may hold spaces
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in "ZX":  # it has ended, and its parent has not asked for its status yet
        return None
    return f"{int(fields[19]):x}"  # ticks since the boot
