"""Choose how many threads a command computes with, and let those that have nothing to do sleep.

PyTorch's threads (OpenMP's) meet after every operation. As they come, they spin for some milliseconds while they wait
for the last one. Where another program has its core, all of them wait, again and again, at full load: beside two busy
programs on two cores a prediction takes ten times as long as with one thread. Asleep, they cost nobody anything.
"""

import os
from functools import cache

from gaussians.stage.control_groups import cpu_quotas


@cache
def core_count() -> int:
    """Return the number of cores that this process may use at a time.

    That is what the least of these allows: its CPU affinity, the quota of its control groups (of a container, say), and
    the CPUs that Slurm gave its task.
    """
    counts = [len(os.sched_getaffinity(0)), *map(int, cpu_quotas())]
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
