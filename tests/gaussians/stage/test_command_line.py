import argparse
import re
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaussians.stage.command_line import ArgumentParser, parse_shard, resolve_device, run, take_shard
from gaussians.stage.errors import InputError
from tests.conftest import ROOT


def fail_with(error: BaseException) -> None:
    raise error


def test_bad_input_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as exit_info:
        run(lambda: fail_with(InputError("scene.ply: no vertices:\n  expected at least one")))
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: scene.ply: no vertices: expected at least one\n"


@given(st.text())
def test_the_message_of_bad_input_is_one_line(message):
    assert len(str(InputError(message)).splitlines()) <= 1


def test_an_interruption_ends_with_the_shells_status(capsys):
    with pytest.raises(SystemExit) as exit_info:
        run(lambda: fail_with(KeyboardInterrupt()))
    assert exit_info.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_termination_tidies_up_and_ends_with_the_shells_status(tmp_path):
    program = (
        "import os, signal, sys, time\n"
        "from gaussians.stage.command_line import run\n"
        "from gaussians.stage.atomic_files import atomic_path\n"
        "def main():\n"
        "    with atomic_path(sys.argv[1]) as temporary:\n"
        "        temporary.write_text('half')\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(60)\n"
        "run(main)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "made" / "a.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "terminated\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "status", "line"), [(15, 143, "terminated\n"), (2, 130, "interrupted\n")])
def test_a_signal_that_comes_while_python_ignores_exceptions_is_not_lost(number, status, line):
    program = (
        "import os, time\n"
        "from gaussians.stage.command_line import run\n"
        "class Buffer:\n"
        "    def __del__(self):\n"
        f"        os.kill(os.getpid(), {number})\n"
        "        time.sleep(0.1)\n"
        "def main():\n"
        "    Buffer()\n"
        "    time.sleep(60)\n"
        "run(main)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", line)


def test_a_defect_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda: fail_with(ZeroDivisionError()))


def test_a_reader_that_goes_away_is_no_error_of_ours():
    program = (
        "from gaussians.stage.command_line import run\n"
        "def main():\n"
        "    for _ in range(100_000):\n"
        "        print('a line that fills the pipe')\n"
        "run(main)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_help_shows_the_docstring_as_written_and_every_default():
    parser = ArgumentParser("What it does.\n\n    python -m example\n")
    parser.add_device()
    parser.add_shard()
    parser.add_overwrite()
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--name", help="of the thing")
    text = parser.format_help()
    assert "What it does.\n\n    python -m example\n" in text
    assert "a GPU if there is one (default: auto)" in " ".join(text.split())
    assert "of the draw (default: 0)" in text
    # No default that says nothing.
    assert "None" not in text
    assert "False" not in text
    assert "(0, 1)" not in text


def test_flags_may_be_abbreviated():
    parser = ArgumentParser(None)
    parser.add_overwrite()
    assert parser.parse_args(["--over"]).overwrite


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto") == torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_by_name_says_what_to_do_without_one():
    with pytest.raises(InputError, match=r"--device cuda: .* use --device cpu"):
        resolve_device("cuda")


@given(st.lists(st.integers()), st.integers(1, 20))
def test_shards_share_the_work_without_rest_or_overlap(items, count):
    shards = [take_shard(items, parse_shard(f"{index}/{count}")) for index in range(count)]
    assert sorted(item for shard in shards for item in shard) == sorted(items)
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["", "1", "1/1", "2/1", "0/0", "-1/2", "a/b", "1/2/3", "0.5/2", " 0/2", "0/2\n"])
def test_other_shards_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected i/n with 0 <= i < n"):
        parse_shard(text)


def test_flags_that_do_not_fit_are_one_line(capsys):
    parser = ArgumentParser("What it does.")
    parser.add_device()
    with pytest.raises(SystemExit) as exit_status:
        parser.parse_args(["--device", "abacus"])
    assert exit_status.value.code == 2
    assert re.fullmatch(r"error: .*--device.*'abacus'.*\n", capsys.readouterr().err)


def test_missing_optional_library_is_one_line_that_says_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise ModuleNotFoundError("No module named 'viser'", name="viser")

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 2
    message = "error: viser is not installed: pip install 'neural-gaussian-force-fields[viewer]', or bash setup_env.sh"
    assert capsys.readouterr().err == f"{message} in the repository\n"


def test_missing_library_that_is_not_optional_is_a_fault() -> None:
    def main() -> None:
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    with pytest.raises(ModuleNotFoundError):
        run(main)


@pytest.mark.parametrize("name", ["n" * 300, "folder/" * 1000, "n" * 300 + "/line\nbreak"])
def test_what_the_system_refuses_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(lambda: open(name).close())
    assert ended.value.code == 2
    assert re.fullmatch(r"error: .{203}: File name too long\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 3.00 TiB for an array"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
)
def test_want_of_memory_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 2
    message = f": {error}" if str(error) else ""
    assert capsys.readouterr().err == f"error: not enough memory{message}\n"


@pytest.mark.parametrize("error", [RuntimeError("a fault"), OSError("a fault"), ImportError("a fault")])
def test_faults_stay_faults(error: Exception) -> None:
    def main() -> None:
        raise error

    with pytest.raises(type(error), match="a fault"):
        run(main)


@pytest.mark.parametrize(
    ("module", "step", "who"),
    [("command_line", "ArgumentParser('').parse_args([])", "-c"), ("warp_runtime", "start_warp()", "Warp")],
)
def test_a_limit_of_addresses_is_one_line(module: str, step: str, who: str) -> None:
    """What runs out of them crashes or hangs in C++, so that more is asked for than is left here."""
    program = f"""
import resource
from pathlib import Path
from gaussians.stage.{module} import *
from gaussians.stage.command_line import run

limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 2**29
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
run(lambda: {step})
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(rf"error: {who} needs [\d.]+ GiB of addresses, of which `ulimit -v` leaves .*\n", done.stderr)
