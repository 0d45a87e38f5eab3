"""Name the learned models: their classes, each imported when it is asked for, and where their checkpoints are."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaussians.stage.errors import InputError

if TYPE_CHECKING:
    from dynamic_models.models.interface import FrameModel

MODELS = {
    "ngff": "dynamic_models.models.ngff:NGFF",
    "ngff_objects": "dynamic_models.models.ngff_objects:NGFFObjects",
    "ngff_published": "dynamic_models.models.ngff_published:NGFFPublished",
    "pointformer": "dynamic_models.models.pointformer:Pointformer",
    "gcn": "dynamic_models.models.gcn:GCN",
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


def default_checkpoint(dynamic_model: str, trained: Path = TRAINED, shipped: Path = SHIPPED) -> Path:
    """Return the directory of a model's own checkpoint if there is one, else of the one that comes with the repository.

    Args:
        trained: where training writes each model's directory.
        shipped: where those that come with the repository are.
    """
    own, given = trained / dynamic_model, shipped / dynamic_model
    has_own = any((own / name).is_file() for name in CHECKPOINT_NAMES)
    return given if not has_own and given.is_dir() else own
