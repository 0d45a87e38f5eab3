"""Commands in processes of their own, for tests to kill, and what a dataset then holds."""

import itertools
import json
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from gaussians.files.video import read_video

SIMULATE, RENDER = "dataset.gs_simulation_scene", "dataset.render"

# Forked from a server that has the libraries loaded: a process is at work after a few milliseconds.
_CONTEXT = get_context("forkserver")
_MODULES = [__name__, "tests.warm_kernels", SIMULATE, RENDER, "dynamic_models.train", "dynamic_models.evaluate"]
_CONTEXT.set_forkserver_preload(_MODULES)


@dataclass
class Run:
    """A command on its way."""

    process: BaseProcess
    log: Path

    def wait(self, seconds: float = 120) -> int:
        """Its exit status; negative numbers are signals."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "the command does not end"
        return self.process.exitcode

    @property
    def moments(self) -> int:
        """How many moments it had."""
        return int(Path(f"{self.log}.moments").read_text())

    @property
    def lines(self) -> list[str]:
        """What it printed, without progress bars."""
        text = self.log.read_text(errors="replace")
        parts = [line.split("\r")[-1].strip() for line in text.splitlines()]
        return [line for line in parts if line and "%|" not in line and "\x1b[A" not in line]


def start(log: Path, module: str, *arguments: object, moment: int = 0, number: int = signal.SIGKILL) -> Run:
    """Run a command.

    Args:
        log: what the command prints; beside it lies how many moments it had, once it ends.
        moment: at which of its moments it gets a signal, from 1 on; 0 for none. The moments of a command are when it is
            about to make, open, rename or remove a file or directory below --output_path, --output or --data_root, the
            first that is given, or to start a process.
        number: of the signal.
    """
    words = [str(argument) for argument in arguments]
    process = _CONTEXT.Process(target=_run, args=(str(log), module, words, moment, number))
    process.start()
    return Run(process, log)


def _run(log: str, module: str, arguments: list[str], moment: int, number: int) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    moments = Moments(_output_of(arguments), moment, number)
    sys.addaudithook(moments)
    sys.argv = [module, *arguments]
    sys.modules.pop(module, None)  # run as __main__, it would warn that it is loaded
    try:
        runpy.run_module(module, run_name="__main__")
    finally:
        Path(f"{log}.moments").write_text(str(moments.count))


def _output_of(arguments: list[str]) -> str:
    flags = dict(itertools.pairwise(arguments))
    return flags.get("--output_path") or flags.get("--output") or flags["--data_root"]


class Moments:
    """Counts what a command does to files below ``output``, and sends itself a signal at one of these moments."""

    EVENTS = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "subprocess.Popen"})

    def __init__(self, output: str, moment: int, number: int) -> None:
        self.output, self.moment, self.number = output, moment, number
        self.count, self._numbers = 0, itertools.count(1)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in self.EVENTS and (event == "subprocess.Popen" or str(arguments[0]).startswith(self.output)):
            self.count = current = next(self._numbers)  # of one thread alone
            if current == self.moment:
                os.kill(os.getpid(), self.number)


def wait_for_orphans(path: Path) -> None:
    """Wait for the encoders of a killed process that write below ``path``: they end when they find it gone."""
    end = time.monotonic() + 60
    while any(str(path).encode() in line and b"ffmpeg" in line for line in _command_lines()):
        assert time.monotonic() < end, "an encoder outlives its process"
        time.sleep(0.01)


def _command_lines() -> Iterator[bytes]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield (process / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue


def contents(root: Path, hidden: bool = False) -> dict[str, Any]:
    """Every file below ``root``: its bytes; frames of a video; records; meta.json but for how long the simulation took.

    Args:
        hidden: also files that readers skip, but for the locks of killed processes, which say nothing.
    """
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_dir() or path.name == ".lock":
            continue
        if hidden or not any(part.startswith(".") for part in name.parts):
            found[str(name)] = _content(path)
    return found


def _content(path: Path) -> Any:
    if path.suffix == ".mp4":
        return np.stack(list(read_video(path))).tobytes()
    if path.name == "meta.json":
        meta = json.loads(path.read_text())
        return {key: value for key, value in meta.items() if key != "wall_time"}
    if path.suffix == ".json" and "made_from" in (record := json.loads(path.read_text())):
        record["made_from"].pop("trajectory", None)  # it depends on when frames were written
        return record
    return path.read_bytes()


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own at ``path``; yields a function that mounts it again with other options.

    Raises:
        OSError: this process may not mount anything.
    """
    path.mkdir()
    _mount(path, f"size={size}")
    try:
        yield lambda options: _mount(path, f"remount,{options}")
    finally:
        os.system(f"umount --lazy '{path}'")


def _mount(path: Path, options: str) -> None:
    if os.system(f"mount -t tmpfs -o {options} tmpfs '{path}' 2>/dev/null"):
        raise PermissionError("mounting a file system is not permitted here")
