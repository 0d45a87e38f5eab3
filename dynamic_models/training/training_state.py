"""Save what a training leaves: checkpoints, its log, and the state from which it goes on after an interruption."""

import io
import json
import math
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from pydantic import Field, TypeAdapter, ValidationError
from tqdm import tqdm

from dynamic_models.data.scene_state import MATERIAL_FIELDS
from dynamic_models.data.windows import SimulatedScene, collate_windows
from dynamic_models.evaluation.metrics import trajectory_errors
from dynamic_models.models.checkpoints import CheckpointInfo, check_weights, load_checkpoint, save_checkpoint
from dynamic_models.models.interface import FrameModel
from dynamic_models.training.settings import TrainSettings
from gaussians.files.torch_file import load_dictionary, tensor_of
from gaussians.stage.atomic_files import atomic_path, writable
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import parse_json, validated

STATE_FILE = "state.pt"

_VALIDATED_SCENES = 64
_METRICS = TypeAdapter(dict[str, float])


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

    iteration: Annotated[int, Field(ge=0)] = 0
    elapsed: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    best: Annotated[float, Field(ge=0)] = math.inf
    skipped: Annotated[int, Field(ge=0)] = 0
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
        dx=max(scene.dx for scene in scenes),
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
    spent = {"iterations": progress.iteration, "seconds": round(progress.elapsed, 1), "finished": progress.finished}
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
    names += "mixed_precision val_groups wall_weight"
    flags = {name: getattr(settings, name) for name in names.split()}
    trained_on = {"batch": batch, "scenes": [scene.name for scene in scenes]}
    return built_from | flags | trained_on | {"pretrained": pretrained}


def save_state(output: Path, progress: Progress, identity: dict[str, Any], **parts: Any) -> None:
    """Write state.pt: progress, what the training is (``identity``), and the state dicts in ``parts``."""
    buffer = io.BytesIO()  # torch.save itself gives no clear error on a full disk
    torch.save({"progress": asdict(progress), "identity": json.dumps(identity), **parts}, buffer)
    with atomic_path(output / STATE_FILE) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_state(
    output: Path, identity: dict[str, Any], model: FrameModel, optimizer: AcceleratedOptimizer
) -> Progress | None:
    """Give a model and its optimizer the states of state.pt, and return where the training stands.

    Returns:
        None where there is no such file, or the training in it has not begun.

    Raises:
        InputError: the file is damaged, or belongs to a training with another ``identity``.
    """
    path = output / STATE_FILE
    if not path.is_file():
        return None
    try:
        stored = load_dictionary(path)
        found = {"wall_weight": 0.0} | parse_json(stored["identity"])  # which older states do not know
        for name, wanted in json.loads(json.dumps(identity)).items():
            if found.get(name) != wanted:
                was = f"was trained with {name} {_short(found.get(name))}, now {_short(wanted)}"
                raise _OtherTrainingError(f"{path}: {was}: give another --output, or --resume none to start anew")
        progress = validated("progress", stored["progress"], Progress)
        check_weights(path, model, {name: tensor_of(path, stored["model"], name) for name in stored["model"]})
        model.load_state_dict(stored["model"])
        _load_optimizer(path, optimizer, stored["optimizer"])
        if optimizer.scaler is not None:
            optimizer.scaler.load_state_dict(stored["scaler"])
    except _OtherTrainingError:
        raise
    except Exception as error:  # of a damaged file anything may be missing or be something else
        reason = str(error).removeprefix(f"{path}: ") or type(error).__name__
        reason = f"no {reason}" if isinstance(error, KeyError) else reason
        raise InputError(f"{path}: damaged ({reason}); --resume none starts anew") from None
    return progress


def check_best(output: Path, progress: Progress) -> None:
    """Let the next checkpoint be the best one, if the best one so far is missing or damaged.

    Raises:
        InputError: there is no next one, for the training is finished.
    """
    if progress.best == math.inf:
        return
    try:
        load_checkpoint(output / "best.json")
    except InputError as error:
        if progress.finished:
            raise InputError(f"{error}; --resume none trains anew") from None
        tqdm.write(f"warning: {error}; the next checkpoint takes its place")
        progress.best = math.inf


class _OtherTrainingError(InputError):
    """A ``_OtherTrainingError`` says that a state belongs to a training with other settings."""


def _load_optimizer(path: Path, optimizer: AcceleratedOptimizer, stored: dict[str, Any]) -> None:
    """Give ``optimizer`` the moments of every weight; its settings stay.

    Raises:
        InputError: moments are missing, not those of the weights, or not finite.
    """
    own = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = stored["state"]
    for i, parameter in enumerate(parameters):
        if i not in moments:
            raise InputError(f"{path}: optimizer: no moments of weight {i}")
        for name in ("step", "exp_avg", "exp_avg_sq"):
            tensor = tensor_of(path, moments[i], name)
            shape = () if name == "step" else parameter.shape
            if tensor.shape != shape or not tensor.isfinite().all():
                raise InputError(f"{path}: optimizer: {name} of weight {i}: expected finite numbers, {tuple(shape)}")
    optimizer.load_state_dict(own | {"state": {i: moments[i] for i in range(len(parameters))}})


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


class MetricsLog:
    """A ``MetricsLog`` is metrics.jsonl, at ``path``: one JSON object a line, one line an iteration."""

    def __init__(self, path: Path, iteration: int) -> None:
        """Go on after ``iteration``: later lines of an interrupted run are dropped, damaged ones with a warning.

        Raises:
            InputError: the file cannot be written.
        """
        lines = path.read_bytes().splitlines() if iteration and path.is_file() else []
        logged = {_logged_iteration(line): line for line in lines}
        kept = [line for number, line in logged.items() if number is not None and 0 < number <= iteration]
        if len(kept) < iteration:
            tqdm.write(
                f"{path}: warning: {iteration - len(kept)} of {iteration} iterations are missing or damaged in it"
            )
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"".join(line + b"\n" for line in kept))
        self.path = path
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, metrics: dict[str, float]) -> None:
        with writable(self.path):
            self._file.write(json.dumps(metrics) + "\n")

    def close(self) -> None:
        self._file.close()


def _logged_iteration(line: bytes) -> int | None:
    """Return the iteration of a line of metrics.jsonl; None for a damaged line."""
    try:
        number = _METRICS.validate_json(line)["iteration"]
    except (ValidationError, KeyError):
        return None
    return int(number) if number.is_integer() else None


class StopSignal:
    """A ``StopSignal`` remembers that SIGTERM came, as it does before Slurm takes a node away.

    It is a context manager: when the block ends, SIGTERM does again what it did before.
    """

    def __init__(self) -> None:
        self._came = False
        self._former = signal.signal(signal.SIGTERM, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._came = True

    @property
    def asked(self) -> bool:
        """Return whether the training is to end."""
        return self._came

    def __enter__(self) -> "StopSignal":
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._former)
