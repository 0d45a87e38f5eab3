"""Read the limits that Linux sets for groups of processes, such as those of a container or of a Slurm job."""

from collections.abc import Iterator
from pathlib import Path

_MOUNTED = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def cpu_quotas(mounted: Path = _MOUNTED, own: Path = _OWN) -> Iterator[float]:
    """Yield how many cores each control group that this process is in, or is below, may use at a time.

    Args:
        mounted: where the control groups' file systems are.
        own: file that names this process's groups, one a line: number, controllers, path.
    """
    for folder in _groups("cpu", mounted, own):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        quota, period = quota or _read(folder / "cpu.cfs_quota_us"), period or _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):  # -1 and "max" stand for none
            yield int(quota) / int(period)


def free_memory_of_groups(mounted: Path = _MOUNTED, own: Path = _OWN) -> Iterator[int]:
    """Yield how many bytes each control group that this process is in, or is below, may still take."""
    for folder in _groups("memory", mounted, own):
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            most, taken = _read(folder / limit), _read(folder / used)
            if most.isdecimal() and taken.isdecimal():
                yield max(0, int(most) - int(taken) + _cached(folder))


def _cached(folder: Path) -> int:
    """Return how many bytes of a group's memory are copies of files, which make room where it is needed."""
    counts = dict(line.rpartition(" ")[::2] for line in _read(folder / "memory.stat").splitlines())
    return sum(int(counts.get(name) or 0) for name in ("inactive_file", "total_inactive_file"))


def _groups(controller: str, mounted: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of this process's groups of a controller, in both versions of control groups."""
    for line in _read(own).splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        below = Path(path.lstrip("/"))
        for group in (below, *below.parents):  # the last one is "."
            yield (mounted / controllers if controllers else mounted) / group


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # there is no such group or limit, or no Linux
        return ""
