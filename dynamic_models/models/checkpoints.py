"""Save and load trained models: a JSON file of settings that names its weights (safetensors) and their SHA-256.

The weights are written under a name of their own first; the JSON file, replaced in one move, makes them the checkpoint.
So the former checkpoint is whole wherever a writer is killed. Nothing is ever unpickled.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from dynamic_models.data.scene_state import World
from dynamic_models.models.interface import FrameModel
from dynamic_models.models.registry import CHECKPOINT_NAMES, build_model
from gaussians.numbers import FrameTime, NotNegative
from gaussians.stage.atomic_files import atomic_path, file_hash, writable
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json, validated, write_json

FORMAT_VERSION = 1
_TYPES = ("F16", "BF16", "F32", "F64")


class CheckpointInfo(BaseModel):
    """A ``CheckpointInfo`` is the JSON file of a checkpoint."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    format_version: int = FORMAT_VERSION
    settings: dict[str, Any]
    """what the model is built from; ``dynamic_model`` is its name"""
    num_keypoints: int = Field(ge=1)
    """keypoints of every object, in training"""
    frame_dt: FrameTime
    """seconds from frame to frame, in training"""
    dx: NotNegative = 0.0
    """cell size of the simulations in training, metres; 0 for unknown"""
    world: World = World()
    """gravity and walls of the training data"""
    materials: dict[str, NotNegative] = {}
    """medians over the training objects, for objects that nothing is known of"""
    training: dict[str, Any] = {}
    """how it was trained and how well that went, for people"""
    weights: str = ""
    """name of the file of weights beside this one"""
    sha256: str = ""
    """SHA-256 of the file of weights"""


def save_checkpoint(path: Path, model: nn.Module, info: CheckpointInfo) -> None:
    """Write ``path`` (a .json file) and the weights that it names; the former checkpoint's weights there are removed.

    Raises:
        InputError: the directory cannot be written to.
    """
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary_name = path.parent / f"{path.stem}-new.safetensors"
        with atomic_path(temporary_name) as temporary:
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
            temporary.write_bytes(save(tensors))
        digest = file_hash(temporary_name)
        weights = path.parent / f"{path.stem}-{digest[:8]}.safetensors"
        temporary_name.replace(weights)
        write_json(path, info.model_copy(update={"weights": weights.name, "sha256": digest}).model_dump())
        for former in path.parent.glob(f"{path.stem}-*.safetensors"):
            if former != weights:
                former.unlink()


def load_checkpoint(path: str | Path, dynamic_model: str | None = None) -> tuple[FrameModel, CheckpointInfo]:
    """Load a trained model, in evaluation mode, on the CPU, and what its checkpoint says.

    Args:
        path: the .json file, or the directory that training wrote (there best.json, or else last.json).
        dynamic_model: the name of the model that it must be; None: any.

    Raises:
        InputError: the file is missing, damaged, was changed, or is of another model or of a later version.
    """
    path = _find(Path(path))
    info = _read_info(path)
    found = info.settings.get("dynamic_model")
    if dynamic_model is not None and found != dynamic_model:
        raise InputError(f"{path}: dynamic_model: expected {dynamic_model}, found {found}")
    weights = path.parent / Path(info.weights).name
    if not weights.is_file():
        raise InputError(f"{weights}: no such file: expected the weights that {path.name} names")
    if file_hash(weights) != info.sha256:
        raise InputError(f"{weights}: truncated or changed: its SHA-256 is not the one in {path.name}")
    try:
        with torch.device("meta"):  # where nothing is allocated, however wide the settings make the model
            outline = build_model(info.settings)
    except InputError as error:
        raise InputError(f"{path}: settings: {error}") from None
    try:
        check_shapes(path, outline, _shapes_in(weights))
        model, tensors = build_model(info.settings), load_file(weights)
    except SafetensorError as error:
        raise InputError(f"{weights}: not a safetensors file: {error}") from None
    check_weights(path, model, tensors)
    model.load_state_dict(tensors)
    return model.eval(), info


def _shapes_in(weights: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in a safetensors file, without reading any of them."""
    shapes = {}
    with safe_open(weights, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  it is no dictionary
            tensor = file.get_slice(name)
            if tensor.get_dtype() not in _TYPES:
                raise InputError(f"{weights}: {name}: expected float32, found {tensor.get_dtype()}")
            shapes[name] = tuple(tensor.get_shape())
    return shapes


def check_weights(path: Path, model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise ``InputError`` unless ``tensors`` fit ``model`` by name and shape, and are finite."""
    check_shapes(path, model, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: weight {name!r} has non-finite values")


def check_shapes(path: Path, model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ``InputError`` unless tensors of these ``shapes`` are those of ``model`` by name and shape."""
    expected = model.state_dict()
    for name in sorted(expected.keys() ^ shapes.keys()):
        problem = "missing from" if name in expected else "unknown among"
        raise InputError(f"{path}: weight {name!r} is {problem} the weights; another model or other settings?")
    for name, shape in shapes.items():
        if shape != expected[name].shape:
            raise InputError(
                f"{path}: weight {name!r}: expected shape {tuple(expected[name].shape)} by its settings, found {shape}"
            )


def _find(path: Path) -> Path:
    if path.is_dir():
        for name in CHECKPOINT_NAMES:
            if (path / name).is_file():
                return path / name
        raise InputError(f"{path}: no checkpoint: expected best.json or last.json")
    if not path.is_file():
        raise InputError(f"{path}: no such file: expected a checkpoint (.json) or its directory")
    if path.suffix != ".json":
        raise InputError(f"{path}: expected a checkpoint's .json file or its directory")
    return path


def _read_info(path: Path) -> CheckpointInfo:
    contents = read_json(path)
    if not isinstance(contents, dict) or "settings" not in contents:
        raise InputError(f"{path}: not a checkpoint: no field 'settings'")
    version = contents.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise InputError(f"{path}: format_version: expected at most {FORMAT_VERSION}, found {version!r}")
    return validated(path, contents, CheckpointInfo)
