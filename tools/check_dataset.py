"""Check every file of a dataset against docs/formats.md: a dataset made here, or the published one.

It looks at objects, backgrounds, scene configs and, scene by scene, at the Gaussians, trajectories, initial views,
videos and reconstructions: whether every file can be read to its last byte, has the shapes, types and ranges that the
page gives, and fits the others of its scene. Apart from defects it names what killed runs left and what the page does
not know. --require demands stages of every scene that a scene config names.

The exit status is 0 where there is no defect, 1 where there is one, 2 for bad usage.

Examples:
  python -m tools.check_dataset data/GSCollision
  python -m tools.check_dataset data/GSCollision --quick --require scenes,mpm,dynamic --jobs 16
  python -m tools.check_dataset data/GSCollision --groups 2,3_0 --shard 0/4
"""

import sys
from argparse import ArgumentTypeError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from dataset.layout import STAGES
from gaussians.stage.command_line import ArgumentParser, run, take_shard
from gaussians.stage.errors import InputError
from gaussians.stage.threads import core_count

if TYPE_CHECKING:
    from tools.checks.findings import Findings

_SHOWN = 20


@dataclass(frozen=True)
class CheckSettings:
    """A ``CheckSettings`` says what to check, and how thoroughly.

    Attributes:
        root: root of the dataset.
        groups: the groups of scenes to look at; None for all.
        require: the stages that every configured scene must have gone through.
        quick: whether to read the first and last frame or picture of each clip only.
        jobs: number of processes.
        shard: (i, n), for every n-th scene from the i-th on.
    """

    root: Path
    groups: list[str] | None
    require: tuple[str, ...]
    quick: bool
    jobs: int
    shard: tuple[int, int]


def parse_settings() -> CheckSettings:
    """Parse the command line.

    Raises:
        InputError: the number of processes is not positive.
    """
    parser = ArgumentParser(__doc__)
    parser.add_argument("root", type=Path, help="root of the dataset")
    parser.add_argument(
        "--groups", type=lambda text: text.split(","), help="only these groups of scenes (default: all)"
    )
    parser.add_argument(
        "--require",
        type=_stages,
        default=[],
        metavar=",".join(STAGES),
        help="stages whose files every configured scene must have",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="read the first and last frame or picture of each clip only, and believe the videos' indices",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=core_count(),
        help="processes; with several, a library that crashes on damaged data is a defect, not the end of the check",
    )
    parser.add_shard()
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        raise InputError(f"--jobs: expected 1 or more, found {arguments.jobs}")
    return CheckSettings(
        root=arguments.root,
        groups=arguments.groups,
        require=tuple(arguments.require),
        quick=arguments.quick,
        jobs=arguments.jobs,
        shard=arguments.shard,
    )


def _stages(text: str) -> tuple[str, ...]:
    stages = tuple(text.split(","))
    if not set(stages) <= set(STAGES):
        raise ArgumentTypeError(f"expected any of {','.join(STAGES)}, found {text!r}")
    return stages


def main() -> None:
    settings = parse_settings()

    from tools.checks.check_pool import check_all
    from tools.checks.dataset_walk import DatasetTree

    tree = DatasetTree(settings.root, settings.groups)
    scenes = take_shard(tree.scenes(), settings.shard)
    checks = [] if settings.shard[0] else list(tree.checks_outside_scenes())
    checks += [tree.scene_check(group, scene, settings.require, settings.quick) for group, scene in scenes]
    results = tqdm(check_all(checks, settings.jobs), desc="check", total=len(checks), unit="place", disable=None)
    found = sorted(results, key=lambda findings: findings.order)
    report(found, settings.root)
    defects = sum(len(findings.defects) for findings in found)
    places = sum(bool(findings.defects) for findings in found)
    leftovers, unknown = (sum(len(getattr(f, kind)) for f in found) for kind in ("leftovers", "unknown"))
    verdict = f"{_counted(defects, 'defect')} in {_counted(places, 'place')}" if defects else "no defect"
    print(
        f"checked {_counted(len(scenes), 'scene')} and {_counted(len(checks) - len(scenes), 'other place')} of "
        f"{settings.root}: {verdict}, {_counted(leftovers, 'file')} that may be deleted, {unknown} that the format "
        "does not name"
    )
    sys.exit(1 if defects else 0)


def report(found: "list[Findings]", root: Path) -> None:
    """Print what was found, place by place."""
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


if __name__ == "__main__":
    run(main)
