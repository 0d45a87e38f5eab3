"""Choose the files to download, and download several at a time."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

from tqdm import tqdm

from externals.weights import HubFiles, WebFile, Weights
from gaussians.stage.errors import InputError
from tools.downloads.http_download import RemoteFile, RetryPolicy, download, partial_path
from tools.downloads.hub_listing import hub_files

DATASET = HubFiles("lishiqianhugh/GSCollision", "", repo_type="dataset")


@dataclass(frozen=True)
class Download:
    """A ``Download`` is a file to download, and where it goes."""

    remote: RemoteFile
    path: Path


def checkpoint_jobs(models: Sequence[Weights], root: Path, policy: RetryPolicy) -> list[Download]:
    """Return the files of ``models``; one that several of them have comes once."""
    jobs: dict[Path, Download] = {}
    for model in models:
        for part in model.parts:
            if isinstance(part, WebFile):
                path = root / part.path
                jobs[path] = Download(RemoteFile(part.url, None, part.checksum), path)
            else:
                for name, remote in hub_files(part, policy):
                    path = root / part.path / name
                    jobs[path] = Download(remote, path)
    return list(jobs.values())


def dataset_jobs(names: Sequence[str], root: Path, policy: RetryPolicy) -> list[Download]:
    """Return the files of the dataset that are called, or lie in folders or archives called, as ``names`` say; or all.

    Raises:
        InputError: a name fits no file.
    """
    files = list(hub_files(DATASET, policy))
    wanted = [name.strip("/") for name in names]
    for name in wanted:
        if not any(_is_within(file, name) for file, _ in files):
            raise InputError(f"{name}: nothing of the dataset is called so; --list says what there is")
    return [
        Download(remote, root / DATASET.path / file)
        for file, remote in files
        if not wanted or any(_is_within(file, name) for name in wanted)
    ]


def _is_within(file: str, name: str) -> bool:
    return file == name or file.startswith((f"{name}/", f"{name}."))


def check_space(jobs: Sequence[Download], root: Path) -> None:
    """Refuse to begin what does not fit.

    Raises:
        InputError: the disk has less room than ``jobs`` are known to need.
    """
    needed = sum((job.remote.size or 0) - _present(job) for job in jobs)
    free = free_space(root)
    if needed > free:
        raise InputError(f"{root}: {amount(needed)} needed, {amount(free)} free; name fewer parts")


def free_space(path: Path) -> int:
    """Return the free bytes of the disk on which ``path`` is or will be."""
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def _present(job: Download) -> int:
    partial = partial_path(job.path)
    return min(partial.stat().st_size, job.remote.size or 0) if partial.is_file() else 0


def download_all(jobs: Sequence[Download], threads: int, policy: RetryPolicy) -> None:
    """Download several files at a time; one that fails does not keep the others.

    Raises:
        InputError: some have failed; the message has the first reason.
    """
    known = all(job.remote.size is not None for job in jobs)
    total = sum(job.remote.size or 0 for job in jobs) if known else None
    errors: list[InputError] = []
    # The pool's threads are daemons: whoever interrupts a connection that has stalled need not wait for its end.
    with (
        tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024, disable=not jobs) as bar,
        ThreadPool(threads) as pool,
    ):

        def fetch(job: Download) -> None:
            try:
                download(job.remote, job.path, policy, bar.update)
            except InputError as error:
                errors.append(error)

        for number, _ in enumerate(pool.imap_unordered(fetch, jobs), 1):
            bar.set_description(f"{number}/{len(jobs)} files")
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise InputError(f"{len(errors)} of {len(jobs)} files failed; the first: {errors[0]}")


def describe_dataset(policy: RetryPolicy) -> list[str]:
    """Return a line for each folder and file at the top of the dataset, one for each folder in those, and the sum.

    A line has the size, the number of files and the name.
    """
    groups: dict[str, list[int]] = {}
    for file, remote in hub_files(DATASET, policy):
        parts = file.split("/")
        for depth in (0, 1, 2):
            folder = "/".join(parts[:depth]) + ("/" if len(parts) > depth else "")
            if depth < 2 or len(parts) > 2:
                groups.setdefault(folder, []).append(remote.size or 0)
    whole = groups.pop("/", [])
    lines = [_line(sizes, "  " * (name.rstrip("/").count("/")) + name) for name, sizes in sorted(groups.items())]
    return [*lines, _line(whole, "in all; name the folders or files to download")]


def _line(sizes: Sequence[int], name: str) -> str:
    return f"{amount(sum(sizes))} in {len(sizes):7,} {'files' if len(sizes) != 1 else 'file '}  {name}"


def amount(size: int | None) -> str:
    """Return a number of bytes for people, ten characters wide."""
    if size is None:
        return " size open"
    value, units = float(size), ["TiB", "GiB", "MiB", "KiB", "B"]
    while value >= 1000 and len(units) > 1:
        value /= 1024
        units.pop()
    return f"{value:.4g} {units[-1]}".rjust(10)
