"""Download one file so that it is either whole and checked, or absent and can be gone on with.

This is our own because huggingface_hub and pooch begin a file anew in every run, and neither checks git's names of
files before they are in place.
"""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import httpx2
from huggingface_hub.utils.sha import git_hash

from externals.weights import Checksum
from gaussians.stage.atomic_files import file_hash, made_directory, writable
from gaussians.stage.errors import InputError

PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Statuses after which asking again later may help."""
_NO_ACCESS = "access refused ({}); where an account is needed, log in first (`hf auth login`)"
_NO_FILE = "no such file on the server ({})"
_REFUSALS = {401: _NO_ACCESS, 403: _NO_ACCESS, 404: _NO_FILE, 410: _NO_FILE}

ReportBytes = Callable[[int], object]
"""A function of the number of bytes that have arrived, negative where some turn out useless."""


@dataclass(frozen=True)
class RemoteFile:
    """A ``RemoteFile`` is a file to download.

    Attributes:
        url: where it is.
        size: bytes, if known.
        checksum: what its bytes must give, if known.
        headers: sent to the first server; a token among them goes to no other that it redirects to.
    """

    url: str
    size: int | None = None
    checksum: Checksum | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RetryPolicy:
    """A ``RetryPolicy`` says how long to try.

    Attributes:
        timeout: seconds without a byte after which a connection is given up.
        tries: number of connections in a row without new bytes after which the file is given up.
        pause: seconds before the second try; doubled for each further one, up to a minute.
    """

    timeout: float
    tries: int = 6
    pause: float = 1.0

    def wait(self, failures: int) -> None:
        """Wait before another try, after so many in a row have failed."""
        time.sleep(min(self.pause * 2 ** max(0, failures - 1), 60.0))


def is_complete(remote: RemoteFile, path: Path, verify: bool = False) -> bool:
    """Return whether ``path`` is there with the right size and, with ``verify``, the right checksum."""
    if not path.is_file() or (remote.size is not None and path.stat().st_size != remote.size):
        return False
    return not verify or remote.checksum is None or _digits(path, remote.checksum) == remote.checksum.digits


def partial_path(path: Path) -> Path:
    """Return where the bytes of ``path`` are until all have arrived."""
    return path.with_name(f".{path.name}.download")


def download(remote: RemoteFile, path: Path, policy: RetryPolicy, report: ReportBytes = lambda _: None) -> None:
    """Download a file, going on where an earlier try, in this run or one before, has ended.

    Raises:
        InputError: the server has no such file, sends a web page instead, falls silent, or what it sends is not what
            the size or checksum says; or the file cannot be written, or another process downloads it.
    """
    with made_directory(path.parent), _open_locked(partial_path(path), path) as partial:
        report(_size(partial))
        problem = None
        # Begin anew once: what was there may be left of an earlier version, or be damaged on its way.
        for _ in range(2):
            _fill(remote, path, partial, policy, report)
            problem = _problem(remote, partial)
            if problem is None:
                os.fsync(partial.fileno())
                os.replace(partial.name, path)
                return
            _restart(partial, report)
        raise InputError(f"{remote.url}: {problem}")


@contextlib.contextmanager
def _open_locked(partial: Path, path: Path) -> Iterator[BinaryIO]:
    """Open the partial file, locked against other processes; remove it at the end if nothing is in it."""
    while True:
        with writable(path), open(partial, "ab", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{path}: another process is downloading it") from None
            # Between our opening and locking it, the process that had it may have given it its name.
            if not partial.exists() or not os.path.samestat(os.fstat(file.fileno()), partial.stat()):
                continue
            try:
                yield file
            finally:
                if _size(file) == 0:
                    partial.unlink(missing_ok=True)
            return


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _restart(partial: BinaryIO, report: ReportBytes) -> None:
    report(-_size(partial))
    partial.truncate(0)


def _fill(remote: RemoteFile, path: Path, partial: BinaryIO, policy: RetryPolicy, report: ReportBytes) -> None:
    """Append to ``partial`` until the server says that this is all."""
    # Without a checksum nothing could tell whether what an earlier run has left is of the same file.
    if remote.checksum is None and _size(partial):
        _restart(partial, report)
    furthest, failures = _size(partial), 0
    while True:
        try:
            if _receive(remote, path, partial, policy.timeout, report):
                return
            reason = "the connection ended early"
        except httpx2.HTTPStatusError as error:
            code = error.response.status_code
            reason = f"the server answers {code} {error.response.reason_phrase}"
            if code not in PASSING:
                raise InputError(f"{remote.url}: {_REFUSALS.get(code, reason).format(code)}") from None
        except httpx2.TimeoutException:
            reason = f"nothing came for {policy.timeout:g} s"
        except httpx2.RemoteProtocolError:
            reason = "the connection ended early"
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
        failures = 0 if _size(partial) > furthest else failures + 1
        furthest = max(furthest, _size(partial))
        if failures >= policy.tries:
            kept = _size(partial) if remote.checksum else 0
            advice = f"; {kept:,} bytes are kept, run this again to go on" if kept else ""
            raise InputError(f"{remote.url}: given up after {failures} tries: {reason}{advice}")
        policy.wait(failures)


def _receive(remote: RemoteFile, path: Path, partial: BinaryIO, timeout: float, report: ReportBytes) -> bool:
    """Append what one connection brings, and return whether that completes the file."""
    offset = _size(partial)
    if remote.size is not None and offset >= remote.size:
        return True  # the checksum will tell whether this is the file
    headers = {**remote.headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    with httpx2.stream("GET", remote.url, headers=headers, timeout=timeout, follow_redirects=True) as response:
        if response.status_code == 416 and offset:
            return True  # nothing comes after what we have: all of it is there, or it is of another file
        response.raise_for_status()
        _refuse_page(
            remote, response.headers.get("Content-Type", "").encode(), rb"(text/html|application/xhtml\+xml)\b"
        )
        begin, total = _extent(response)
        if begin != offset:
            _restart(partial, report)  # the server cannot go on in the middle
            if begin:
                return False
        if remote.size is not None and total is not None and total != remote.size:
            raise InputError(f"{remote.url}: expected {remote.size:,} bytes, the server has {total:,}")
        for chunk in response.iter_raw():
            if _size(partial) == 0:
                _refuse_page(remote, chunk, rb"\s*<(!doctype\s+html|html|head)\b")
            with writable(path):  # a full disk is no trouble of the network
                partial.write(chunk)
            report(len(chunk))
        return total is None or _size(partial) >= total


def _extent(response: httpx2.Response) -> tuple[int, int | None]:
    """Return where in the file the answer begins, and how long the file is, if the server says so."""
    if match := re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "")):
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _refuse_page(remote: RemoteFile, beginning: bytes, mark: bytes) -> None:
    if re.match(mark, beginning, re.IGNORECASE):
        raise InputError(f"{remote.url}: the server sends a web page, not the file")


def _problem(remote: RemoteFile, partial: BinaryIO) -> str | None:
    """Return what is wrong with the bytes that have arrived, or None."""
    size = _size(partial)
    if remote.size is not None and size != remote.size:
        return f"expected {remote.size:,} bytes, received {size:,}"
    if remote.checksum is None or (found := _digits(Path(partial.name), remote.checksum)) == remote.checksum.digits:
        return None
    return f"expected {remote.checksum.algorithm} {remote.checksum.digits}, found {found} ({size:,} bytes)"


def _digits(path: Path, checksum: Checksum) -> str:
    return file_hash(path) if checksum.algorithm == "sha256" else git_hash(path.read_bytes())
