"""Download the published dataset, or the pretrained models that reconstruction uses.

  dataset      GSCollision, about 4 TB in all: name the folders or files you want, such as objects or mpm/3_0.
               They go below --data_root as they are published.
  checkpoints  the models named, or all: superglue, osediff, pi3_splat, diffsplat_sd15, diffsplat_sd35, sam2.
               They go below --root, to the folders where the published system has them.

Can be interrupted and run again at any time: it goes on with what is there in part. Each file is checked against its
checksum before it gets its name. What is complete is not downloaded again.

Hugging Face's own settings hold: HF_ENDPOINT for a mirror, HF_TOKEN or `hf auth login` where access is restricted.

Examples:
  python -m tools.download checkpoints --list
  python -m tools.download checkpoints sam2 superglue
  python -m tools.download dataset objects backgrounds mpm/3_9 --dry_run
"""

import argparse
import queue
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from httpx2 import HTTPError, InvalidURL
from huggingface_hub import HfApi, RepoFile, get_token, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from tqdm import tqdm

from dataset.layout import add_data_root
from gaussians.stage.command_line import ArgumentParser, run
from gaussians.stage.errors import InputError
from tools.downloads.http_download import Checksum, Patience, RemoteFile, download, is_complete, partial_path
from tools.downloads.sources import CHECKPOINTS, DATASET, HubFiles, Source, WebFile


@dataclass(frozen=True)
class Job:
    """A file to download, and where it goes."""

    remote: RemoteFile
    path: Path


def main() -> None:
    parser = ArgumentParser(__doc__)
    parser.add_argument("what", choices=("dataset", "checkpoints"))
    parser.add_argument("names", nargs="*", help="folders or files of the dataset, or models")
    add_data_root(parser)
    parser.add_argument("--root", type=Path, default=Path(), help="where the folders of the models begin")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    parser.add_argument("--dry_run", action="store_true", help="say what would be downloaded, and end")
    parser.add_argument("--verify", action="store_true", help="check the checksums of complete files too")
    parser.add_argument("--jobs", type=_positive, default=4, help="files at a time")
    parser.add_argument(
        "--timeout", type=_seconds, default=Patience.timeout, help="seconds without a byte before trying again"
    )
    arguments = parser.parse_args()
    if arguments.what == "checkpoints":
        for name in arguments.names:
            if name not in CHECKPOINTS:
                raise InputError(f"{name}: no such model: expected any of {', '.join(CHECKPOINTS)}")
        root, sources = arguments.root, [CHECKPOINTS[name] for name in arguments.names or CHECKPOINTS]
        if arguments.list:
            print("\n".join(_describe(name, source) for name, source in CHECKPOINTS.items()))
            return
        jobs = checkpoint_jobs(sources, root)
    else:
        root = arguments.data_root
        if arguments.list:
            print("\n".join(describe_dataset(list(hub_files(DATASET)))))
            return
        jobs = dataset_jobs(arguments.names, root)
    missing = [job for job in jobs if not is_complete(job.remote, job.path, arguments.verify)]
    done = len(jobs) - len(missing)
    if arguments.dry_run:
        for job in missing:
            print(f"{_amount(job.remote.size)}  {job.path}  {job.remote.url}")
        print(f"{len(missing)} files would be downloaded, {done} are complete")
        return
    check_space(missing, root)
    download_all(missing, arguments.jobs, Patience(timeout=arguments.timeout))
    print(f"{root}: {len(missing)} files downloaded, {done} were complete")


def checkpoint_jobs(sources: Sequence[Source], root: Path) -> list[Job]:
    """The files of ``sources``; one that several of them have comes once."""
    jobs: dict[Path, Job] = {}
    for source in sources:
        for part in source.parts:
            if isinstance(part, WebFile):
                path = root / part.path
                jobs[path] = Job(RemoteFile(part.url, None, part.checksum), path)
            else:
                for name, remote in hub_files(part):
                    path = root / part.path / name
                    jobs[path] = Job(remote, path)
    return list(jobs.values())


def dataset_jobs(names: Sequence[str], root: Path) -> list[Job]:
    """The files of the dataset that are called, or lie in folders or archives called, as ``names`` say; or all.

    Raises:
        InputError: a name fits no file.
    """
    files = list(hub_files(DATASET))
    wanted = [name.strip("/") for name in names]
    for name in wanted:
        if not any(_is_within(file, name) for file, _ in files):
            raise InputError(f"{name}: nothing of the dataset is called so; --list says what there is")
    return [
        Job(remote, root / DATASET.path / file)
        for file, remote in files
        if not wanted or any(_is_within(file, name) for name in wanted)
    ]


def _is_within(file: str, name: str) -> bool:
    return file == name or file.startswith((f"{name}/", f"{name}."))


