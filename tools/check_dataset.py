"""Check every file of a dataset against docs/formats.md: a dataset made here, or the published one.

Looks at objects, backgrounds, scene configs and, scene by scene, at the Gaussians, trajectories, initial views, videos
and reconstructions: whether every file can be read to its last byte, has the shapes, types and ranges that the page
gives, and fits the others of its scene. Names what killed runs left and what the page does not know, apart from
defects. --require demands stages of every scene that a scene config names.

The exit status is 0 where there is no defect, 1 where there is one, 2 for bad usage.

Examples:
  python -m tools.check_dataset data/GSCollision
  python -m tools.check_dataset data/GSCollision --quick --require scenes,mpm,dynamic --jobs 16
  python -m tools.check_dataset data/GSCollision --groups 2,3_0 --shard 0/4
"""

import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from os import sched_getaffinity
from pathlib import Path

import torch
from tqdm import tqdm

from gaussians.stage.command_line import ArgumentParser, run, take_shard
from gaussians.stage.errors import InputError
from tools.checks.dataset_walk import STAGES, Tree
from tools.checks.findings import Check, Findings

_SHOWN = 20


def parse_stages(text: str) -> tuple[str, ...]:
    """Names of stages, separated by commas; for ``argparse``."""
    stages = tuple(text.split(","))
    if not set(stages) <= set(STAGES):
        raise ArgumentTypeError(f"expected any of {','.join(STAGES)}, found {text!r}")
    return stages


def parse_arguments() -> Namespace:
    parser = ArgumentParser(__doc__)
    parser.add_argument("root", type=Path, help="root of the dataset")
    parser.add_argument(
        "--groups", type=lambda text: text.split(","), help="only these groups of scenes (default: all)"
    )
    parser.add_argument(
        "--require",
        type=parse_stages,
        default=[],
        metavar=",".join(STAGES),
        help="what every configured scene must have",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="read the first and last frame or picture of each clip only, and believe the videos' indices",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=len(sched_getaffinity(0)),
        help="processes; each takes one scene at a time; a crash on damaged data ends 1, and is a defect with more",
    )
    parser.add_shard()
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        raise InputError(f"--jobs: expected 1 or more, found {arguments.jobs}")
    return arguments


def check_all(checks: Sequence[Check], jobs: int) -> Iterator[Findings]:
    """The findings of ``checks``, as they come, from ``jobs`` processes; with one job, from this one."""
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
                pass  # a library crashed: see below
            finally:
                pool.shutdown(cancel_futures=True)
        todo = [check for check in todo if check.place not in finished]
        # The check that crashed is among those that had begun, the first ones. Each gets a process of its own.
        begun, todo = todo[: 2 * jobs + 1], todo[2 * jobs + 1 :]
        for check in begun:
            with _pool(1) as pool:
                try:
                    yield pool.submit(check).result()
                except BrokenProcessPool:
                    yield check.crashed()


def _pool(jobs: int) -> ProcessPoolExecutor:
    """Processes with one core each, that start afresh: a forked copy of threads would hang."""
    return ProcessPoolExecutor(jobs, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,))


def report(found: list[Findings], root: Path) -> None:
    """Print what was found, by place."""
    for findings in found:
        _print_list(findings.place, findings.defects, root)
    _print_list("may be deleted:", [line for findings in found for line in findings.leftovers], root)
    _print_list("not in docs/formats.md:", [line for findings in found for line in findings.unknown], root)


def _print_list(title: str, lines: list[str], root: Path) -> None:
    if not lines:
        return
    print(title)
    for line in lines[:_SHOWN]:
        print(f"  {line.replace(f'{root}/', '')}")
    if len(lines) > _SHOWN:
        print(f"  and {len(lines) - _SHOWN} more")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def main() -> None:
    arguments = parse_arguments()
    tree = Tree(arguments.root, arguments.groups)
    scenes = take_shard(tree.scenes(), arguments.shard)
    checks = [] if arguments.shard[0] else list(tree.checks_outside_scenes())
    checks += [tree.scene_check(group, scene, arguments.require, arguments.quick) for group, scene in scenes]
    results = tqdm(check_all(checks, arguments.jobs), desc="check", total=len(checks), unit="place", disable=None)
    found = sorted(results, key=lambda findings: findings.order)
    report(found, arguments.root)
    defects = sum(len(findings.defects) for findings in found)
    places = sum(bool(findings.defects) for findings in found)
    leftovers, unknown = (sum(len(getattr(f, kind)) for f in found) for kind in ("leftovers", "unknown"))
    verdict = f"{_counted(defects, 'defect')} in {_counted(places, 'place')}" if defects else "no defect"
    print(
        f"checked {_counted(len(scenes), 'scene')} and {_counted(len(checks) - len(scenes), 'other place')} of "
        f"{arguments.root}: {verdict}, {_counted(leftovers, 'file')} that may be deleted, {unknown} that the format "
        "does not name"
    )
    sys.exit(1 if defects else 0)


if __name__ == "__main__":
    run(main)
