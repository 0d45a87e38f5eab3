"""Choose how many threads a command computes with, and let those that have nothing to do sleep.

PyTorch's threads (OpenMP's) meet after every operation. As they come, they spin for some milliseconds while they wait
for the last one. Where another program has its core, all of them wait, again and again, at full load: beside two busy
programs on two cores a prediction takes ten times as long as with one thread. Asleep, they cost nobody anything.
"""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


@cache
def core_count() -> int:
    """Return the number of cores that this process may use at a time.

    That is what the least of these allows: its CPU affinity, the quota of its control groups (of a container, say), and
    the CPUs that Slurm gave its task.
    """
    counts = [len(os.sched_getaffinity(0)), *map(int, _quotas(_CGROUPS, Path("/proc/self/cgroup")))]
    tasks = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if tasks.isdecimal():
        counts.append(int(tasks))
    return max(1, min(counts))


def choose_threads() -> None:
    """Set the environment from which OpenMP's libraries take their settings, where a person has not.

    By themselves they heed the affinity, and leave out the second threads of cores. Call it before PyTorch is loaded:
    it has no effect afterwards.
    """
    if core_count() < len(os.sched_getaffinity(0)):
        os.environ.setdefault("OMP_NUM_THREADS", str(core_count()))
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _quotas(root: Path, own: Path) -> Iterator[float]:
    """Yield how many cores each control group that this process is in, or is below, may use at a time.

    Args:
        root: where the control groups' file systems are.
        own: file that names this process's groups, one a line: number, controllers, path.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # no Linux, or hidden
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        hierarchy = root / controllers if controllers else root
        below = [Path(path.lstrip("/")), *Path(path.lstrip("/")).parents]  # the last one is "."
        for folder in (hierarchy / group for group in below):
            try:
                if controllers:
                    quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
                else:
                    quota, period = (folder / "cpu.max").read_text().split()
                if float(quota) > 0:  # -1 and "max" stand for none
                    yield float(quota) / float(period)
            except (OSError, ValueError, ZeroDivisionError):
                continue