def hub_files(source: HubFiles) -> Iterator[tuple[str, RemoteFile]]:
    """Paths and contents of the files of ``source``, as its repository has them now.

    Raises:
        InputError: the repository is gone, restricted or out of reach; a file that the table knows has changed or is
            missing.
    """
    api, found = HfApi(), set()
    headers = {"Authorization": f"Bearer {token}"} if (token := get_token()) else {}
    where = f"{source.repo_id} on {api.endpoint}"
    try:
        # One commit for all: the repository may change meanwhile.
        revision = api.repo_info(source.repo_id, repo_type=source.repo_type).sha
        tree = api.list_repo_tree(source.repo_id, recursive=True, revision=revision, repo_type=source.repo_type)
        entries = [entry for entry in tree if isinstance(entry, RepoFile)]
    except (HfHubHTTPError, HTTPError, InvalidURL, OfflineModeIsEnabled, OSError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{where}: {first_line}") from None
    for entry in entries:
        if not any(fnmatchcase(entry.path, pattern) for pattern in source.patterns):
            continue
        if PurePosixPath(entry.path).is_absolute() or ".." in PurePosixPath(entry.path).parts:
            raise InputError(f"{where}: {entry.path}: leads out of the folder")
        checksum = Checksum("sha256", entry.lfs.sha256) if entry.lfs else Checksum("git_blob", entry.blob_id)
        known = source.sha256.get(entry.path)
        if known is not None and checksum != Checksum("sha256", known):
            raise InputError(f"{where}: {entry.path}: expected sha256 {known}, found {checksum.digits}")
        found.add(entry.path)
        url = hf_hub_url(
            source.repo_id, entry.path, repo_type=source.repo_type, revision=revision, endpoint=api.endpoint
        )
        yield entry.path, RemoteFile(url, entry.size, checksum, headers)
    for pattern in source.patterns:
        if not any(fnmatchcase(path, pattern) for path in found):
            raise InputError(f"{where}: no file fits {pattern}")


def check_space(jobs: Sequence[Job], root: Path) -> None:
    """Raises:
    InputError: the disk has less room than ``jobs`` are known to need.
    """
    needed = sum((job.remote.size or 0) - _present(job) for job in jobs)
    existing = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise InputError(f"{root}: {_amount(needed)} needed, {_amount(free)} free; name fewer parts")


def _present(job: Job) -> int:
    partial = partial_path(job.path)
    return min(partial.stat().st_size, job.remote.size or 0) if partial.is_file() else 0


def download_all(jobs: Sequence[Job], threads: int, patience: Patience) -> None:
    """Download several files at a time; one that fails does not keep the others.

    Raises:
        InputError: some have failed; the message has the first reason.
    """
    known = all(job.remote.size is not None for job in jobs)
    total = sum(job.remote.size or 0 for job in jobs) if known else None
    todo: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        todo.put(job)
    ended: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
    with tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024, disable=not jobs) as bar:
        # Daemons: whoever interrupts a connection that has stalled need not wait for its end.
        for _ in range(min(threads, len(jobs))):
            threading.Thread(target=_work, args=(todo, ended, patience, bar.update), daemon=True).start()
        errors = []
        for number in range(len(jobs)):
            error = ended.get()
            if isinstance(error, InputError):
                errors.append(error)
            elif error is not None:
                raise error
            bar.set_description(f"{number + 1}/{len(jobs)} files")
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise InputError(f"{len(errors)} of {len(jobs)} files failed; the first: {errors[0]}")


def _work(
    todo: "queue.SimpleQueue[Job]",
    ended: "queue.SimpleQueue[Exception | None]",
    patience: Patience,
    progress: Callable[[int], object],
) -> None:
    while True:
        try:
            job = todo.get_nowait()
        except queue.Empty:
            return
        try:
            download(job.remote, job.path, patience, progress)
        except Exception as error:  # the main thread raises it
            ended.put(error)
        else:
            ended.put(None)


def _describe(name: str, source: Source) -> str:
    lines = [f"{name}: {source.description}"]
    for part in source.parts:
        if isinstance(part, WebFile):
            lines.append(f"  {part.path}\n    {part.url}")
        else:
            chosen = "" if part.patterns == ("*",) else f": {', '.join(part.patterns)}"
            lines.append(f"  {part.path}/\n    {part.repo_type} {part.repo_id} on Hugging Face{chosen}")
    return "\n".join(lines)


def describe_dataset(files: Sequence[tuple[str, RemoteFile]]) -> list[str]:
    """A line for each folder and file at the top of the dataset, and for each folder in those: number, size, name."""
    groups: dict[str, list[int]] = {}
    for file, remote in files:
        parts = file.split("/")
        for depth in (1, 2):
            folder = "/".join(parts[:depth]) + ("/" if len(parts) > depth else "")
            if depth == 1 or len(parts) > 2:
                groups.setdefault(folder, []).append(remote.size or 0)
    return [f"{len(sizes):8,} files  {_amount(sum(sizes))}  {name}" for name, sizes in sorted(groups.items())]


def _amount(size: int | None) -> str:
    """A number of bytes for people, ten characters wide."""
    if size is None:
        return " size open"
    amount, units = float(size), ["TiB", "GiB", "MiB", "KiB", "B"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1024
        units.pop()
    return f"{amount:.4g} {units[-1]}".rjust(10)


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
