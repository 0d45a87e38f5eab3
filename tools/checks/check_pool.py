"""Run checks in several processes, of which damaged data may crash one."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import torch

from tools.checks.findings import Check, Findings


def check_all(checks: Sequence[Check], jobs: int) -> Iterator[Findings]:
    """Yield the findings of ``checks``, as they come, from ``jobs`` processes; with one job, from this process."""
    if jobs == 1:
        yield from (check() for check in checks)
        return
    todo = list(checks)
    while todo:
        finished = set()
        with _pool(min(jobs, len(todo))) as pool:
            try:
                futures = {pool.submit(check): check for check in todo}
                for future in as_completed(futures):
                    yield future.result()
                    finished.add(futures[future].place)
            except BrokenProcessPool:
                pass  # a library crashed, which is sorted out below
            finally:
                pool.shutdown(cancel_futures=True)
        todo = [check for check in todo if check.place not in finished]
        # The check that crashed is among the first ones, which had begun. Run each of these in a process of its own.
        begun, todo = todo[: 2 * jobs + 1], todo[2 * jobs + 1 :]
        for check in begun:
            with _pool(1) as pool:
                try:
                    yield pool.submit(check).result()
                except BrokenProcessPool:
                    yield check.crashed()


def _pool(jobs: int) -> ProcessPoolExecutor:
    """Start processes with one core each, afresh: a forked copy of a process with threads would hang."""
    return ProcessPoolExecutor(jobs, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,))
