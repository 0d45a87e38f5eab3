import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gaussians.stage import claims
from gaussians.stage.claims import LOCK_NAME, claim, claim_each
from gaussians.stage.errors import InputError

# Claims a directory, says so, and writes "done" into it when a line comes in.
HOLDER = """
import sys
from pathlib import Path
from gaussians.stage.claims import claim
with claim(Path(sys.argv[1])) as holder:
    print(holder, flush=True)
    sys.stdin.readline()
    Path(sys.argv[1], "done").touch()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has claimed ``tmp_path / "b"``."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "b")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "None\n"
        yield process
        process.kill()


def is_done(path: Path) -> bool:
    return (path / "done").exists()


def test_a_claim_leaves_nothing_behind(tmp_path):
    with claim(tmp_path / "a" / "b") as other:
        assert other is None
        assert (tmp_path / "a" / "b" / LOCK_NAME).read_text().startswith(f"process {os.getpid()} on ")
    assert not list(tmp_path.iterdir())
    with claim(tmp_path / "a") as other:
        (tmp_path / "a" / "result").touch()
    assert os.listdir(tmp_path / "a") == ["result"]


def test_what_is_claimed_is_named_with_its_holder(tmp_path, holder):
    with claim(tmp_path / "b") as other:
        assert other == f"process {holder.pid} on {os.uname().nodename}"
    with claim(tmp_path / "a") as other:
        assert other is None


def test_a_killed_holder_blocks_nobody(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / "b" / LOCK_NAME).exists()
    with claim(tmp_path / "b") as other:
        assert other is None


def once_waited_for(path: Path, act: Callable[[], object]) -> Callable[[Path], bool]:
    """``is_done`` that calls ``act`` when ``path`` has been waited for.

    ``claim_each`` asks for an item when it comes to it, when it begins to wait for it, and after each wait.
    """
    asked = 0

    def is_done_and_act(item: Path) -> bool:
        nonlocal asked
        asked += item == path
        if item == path and asked == 3:
            act()
        return is_done(item)

    return is_done_and_act


def test_what_others_do_comes_last_and_is_not_done_again(tmp_path, holder, capsys):
    b = tmp_path / "b"

    def finish():
        holder.communicate("\n")

    paths = claim_each([tmp_path / name for name in "abc"], Path, once_waited_for(b, finish))
    assert [path.name for path in paths] == ["a", "c"]
    name = f"process {holder.pid} on {os.uname().nodename}"
    assert capsys.readouterr().out == f"{b}: {name} is writing it; left for the end\n{b}: waiting for {name}\n"


def test_what_a_killed_holder_left_undone_is_taken_over(tmp_path, holder):
    def kill():
        holder.kill()
        holder.wait()

    paths = claim_each([tmp_path / name for name in "abc"], Path, once_waited_for(tmp_path / "b", kill))
    assert [path.name for path in paths] == ["a", "c", "b"]


def test_many_claimants_are_one_after_the_other(tmp_path):
    """Each adds one to a number in a file, not atomically: a lost update would show."""
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from gaussians.stage.claims import claim_each\n"
        "folder, number = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "for i in range(30):\n"
        "    for _ in claim_each([i], lambda _: folder, lambda _: False):\n"
        "        value = int(number.read_text())\n"
        "        time.sleep(0.001)\n"
        "        number.write_text(str(value + 1))\n"
    )
    number = tmp_path / "number"
    number.write_text("0")
    command = [sys.executable, "-c", program, str(tmp_path / "folder"), str(number)]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert number.read_text() == "120"


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, capsys, code):
    class NoLocks(claims.FileLock):
        def _acquire(self):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(claims, "FileLock", NoLocks)
    with claim(tmp_path / "a") as other:
        assert other is None
    warning = f"{tmp_path / 'a'}: warning: no locks here ({os.strerror(code)}): give no two processes the same work\n"
    assert capsys.readouterr().out == warning
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["../precious.txt", "/nonexistent/folder/file"])
def test_a_link_in_the_place_of_the_lock_is_refused_and_its_target_left_alone(tmp_path, target):
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / LOCK_NAME).symlink_to(target)
    with pytest.raises(InputError, match=r"\.lock: cannot be written: .* symbolic links"), claim(tmp_path / "a"):
        pass
    assert precious.read_text() == "precious"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"), claim(tmp_path / "file" / "below"):
        pass
