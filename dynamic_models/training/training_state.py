"""Save what a training leaves: checkpoints, its log, and the state from which it goes on after an interruption."""

import io
import json
import math
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer

from dynamic_models.data.scene_state import MATERIAL_FIELDS
from dynamic_models.data.windows import SimulatedScene, collate_windows
from dynamic_models.evaluation.metrics import trajectory_errors
from dynamic_models.models.checkpoints import CheckpointInfo, save_checkpoint
from dynamic_models.models.interface import FrameModel
from dynamic_models.training.settings import TrainSettings
from gaussians.stage.atomic_files import atomic_path, writable
from gaussians.stage.errors import InputError

STATE_FILE = "state.pt"

_VALIDATED_SCENES = 64


@dataclass
class Progress:
    """A ``Progress`` says where a training stands.

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


def checkpoint_info(
    built_from: dict[str, Any], scenes: Sequence[SimulatedScene], settings: TrainSettings, groups: Sequence[str]
) -> CheckpointInfo:
    """Return what a checkpoint says of a training that has not begun."""
    medians = torch.cat([scene.materials for scene in scenes]).nanmedian(0).values
    known = {name: float(value) for name, value in zip(MATERIAL_FIELDS, medians, strict=True) if value.isfinite()}
    return CheckpointInfo(
        settings=built_from,
        num_keypoints=settings.num_keypoints,
        frame_dt=scenes[0].frame_dt,
        world=scenes[0].world,
        materials=known,
        training={"groups": list(groups), "scenes": len(scenes), "steps": settings.steps, "seed": settings.seed},
    )


def validate(
    settings: TrainSettings,
    model: FrameModel,
    progress: Progress,
    info: CheckpointInfo,
    scenes: Sequence[SimulatedScene],
    held_out: Sequence[SimulatedScene],
) -> dict[str, float]:
    """Return the error of whole rollouts of held-out scenes, or without any of the first training scenes.

    If it is the smallest yet, best.json is written.
    """
    name, chosen = ("val_rmse", held_out) if held_out else ("train_rmse", scenes[:_VALIDATED_SCENES])
    error = rollout_error(model, chosen, settings.steps, settings.batch_size)
    if error < progress.best:
        progress.best = error
        save_checkpoint(settings.output / "best.json", model, trained_so_far(info, progress, {name: error}))
    return {name: error}


@torch.no_grad()
def rollout_error(model: FrameModel, scenes: Sequence[SimulatedScene], frames: int, batch_size: int) -> float:
    """Return the mean RMSE, metres, of rollouts of ``frames`` from the first frame."""
    device = next(model.parameters()).device
    model.eval()
    errors = []
    for i in range(0, len(scenes), batch_size):
        window = collate_windows([scene.window(0, frames) for scene in scenes[i : i + batch_size]])
        state, target = window.state, window.target
        predicted = model(state.to(device), frames, scenes[0].frame_dt, window.pushes.to(device)).cpu()
        errors += [trajectory_errors(*item).rmse for item in zip(predicted, target, state.mask, strict=True)]
    model.train()
    return sum(errors) / len(errors)


def save(
    settings: TrainSettings,
    model: FrameModel,
    optimizer: AcceleratedOptimizer,
    progress: Progress,
    info: CheckpointInfo,
    identity: dict[str, Any],
    metrics: dict[str, float],
) -> None:
    """Write last.json and state.pt."""
    errors = {name: value for name, value in metrics.items() if name.endswith("_rmse")}
    save_checkpoint(settings.output / "last.json", model, trained_so_far(info, progress, errors))
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    if optimizer.scaler is not None:
        states["scaler"] = optimizer.scaler.state_dict()
    save_state(settings.output, progress, identity, **states)


def trained_so_far(info: CheckpointInfo, progress: Progress, errors: dict[str, float]) -> CheckpointInfo:
    """Return ``info`` with how long the model has been trained, and how well that went."""
    spent = {"iterations": progress.iteration, "seconds": round(progress.elapsed, 1)}
    return info.model_copy(update={"training": info.training | spent | errors})


def training_identity(
    settings: TrainSettings,
    built_from: dict[str, Any],
    scenes: Sequence[SimulatedScene],
    batch: int,
    pretrained: str | None,
) -> dict[str, Any]:
    """Return what must be the same for --resume to go on with a training.

    Args:
        built_from: the model's settings.
        batch: samples of all processes in an iteration.
        pretrained: SHA-256 of the weights that it began with; None: random ones.
    """
    names = "seed num_keypoints steps chunk chunk_start epochs lr min_lr clip_grad loss time_limit augment noise "
    names += "mixed_precision val_groups"
    flags = {name: getattr(settings, name) for name in names.split()}
    trained_on = {"batch": batch, "scenes": [scene.name for scene in scenes]}
    return built_from | flags | trained_on | {"pretrained": pretrained}


def save_state(output: Path, progress: Progress, identity: dict[str, Any], **parts: Any) -> None:
    """Write state.pt: progress, what the training is (``identity``), and the state dicts in ``parts``."""
    buffer = io.BytesIO()  # torch.save itself gives no clear error on a full disk
    torch.save({"progress": asdict(progress), "identity": json.dumps(identity), **parts}, buffer)
    with atomic_path(output / STATE_FILE) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_state(output: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return the contents of state.pt, ``progress`` as ``Progress``; None where there is no such file.

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
    """A ``MetricsLog`` is metrics.jsonl, at ``path``: one JSON object a line, one line an iteration."""

    def __init__(self, path: Path, iteration: int) -> None:
        """Go on after ``iteration``: later lines of an interrupted run are dropped."""
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
    """A ``StopSignal`` remembers that SIGTERM came, as it does before Slurm takes a node away."""

    def __init__(self) -> None:
        self._came = False
        self._former = signal.signal(signal.SIGTERM, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._came = True

    @property
    def asked(self) -> bool:
        """Return whether the training is to end."""
        return self._came

    def restore(self) -> None:
        """Let SIGTERM do what it did before."""
        signal.signal(signal.SIGTERM, self._former)
