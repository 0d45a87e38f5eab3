"""Claim directories, so that one process writes each at a time, however many are given the same work."""

import errno
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from tqdm import tqdm

from gaussians.stage.atomic_files import CLAIMED, made_directory, writable
from gaussians.stage.errors import InputError

LOCK_NAME = ".lock"
_UNSUPPORTED = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}
_PAUSE = 0.2  # seconds

Item = TypeVar("Item")


def claim_each(
    items: Iterable[Item], directory: Callable[[Item], Path], is_done: Callable[[Item], bool]
) -> Generator[Item, None, None]:
    """Yield those of ``items`` that are not done, each while its directory is claimed for this process.

    What other processes hold is left to them until all else is done. Then this process waits for them; where one of
    them ends without having done its item, because it was killed, say, the item is yielded here. So all items are done
    at the end, none of them twice.
    Close the generator (``contextlib.closing``) where the work may fail: that frees the item in hand.

    Args:
        directory: gives the directory of an item's files, which is made if absent.
        is_done: tells whether an item's files are complete.

    Raises:
        InputError: a directory cannot be written to.
    """
    held = []
    for item in items:
        if is_done(item):
            continue
        with claim(directory(item)) as holder:
            if holder is not None:
                tqdm.write(f"{directory(item)}: {holder} is writing it; left for the end")
                held.append(item)
            elif not is_done(item):  # another process may just have done it
                yield item
    for item in held:
        waiting = False
        while not is_done(item):
            with claim(directory(item)) as holder:
                if holder is None and not is_done(item):
                    yield item
                    break
            if holder is not None and not waiting:
                tqdm.write(f"{directory(item)}: waiting for {holder}")
                waiting = True
            time.sleep(_PAUSE)


@contextmanager
def claim(directory: Path) -> Iterator[str | None]:
    """Claim ``directory`` until the block ends: yields None, or the process that holds it, in words.

    The claim is an flock of the file ``.lock`` in it, which the system frees when the process ends in whatever way. It
    holds between machines on NFS from Linux 2.6.12 on, GPFS, Lustre mounted with ``flock``, BeeGFS with global file
    locks, CephFS. Where a file system refuses locks, a warning says so, and nothing is claimed.

    Raises:
        InputError: the directory cannot be written to, or ``.lock`` is a link.
    """
    directory = directory.absolute()
    path = directory / LOCK_NAME
    with made_directory(directory):
        with writable(path):
            lock = _lock(path)
        if isinstance(lock, str):
            yield lock
            return
        CLAIMED.add(directory)
        try:
            yield None
        finally:
            CLAIMED.discard(directory)
            # Remove the file before its lock is free: whoever has opened it by then finds that its name is gone.
            path.unlink(missing_ok=True)
            lock.release()


@contextmanager
def sole_claim(directory: Path) -> Iterator[None]:
    """Claim ``directory`` until the block ends.

    Raises:
        InputError: another process has it, or it cannot be written to.
    """
    with claim(directory) as holder:
        if holder is not None:
            raise InputError(f"{directory}: {holder} is writing there: wait for its end, or give another folder")
        yield


def _lock(path: Path) -> FileLock | str:
    """Lock the file ``path``, made if absent, and return the lock; or, where another process has it, its name."""
    lock = FileLock(path, blocking=False, fallback_to_soft=False, on_acquired=lambda file: _sign(file, path))
    while True:
        try:
            lock.acquire()
        except Timeout:
            return _holder(path)
        except FileNotFoundError:  # the process that had it removed it meanwhile
            continue
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            tqdm.write(f"{path.parent}: warning: no locks here ({error.strerror}): give no two processes the same work")
        return lock


def _sign(file: int, path: Path) -> None:
    """Write this process's name into its locked file.

    Raises:
        FileNotFoundError: the file is no longer the one at ``path``. Its link count does not tell: on NFS a file that
            is removed while it is open lives on under another name.
    """
    if not os.path.samestat(os.fstat(file), path.lstat()):
        raise FileNotFoundError(path)
    os.truncate(file, 0)
    os.pwrite(file, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)


def _holder(path: Path) -> str:
    """Return the name of the process that has locked ``path``."""
    try:
        return path.read_text(errors="replace").strip() or "another process"
    except FileNotFoundError:
        return "another process"
