"""Share among all commands their flags, their exit status, and the choice of a device."""

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from gaussians.stage.errors import InputError, Terminated
from gaussians.stage.memory import check_address_space
from gaussians.stage.threads import choose_threads

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")

_ADDRESSES = 3 * 2**29  # bytes: PyTorch takes 0.9 GiB
EXTRAS = {
    "accelerate": "train",
    "diffusers": "perception",
    "gsplat": "cuda",
    "httpx2": "download",
    "huggingface_hub": "download",
    "kornia": "perception",
    "matplotlib": "train",
    "ncnn": "perception",
    "pycolmap": "photographs",
    "tensorboard": "train",
    "transformers": "perception",
    "viser": "viewer",
}
"""The optional libraries, and the extra of the package that installs each."""


class ArgumentParser(argparse.ArgumentParser):
    """An ``ArgumentParser`` shows the module's docstring and every default in ``--help``, and errors in one line."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, formatter_class=_HelpFormatter)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments, and see that there is room for the libraries that the work needs.

        Raises:
            InputError: there is not.
        """
        found = super().parse_args(args, namespace)
        check_address_space(_ADDRESSES, Path(sys.argv[0]).stem)
        return found

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (--help shows every flag)\n")

    def add_device(self) -> None:
        self.add_argument(
            "--device",
            choices=("auto", "cpu", "cuda"),
            default="auto",
            help="device to compute on; auto: a GPU if there is one",
        )

    def add_shard(self) -> None:
        self.add_argument(
            "--shard",
            type=parse_shard,
            default=(0, 1),
            metavar="i/n",
            help="take every n-th scene, starting with the i-th (0 <= i < n), so that processes can share the work",
        )

    def add_overwrite(self) -> None:
        self.add_argument("--overwrite", action="store_true", help="redo what is already complete")


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        # Compare by identity: the default 0 equals False, but is worth showing.
        if action.default is None or action.default is False or action.default in ([], (0, 1)):
            return action.help
        return super()._get_help_string(action)


def run(main: Callable[[], None]) -> None:
    """Run a command's ``main``: an ``InputError`` becomes one line on stderr and exit status 2.

    SIGTERM drops what is half written, and becomes one line and the shell's status for it, 143.
    """
    choose_threads()
    try:
        with _ends_by_signals():
            main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if (extra := EXTRAS.get(error.name or "")) is None:
            raise
        install = f"pip install 'neural-gaussian-force-fields[{extra}]', or bash setup_env.sh in the repository"
        print(f"error: {error.name} is not installed: {install}", file=sys.stderr)
        sys.exit(2)
    except Terminated:
        print("terminated", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`); Python would complain again while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        # What the system refuses, such as a name that is too long, or a file that is not ours to read.
        print(f"error: {InputError(_shortened(os.fsdecode(error.filename)))}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, ImportError, RuntimeError) as error:
        if not _is_for_want_of_memory(error):
            raise
        print(f"error: not enough memory: {_shortened(str(InputError(str(error))))}".rstrip(": "), file=sys.stderr)
        sys.exit(2)


_SHOWN = 200  # characters


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}...{text[-_SHOWN // 2 :]}"


def _is_for_want_of_memory(error: Exception) -> bool:
    """Return whether memory ran out; libraries have words for it, but no exception of their own."""
    words = ("allocate memory", "out of memory", "not enough memory", "failed to map segment", "failed to allocate")
    return isinstance(error, MemoryError) or any(phrase in str(error).lower() for phrase in words)


@contextmanager
def _ends_by_signals() -> Iterator[None]:
    """Let SIGTERM raise ``Terminated``, and Ctrl-C ``KeyboardInterrupt``, wherever the main thread is."""
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    hook = sys.unraisablehook

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would interrupt the tidying up
        raise Terminated

    handlers = {Terminated: terminate, KeyboardInterrupt: signal.default_int_handler}

    def raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
        # Python drops what is raised in a __del__ or in a callback from C: raise it again once that is over.
        if handler := handlers.get(unraisable.exc_type):
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            hook(unraisable)

    try:
        sys.unraisablehook = raise_again
        signal.signal(signal.SIGTERM, terminate)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in former.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


def resolve_device(name: str) -> "torch.device":
    """Return the device for ``--device auto|cpu|cuda``.

    Raises:
        InputError: CUDA was asked for by name and is not there.
    """
    import torch  # not at the top, so that --help does not wait for it

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no CUDA device here; use --device cpu")
    return torch.device(name)


def parse_shard(text: str) -> tuple[int, int]:
    """Parse ``"i/n"`` into two integers with 0 <= i < n, for ``argparse``."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise argparse.ArgumentTypeError(f"expected i/n with 0 <= i < n, found {text!r}")
    return int(match[1]), int(match[2])


def take_shard(items: Sequence[Item], shard: tuple[int, int]) -> list[Item]:
    """Return every n-th item from the i-th on."""
    index, count = shard
    return list(items[index::count])
