"""Download the published dataset, or the pretrained models that reconstruction uses.

  dataset      GSCollision, about 4 TB in all: name the folders or files you want, such as objects or mpm/3_0.
               They go below --data_root as they are published.
  checkpoints  the models named, or those that --list calls default. They go below --root, to the folders where the
               published system has them. Each has a licence, which is shown first; where it is not open to
               everybody, --accept_licence says that you have read it and accept it.

It can be interrupted and run again at any time, and goes on with what is there in part. Each file is checked against
its checksum before it gets its name. What is complete is not downloaded again.

Hugging Face's own settings hold: HF_ENDPOINT for a mirror, HF_TOKEN or `hf auth login` where access is restricted.

Examples:
  python -m tools.download checkpoints --list
  python -m tools.download checkpoints sam2 pi3_splat
  python -m tools.download dataset objects backgrounds mpm/3_9 --dry_run
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from dataset.layout import add_data_root
from externals.weights import WEIGHTS, WebFile
from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError

_NAME = 18  # characters of a model's name in a list


@dataclass(frozen=True)
class DownloadSettings:
    """A ``DownloadSettings`` says what to download, and where it goes.

    Attributes:
        what: "dataset" or "checkpoints".
        names: folders or files of the dataset, or models; none for all, or the models that are default.
        root: the directory below which the files go.
        list: whether to say what there is, and end.
        accept_licence: whether licences are accepted that must be.
        dry_run: whether to say what would be downloaded, and end.
        verify: whether to check the checksums of complete files too.
        jobs: files at a time.
        timeout: seconds without a byte after which a connection is given up.
    """

    what: str
    names: tuple[str, ...]
    root: Path
    list: bool
    accept_licence: bool
    dry_run: bool
    verify: bool
    jobs: int
    timeout: float


def parse_settings() -> DownloadSettings:
    """Parse the command line.

    Raises:
        InputError: a name is no model's.
    """
    parser = ArgumentParser(__doc__)
    parser.add_argument("what", choices=("dataset", "checkpoints"))
    parser.add_argument("names", nargs="*", help="folders or files of the dataset, or models")
    add_data_root(parser)
    parser.add_argument("--root", type=Path, help="directory below which the models go (default: .)")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    parser.add_argument(
        "--accept_licence", action="store_true", help="accept the licences of the models named, where they must be"
    )
    parser.add_argument("--dry_run", action="store_true", help="say what would be downloaded, and end")
    parser.add_argument("--verify", action="store_true", help="check the checksums of complete files too")
    parser.add_argument("--jobs", type=_positive, default=4, help="number of files to download at a time")
    parser.add_argument("--timeout", type=_seconds, default=30.0, help="seconds without a byte before trying again")
    arguments = parser.parse_args()
    for name in arguments.names if arguments.what == "checkpoints" else ():
        if name not in WEIGHTS:
            raise InputError(f"{name}: no such model: expected any of {', '.join(WEIGHTS)}")
    if arguments.what == "dataset" and arguments.root is not None:
        raise InputError("--root: says where models go: for the dataset, expected --data_root")
    return DownloadSettings(
        what=arguments.what,
        names=tuple(arguments.names),
        root=(arguments.root or Path()) if arguments.what == "checkpoints" else arguments.data_root,
        list=arguments.list,
        accept_licence=arguments.accept_licence,
        dry_run=arguments.dry_run,
        verify=arguments.verify,
        jobs=arguments.jobs,
        timeout=arguments.timeout,
    )


def main() -> None:
    settings = parse_settings()
    if settings.list and settings.what == "checkpoints":
        print("\n".join(_describe(name) for name in WEIGHTS))
        print("Name those to download; with --dry_run their files, sizes and links are listed.")
        return

    from tools.downloads.http_download import RetryPolicy, is_complete
    from tools.downloads.jobs import amount, check_space, checkpoint_jobs, dataset_jobs, describe_dataset, download_all

    policy = RetryPolicy(settings.timeout)
    if settings.list:
        print("\n".join(describe_dataset(policy)))
        return
    if settings.what == "checkpoints":
        names = settings.names or [name for name, weights in WEIGHTS.items() if weights.by_default]
        print("\n".join(_describe(name) for name in names))
        if not (settings.dry_run or settings.accept_licence):
            _check_licences(names)
        jobs = checkpoint_jobs([WEIGHTS[name] for name in names], settings.root, policy)
    else:
        jobs = dataset_jobs(settings.names, settings.root, policy)
    missing = [job for job in jobs if not is_complete(job.remote, job.path, settings.verify)]
    done = len(jobs) - len(missing)
    if settings.dry_run:
        for job in missing:
            print(f"{amount(job.remote.size)}  {job.path}  {job.remote.url}")
        print(f"{len(missing)} files would be downloaded, {done} are complete")
        return
    check_space(missing, settings.root)
    download_all(missing, settings.jobs, policy)
    print(f"{settings.root}: {len(missing)} files downloaded, {done} were complete")


def _describe(name: str) -> str:
    """Return lines that say what a model is for, who may use it, where its files go, and who has them."""
    weights = WEIGHTS[name]
    folders = dict.fromkeys(
        f"{PurePosixPath(part.path).parent if isinstance(part, WebFile) else part.path}/" for part in weights.parts
    )
    servers = dict.fromkeys(
        urlsplit(part.url).netloc if isinstance(part, WebFile) else f"huggingface.co/{part.repo_id}"
        for part in weights.parts
    )
    lines = [
        weights.role,
        f"{weights.size:.2g} GB{', default' if weights.by_default else ''}",
        *(f"licence {licence.name}: {licence.terms} {licence.url}".rstrip() for licence in weights.licences),
        f"to {', '.join(folders)}",
        f"from {', '.join(servers)}",
    ]
    return f"{name:<{_NAME}}" + f"\n{'':{_NAME}}".join(lines)


def _check_licences(names: Sequence[str]) -> None:
    """Refuse to download what has a licence to accept.

    Raises:
        InputError: a model of ``names`` has.
    """
    for name in names:
        for licence in WEIGHTS[name].licences:
            if licence.to_accept:
                raise InputError(
                    f"{name}: for {licence.terms}: read its licence ({licence.url}), and say so with --accept_licence"
                )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds over 0, found {text!r}")
    return seconds


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


if __name__ == "__main__":
    run(main)
