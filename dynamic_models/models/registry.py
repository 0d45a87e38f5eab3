"""Name the learned models: their classes, each imported when it is asked for, and where their checkpoints are."""

import json
import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gaussians.stage.errors import InputError

if TYPE_CHECKING:
    from dynamic_models.models.interface import FrameModel

MODELS = {
    "ngff": "dynamic_models.models.ngff:NGFF",
    "ngff_impulses": "dynamic_models.models.ngff_impulses:NGFFImpulses",
    "ngff_objects": "dynamic_models.models.ngff_objects:NGFFObjects",
    "ngff_published": "dynamic_models.models.ngff_published:NGFFPublished",
    "pointformer": "dynamic_models.models.pointformer:Pointformer",
    "gcn": "dynamic_models.models.gcn:GCN",
    "rigidformer": "dynamic_models.models.rigidformer:RigidFormer",
}
"""The module and the class of each model."""

CHECKPOINT_NAMES = ("best.json", "last.json")
"""The checkpoints that training writes to a directory, the preferred one first."""
TRAINED, SHIPPED = Path("checkpoints"), Path(__file__).parent.parent / "pretrained"
"""Where training writes a model's checkpoint, and where those that come with the repository are."""


def model_class(name: Any) -> "type[FrameModel]":
    """Return the class of a model.

    Raises:
        InputError: there is no such model.
    """
    if not isinstance(name, str) or name not in MODELS:
        raise InputError(f"dynamic_model: expected one of {', '.join(MODELS)}, found {name!r}")
    module, _, attribute = MODELS[name].partition(":")
    found: type[FrameModel] = getattr(import_module(module), attribute)
    return found


def build_model(settings: dict[str, Any]) -> "FrameModel":
    """Return an untrained model of ``settings["dynamic_model"]``.

    Raises:
        InputError: there is no such model, or a setting is unknown or invalid.
    """
    model_type = model_class(settings.get("dynamic_model"))

    from pydantic import ValidationError

    from gaussians.stage.json_files import describe_problem

    try:
        return model_type(model_type.settings_type.model_validate(settings))
    except ValidationError as error:
        raise InputError(describe_problem(error)) from None


class ChosenCheckpoint(NamedTuple):
    """A ``ChosenCheckpoint`` is the checkpoint that is taken where none is named.

    Attributes:
        path: its directory.
        notes: lines to print: which one it is, and what was left out.
    """

    path: Path
    notes: tuple[str, ...]


def default_checkpoint(dynamic_model: str, dx: float = 0.0, trained: Path = TRAINED, shipped: Path = SHIPPED) -> Path:
    """Return the directory of the checkpoint that ``choose_checkpoint`` chooses, without its notes."""
    return choose_checkpoint(dynamic_model, dx, trained, shipped).path


def choose_checkpoint(
    dynamic_model: str,
    dx: float = 0.0,
    trained: Path = TRAINED,
    shipped: Path = SHIPPED,
    named: Path | None = None,
) -> ChosenCheckpoint:
    """Choose the checkpoint of a model whose training data had the cell size that is nearest to a scene's.

    Of those that are equally near, a model's own is taken, then the one that comes with the repository under its name.
    One whose training was stopped is taken only where there is no other.

    Args:
        dynamic_model: name of a model, or of a directory in ``shipped``.
        dx: cell size of the grid that the scene is or would be simulated on, metres; 0 for unknown.
        named: what a user has named, which is then taken.
        trained: where training writes each model's directory.
        shipped: where those that come with the repository are.
    """
    if named is not None:
        stopped = stopped_note(named)
        return ChosenCheckpoint(named, (f"warning: {stopped}",) if stopped else ())
    own, given = trained / dynamic_model, shipped / dynamic_model
    others = [path.parent for path in sorted(shipped.glob("*/best.json")) if path.parent != given]
    of_model = [path for path in others if _part(_recorded(path), "settings").get("dynamic_model") == dynamic_model]
    found = [path for path in (own, given) if any((path / name).is_file() for name in CHECKPOINT_NAMES)] + of_model
    if not found:
        return ChosenCheckpoint(given if given.is_dir() else own, ())  # whose absence is reported when it is loaded
    updates = {path: stopped_after(path) for path in found}
    candidates = [path for path in found if updates[path] is None] or found
    chosen = min(candidates, key=lambda path: _mismatch(_cell_size(path), dx))
    notes = [f"{dynamic_model}: {chosen}{_trained_on(_cell_size(chosen), dx)}"]
    if updates.get(own) is not None:
        notes.append(f"warning: {stopped_note(own)}" + (f"; --checkpoint {own} takes it" if chosen != own else ""))
    return ChosenCheckpoint(chosen, tuple(notes))


def stopped_after(checkpoint: Path) -> int | None:
    """Return after how many updates the training of a checkpoint was stopped, None where it was not or nothing tells.

    Args:
        checkpoint: a checkpoint's directory, or its .json file.
    """
    folder = checkpoint.parent if checkpoint.suffix == ".json" else checkpoint
    training = _part(_recorded(folder, ("last.json",)), "training")
    updates = training.get("iterations")
    return updates if training.get("finished") is False and isinstance(updates, int) else None


def stopped_note(checkpoint: Path) -> str | None:
    """Return a line that says after how many updates a checkpoint's training was stopped, None where it was not."""
    updates = stopped_after(checkpoint)
    return None if updates is None else f"{checkpoint}: its training was stopped after {updates:,} updates"


def _recorded(folder: Path, names: Sequence[str] = CHECKPOINT_NAMES) -> dict[str, Any]:
    """Return what the first .json file of a checkpoint's directory says; nothing if it cannot be read.

    Loading the checkpoint says what is wrong with it.
    """
    for name in names:
        if (folder / name).is_file():
            try:
                found = json.loads((folder / name).read_bytes())
            except (OSError, ValueError, RecursionError):
                return {}
            return found if isinstance(found, dict) else {}
    return {}


def _part(recorded: dict[str, Any], key: str) -> dict[str, Any]:
    part = recorded.get(key)
    return part if isinstance(part, dict) else {}


def _cell_size(folder: Path) -> float:
    dx = _recorded(folder).get("dx")
    return float(dx) if isinstance(dx, int | float) else 0.0


def _mismatch(of_checkpoint: float, of_scene: float) -> float:
    """Return how different two cells are, the logarithm of their ratio to two digits; what is unknown comes last."""
    if not of_scene > 0:
        return 0.0
    return round(abs(math.log(of_checkpoint / of_scene)), 2) if of_checkpoint > 0 else math.inf


def _trained_on(of_checkpoint: float, of_scene: float) -> str:
    if not of_checkpoint > 0:
        return ""
    own = f", trained on cells of {100 * of_checkpoint:.3g} cm"
    return own if not of_scene > 0 else f"{own}; the scene's are {100 * of_scene:.3g} cm"
