import errno
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gaussians.stage import processes
from gaussians.stage.atomic_files import atomic_path, file_hash, writable
from gaussians.stage.claims import claim
from gaussians.stage.errors import InputError
from gaussians.stage.processes import own_mark

MACHINE, _, START = own_mark().split("-")


# Of a process number larger than there can be, of one that another process has now, and of another machine.
DEAD = f"{MACHINE}-{2**22 + 1}-{START}"


REUSED = f"{MACHINE}-{os.getpid()}-{START[::-1]}x"


FOREIGN = f"x{MACHINE[1:]}-{os.getpid()}-{START}"


DAY = 24 * 3600


def leftover(directory: Path, name: str, mark: str) -> Path:
    stem, suffix = os.path.splitext(name)
    return directory / f".{stem}.partial-{mark}-0123abcd{suffix}"


def test_a_file_appears_only_when_the_block_ends(tmp_path):
    target = tmp_path / "deep" / "video.mp4"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".mp4"
        temporary.write_bytes(b"half")
        assert not target.exists()
        temporary.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert os.listdir(target.parent) == ["video.mp4"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(TypeError), atomic_path(target) as temporary:
        temporary.open("w").write(object())
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_directory_replaces_a_directory(tmp_path):
    target = tmp_path / "scene"
    target.mkdir()
    (target / "stale").touch()
    with atomic_path(target) as temporary:
        temporary.mkdir()
        (temporary / "fresh").touch()
    assert os.listdir(target) == ["fresh"]


@pytest.mark.parametrize("name", ["a.h5", "two.dots.h5", "bare", "odd[1]*?.h5"])
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path, name):
    stale = [leftover(tmp_path, name, mark) for mark in (DEAD, REUSED, "12345", "")]
    alive = [leftover(tmp_path, name, own_mark()), leftover(tmp_path, name, FOREIGN)]
    other = leftover(tmp_path, "unrelated.h5", DEAD)
    for path in (*stale, *alive, other):
        path.touch()
    with atomic_path(tmp_path / name) as temporary:
        temporary.touch()
    assert sorted(tmp_path.iterdir()) == sorted([*alive, other, tmp_path / name])


def test_what_another_machine_left_goes_after_a_day(tmp_path):
    fresh, old = leftover(tmp_path, "a.h5", FOREIGN), leftover(tmp_path, "a.h5", FOREIGN + "f")
    for path in (fresh, old):
        path.mkdir()
    os.utime(old, (time.time() - 1.1 * DAY,) * 2)
    with atomic_path(tmp_path / "a.h5") as temporary:
        temporary.touch()
    assert fresh.exists()
    assert not old.exists()


def test_machines_that_share_a_name_are_told_apart_by_their_boot(monkeypatch):
    boots = iter(["one\n", "other\n"])
    monkeypatch.setattr(Path, "read_text", lambda _: next(boots))
    assert processes._machine.__wrapped__() != processes._machine.__wrapped__()


def test_what_another_machine_left_in_a_claimed_directory_goes_at_once(tmp_path):
    stale = leftover(tmp_path / "scene" / "view_0", "a.mp4", FOREIGN)
    stale.parent.mkdir(parents=True)
    stale.touch()
    with claim(tmp_path / "scene"), atomic_path(stale.with_name("a.mp4")) as temporary:
        temporary.touch()
    assert [path.name for path in (tmp_path / "scene").rglob("*")] == ["view_0", "a.mp4"]


def test_two_writers_of_one_directory_leave_the_whole_of_one(tmp_path):
    target = tmp_path / "scene"
    with atomic_path(target) as outer:
        outer.mkdir()
        (outer / "first").touch()
        with atomic_path(target) as inner:
            inner.mkdir()
            (inner / "second").touch()
        assert os.listdir(target) == ["second"]
    assert os.listdir(target) == ["first"]
    assert os.listdir(tmp_path) == ["scene"]


def test_a_killed_writer_leaves_no_file_of_that_name(tmp_path):
    program = (
        "import os, sys\n"
        "from gaussians.stage.atomic_files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    target = tmp_path / "a.txt"
    assert subprocess.run([sys.executable, "-c", program, str(target)], check=False).returncode == -9
    assert not target.exists()
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    "target", ["file/below.txt", "directory", "x" * 300], ids=["below a file", "a directory", "a long name"]
)
def test_a_place_that_cannot_be_written_is_named(tmp_path, target):
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    with pytest.raises(InputError, match="cannot be written"), atomic_path(tmp_path / target) as temporary:
        temporary.write_text("contents")
    assert sorted(os.listdir(tmp_path)) == ["directory", "file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"a\.txt: cannot be written"), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("contents")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EISDIR])
def test_refusals_to_write_become_input_errors(code):
    with pytest.raises(InputError, match=rf"out\.h5: cannot be written: {os.strerror(code)}"), writable("out.h5"):
        raise OSError(code, os.strerror(code))


def test_other_errors_pass_through():
    with pytest.raises(OSError, match="Input/output"), writable("out.h5"):
        raise OSError(errno.EIO, "Input/output error")


def test_file_hash(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"contents")
    assert file_hash(path) == hashlib.sha256(b"contents").hexdigest()


def test_an_exception_leaves_no_directory_that_was_made_for_the_file(tmp_path):
    (tmp_path / "kept").mkdir()
    for target in (tmp_path / "kept" / "a.json", tmp_path / "made" / "deep" / "a.json"):
        with pytest.raises(TypeError), atomic_path(target) as temporary:
            temporary.open("w").write(object())
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]
