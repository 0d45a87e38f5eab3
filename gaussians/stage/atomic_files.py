"""Write files that are either whole or absent."""

import errno
import glob
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gaussians.stage.errors import InputError
from gaussians.stage.processes import is_alive, own_mark

CLAIMED: set[Path] = set()
"""The directories that ``gaussians.stage.claims`` keeps for this process: nobody else writes to them."""

_TEMPORARY_MARK = ".partial-"
_ABANDONED_AFTER = 24 * 3600  # seconds since the last change, longer than any writer on another machine takes
_REFUSALS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ENOENT, errno.ELOOP),
}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` when the block ends well.

    The temporary name keeps the suffix, which encoders look at. What the block leaves behind after an
    exception is removed, with the directories that were made for it; what a kill leaves behind has a name
    that no reader looks for, and the next writer of the same ``path`` removes it.

    Raises:
        InputError: the directory cannot be written to.
    """
    path = Path(path)
    with writable(path), made_directory(path.parent):
        for stale in path.parent.glob(glob.escape(f".{path.stem}{_TEMPORARY_MARK}") + "*" + glob.escape(path.suffix)):
            if _is_abandoned(stale):
                remove(stale)
        temporary = _temporary_name(path)
        try:
            yield temporary
            _replace(temporary, path)
        except BaseException:
            remove(temporary)
            raise


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.stem}{_TEMPORARY_MARK}{own_mark()}-{uuid.uuid4().hex[:8]}{path.suffix}")


def _replace(temporary: Path, path: Path) -> None:
    """Rename a file or directory; one that is there already is replaced and never seen half removed."""
    while True:
        try:
            os.replace(temporary, path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not temporary.is_dir():
                raise
        former = _temporary_name(path)
        with suppress(FileNotFoundError):  # another process has moved it away at the same time
            os.replace(path, former)
            shutil.rmtree(former)


def _is_abandoned(temporary: Path) -> bool:
    """Return whether the writer of a temporary file has ended, here or on another machine."""
    alive = is_alive(temporary.name.rpartition(_TEMPORARY_MARK)[2].rpartition("-")[0])
    if alive is not None:
        return not alive
    if not CLAIMED.isdisjoint(temporary.absolute().parents):
        return True
    try:
        return time.time() - temporary.stat().st_mtime > _ABANDONED_AFTER
    except FileNotFoundError:  # its writer has renamed it just now
        return False


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def made_directory(path: Path) -> Iterator[None]:
    """Make a directory and those above it for the block, and remove at its end those of them that are empty.

    Raises:
        InputError: it cannot be made.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    with writable(path):
        path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for folder in made:
            try:
                folder.rmdir()
            except OSError:  # it is not empty
                break


@contextmanager
def writable(path: str | Path) -> Iterator[None]:
    """Turn the operating system's refusal to write ``path`` into an ``InputError``."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
