"""Commands in processes of their own, for tests to kill, and what a dataset then holds."""

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
_CONTEXT.set_forkserver_preload([__name__, SIMULATE, RENDER, "dynamic_models.train", "dynamic_models.evaluate"])


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
    def lines(self) -> list[str]:
        """What it printed, without progress bars."""
        text = self.log.read_text(errors="replace")
        parts = [line.split("\r")[-1].strip() for line in text.splitlines()]
        return [line for line in parts if line and "%|" not in line and "\x1b[A" not in line]


def start(log: Path, module: str, *arguments: object, die_at: int = 0) -> Run:
    """Run a command; kill it at the renaming of a file of number ``die_at``: before it, or if negative after it."""
    words = [str(argument) for argument in arguments]
    process = _CONTEXT.Process(target=_run, args=(str(log), module, words, die_at))
    process.start()
    return Run(process, log)


def _run(log: str, module: str, arguments: list[str], die_at: int) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if die_at:
        os.replace = _deadly(os.replace, die_at)
    sys.argv = [module, *arguments]
    sys.modules.pop(module, None)  # run as __main__, it would warn that it is loaded
    runpy.run_module(module, run_name="__main__")


def _deadly(replace: Callable[..., None], die_at: int) -> Callable[..., None]:
    calls = 0

    def wrapped(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*arguments)
        if calls == -die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return wrapped


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
    """Every file below ``root``: its bytes; a video's frames; of meta.json all but how long the simulation took.

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
