"""Files that are either whole or absent, and readers that say what is wrong in one line."""

import errno
import glob
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gaussians.errors import InputError

_TEMPORARY_MARK = ".partial-"
_REFUSALS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ENOENT),
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
    with writable(path):
        made = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(glob.escape(f".{path.stem}{_TEMPORARY_MARK}") + "*" + glob.escape(path.suffix)):
            if not _owner_alive(stale):
                _remove(stale)
        temporary = path.with_name(f".{path.stem}{_TEMPORARY_MARK}{os.getpid()}-{uuid.uuid4().hex[:8]}{path.suffix}")
        try:
            yield temporary
            if path.is_dir() and temporary.is_dir():
                shutil.rmtree(path)
            os.replace(temporary, path)
        except BaseException:
            _remove(temporary)
            for folder in made:
                if not any(folder.iterdir()):
                    folder.rmdir()
            raise


def _owner_alive(temporary: Path) -> bool:
    """Whether the process whose number is in a temporary name still runs on this machine."""
    try:
        os.kill(int(temporary.name.split(_TEMPORARY_MARK)[1].split("-")[0]), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def writable(path: str | Path) -> Iterator[None]:
    """Turn the operating system's refusal to write ``path`` into an ``InputError``."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing, unreadable, or not JSON; the message has the line and column.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not valid JSON: expected UTF-8 text") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; lists nested as deep
        raise InputError(f"{path}: not usable JSON: {error}") from None


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
