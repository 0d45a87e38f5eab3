"""Downloading one file so that it is either whole and checked, or absent and can be gone on with."""

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from gaussians.stage.atomic_files import made_directory, writable
from gaussians.stage.errors import InputError

_CHUNK = 1 << 20
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)
# What a server answers when asking again later may help.
_PASSING = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Checksum:
    """What a file's bytes must give.

    Attributes:
        algorithm: SHA-256 of the bytes, or the SHA-1 by which git names them.
        digits: hexadecimal.
    """

    algorithm: Literal["sha256", "git_blob"]
    digits: str


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        size: bytes, if known.
        headers: to be sent to the first server, but not to one that it redirects to.
    """

    url: str
    size: int | None = None
    checksum: Checksum | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        timeout: seconds without a byte after which a connection is given up.
        tries: connections in a row that bring nothing new before the file is given up.
        pause: seconds before the second try; doubled for each further one, up to a minute.
    """

    timeout: float = 30.0
    tries: int = 6
    pause: float = 1.0


def is_complete(remote: RemoteFile, path: Path, verify: bool = False) -> bool:
    """Whether ``path`` is there with the right size; with ``verify`` also with the right checksum."""
    if not path.is_file() or (remote.size is not None and path.stat().st_size != remote.size):
        return False
    return not verify or remote.checksum is None or _digits(path, remote.checksum.algorithm) == remote.checksum.digits


def partial_path(path: Path) -> Path:
    """Where the bytes of ``path`` are until all have arrived."""
    return path.with_name(f".{path.name}.download")


def download(
    remote: RemoteFile,
    path: Path,
    patience: Patience = Patience(),
    progress: Callable[[int], object] = lambda _: None,
) -> None:
    """Download a file, going on where an earlier try, in this run or one before, has ended.

    Args:
        progress: called with the number of bytes that have arrived, negative where some turn out useless.

    Raises:
        InputError: the server has no such file, sends a web page instead, falls silent, or what it sends is not what
            the size or checksum says; or the file cannot be written, or another process downloads it.
    """
    with made_directory(path.parent), _own(partial_path(path), path) as partial:
        progress(_size(partial))
        for last in (False, True):
            _fill(remote, path, partial, patience, progress)
            problem = _problem(remote, partial)
            if problem is None:
                break
            # What was left of an earlier version of the file, or damaged on its way: once more from the beginning.
            progress(-_size(partial))
            partial.truncate(0)
            if last:
                os.unlink(partial.name)
                raise InputError(f"{remote.url}: {problem}")
        os.fsync(partial.fileno())
        os.replace(partial.name, path)


@contextlib.contextmanager
def _own(partial: Path, path: Path) -> Iterator[BinaryIO]:
    """The partial file, opened and locked against other processes; removed at the end if nothing is in it."""
    while True:
        with writable(path), open(partial, "a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{path}: another process is downloading it") from None
            if not _is_at(file, partial):
                continue  # between our opening and locking it, the process that had it gave it its name
            try:
                yield file
            finally:
                if _size(file) == 0:
                    partial.unlink(missing_ok=True)
            return


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _fill(
    remote: RemoteFile, path: Path, partial: BinaryIO, patience: Patience, progress: Callable[[int], object]
) -> None:
    """Append to ``partial`` until the server says that this is all."""
    # Without a checksum nothing could tell whether what an earlier run has left is of the same file.
    if remote.checksum is None and _size(partial):
        _restart(partial, progress)
    furthest, failures = _size(partial), 0
    while True:
        try:
            if _receive(remote, path, partial, patience.timeout, progress):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            with error:
                if error.code not in _PASSING:
                    raise InputError(f"{remote.url}: {_refusal(error)}") from None
                reason = f"the server answers {error.code} {error.reason}"
        except _NETWORK_ERRORS as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            stalled = isinstance(cause, TimeoutError)
            reason = f"nothing came for {patience.timeout:g} s" if stalled else str(cause) or type(cause).__name__
        failures = 0 if _size(partial) > furthest else failures + 1
        furthest = max(furthest, _size(partial))
        if failures >= patience.tries:
            kept = _size(partial) if remote.checksum else 0
            advice = f"; {kept:,} bytes are kept, run this again to go on" if kept else ""
            raise InputError(f"{remote.url}: given up after {failures} tries: {reason}{advice}")
        time.sleep(min(patience.pause * 2 ** max(0, failures - 1), 60.0))


def _restart(partial: BinaryIO, progress: Callable[[int], object]) -> None:
    progress(-_size(partial))
    partial.truncate(0)


def _receive(
    remote: RemoteFile, path: Path, partial: BinaryIO, timeout: float, progress: Callable[[int], object]
) -> bool:
    """Append what one connection brings; whether that completes the file."""
    offset = _size(partial)
    if remote.size is not None and offset >= remote.size:
        return True  # for better or worse: the checksum decides
    request = urllib.request.Request(remote.url, headers={"Accept-Encoding": "identity"})
    for name, value in remote.headers.items():
        request.add_unredirected_header(name, value)  # a token is not for whoever stores the bytes
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not offset:
            raise
        with error:  # nothing comes after what we have: all of it is there, or it is of another file
            return True
    with response:
        _refuse_page(remote, response)
        begin, total = _extent(response)
        if begin != offset:
            _restart(partial, progress)  # the server cannot go on in the middle
            if begin:
                return False
        if remote.size is not None and total is not None and total != remote.size:
            raise InputError(f"{remote.url}: expected {remote.size:,} bytes, the server has {total:,}")
        while chunk := response.read1(_CHUNK):
            if _size(partial) == 0:
                _refuse_page_text(remote, chunk)
            with writable(path):  # a full disk is no trouble of the network
                partial.write(chunk)
                partial.flush()
            progress(len(chunk))
        return total is None or _size(partial) >= total


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Where in the file the answer begins, and how long the file is, if the server says so."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match:
            return int(match[1]), None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length")
    return 0, int(length) if length is not None and length.isdecimal() else None


def _refuse_page(remote: RemoteFile, response: http.client.HTTPResponse) -> None:
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise InputError(f"{remote.url}: the server sends a web page, not the file")


def _refuse_page_text(remote: RemoteFile, beginning: bytes) -> None:
    if re.match(rb"\s*<(!doctype\s+html|html|head)\b", beginning[:512], re.IGNORECASE):
        raise InputError(f"{remote.url}: the server sends a web page, not the file")


def _refusal(error: urllib.error.HTTPError) -> str:
    if error.code in (401, 403):
        return f"access refused ({error.code}); where an account is needed, log in first (`hf auth login`)"
    if error.code in (404, 410):
        return f"no such file on the server ({error.code})"
    return f"the server answers {error.code} {error.reason}"


def _problem(remote: RemoteFile, partial: BinaryIO) -> str | None:
    """What is wrong with the bytes that have arrived."""
    size = _size(partial)
    if remote.size is not None and size != remote.size:
        return f"expected {remote.size:,} bytes, received {size:,}"
    if remote.checksum is None:
        return None
    found = _digits(Path(partial.name), remote.checksum.algorithm)
    if found == remote.checksum.digits:
        return None
    return f"expected {remote.checksum.algorithm} {remote.checksum.digits}, found {found} ({size:,} bytes)"


def _digits(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        if algorithm == "sha256":
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size, usedforsecurity=False)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()
