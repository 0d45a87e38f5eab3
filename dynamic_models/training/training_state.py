"""What lets a training be interrupted: its state on disk, its log, and the signal to end."""

import io
import json
import math
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from gaussians.stage.atomic_files import atomic_path, writable
from gaussians.stage.errors import InputError

STATE_FILE = "state.pt"


@dataclass
class Progress:
    """Where a training stands.

    Attributes:
        iteration: updates done.
        elapsed: seconds spent, over all runs.
        best: smallest error of any checkpoint.
        skipped: updates in a row left out for infinite gradients.
        finished: the last iteration is done or the time is spent.
    """

    iteration: int = 0
    elapsed: float = 0.0
    best: float = math.inf
    skipped: int = 0
    finished: bool = False


def save_state(output: Path, progress: Progress, identity: dict[str, Any], **parts: Any) -> None:
    """Write state.pt: progress, what the training is (``identity``), and the state dicts in ``parts``."""
    buffer = io.BytesIO()  # torch.save itself has no clear word for a full disk
    torch.save({"progress": asdict(progress), "identity": json.dumps(identity), **parts}, buffer)
    with atomic_path(output / STATE_FILE) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_state(output: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The contents of state.pt, ``progress`` as ``Progress``; None where there is no such file.

    Raises:
        InputError: it is damaged, or belongs to a training with another ``identity``.
    """
    path = output / STATE_FILE
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        progress, found = Progress(**state["progress"]), json.loads(state["identity"])
    except Exception as error:  # torch.load raises whatever its zip reader and unpickler come upon
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: damaged ({reason}); --resume none starts anew") from None
    for name, wanted in json.loads(json.dumps(identity)).items():
        if found.get(name) != wanted:
            raise InputError(
                f"{path}: was trained with {name} {_short(found.get(name))}, now {_short(wanted)}: "
                "give another --output, or --resume none to start anew"
            )
    return state | {"progress": progress}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


class MetricsLog:
    """metrics.jsonl, at ``path``: one JSON object a line, one line an iteration."""

    def __init__(self, path: Path, iteration: int) -> None:
        """Continue after ``iteration``: later lines of an interrupted run are dropped."""
        kept = []
        if iteration and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
                if not line.endswith("}\n") or json.loads(line)["iteration"] > iteration:
                    break
                kept.append(line)
        with atomic_path(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")
        self.path = path
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, metrics: dict[str, float]) -> None:
        with writable(self.path):
            self._file.write(json.dumps(metrics) + "\n")

    def close(self) -> None:
        self._file.close()


class StopSignal:
    """Remembers that SIGTERM came, so that the loop can save and end; what Slurm sends before it takes a node away."""

    def __init__(self) -> None:
        self.asked = False
        self._former = signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def restore(self) -> None:
        signal.signal(signal.SIGTERM, self._former)
