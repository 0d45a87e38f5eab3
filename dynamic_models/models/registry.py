"""The table of learned models: their settings, validated, and what they build."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from dynamic_models.models.gcn import GCN, GCNSettings
from dynamic_models.models.interface import FrameModel
from dynamic_models.models.ngff import NGFF, NGFFSettings
from dynamic_models.models.ngff_objects import NGFFObjects, NGFFObjectsSettings
from dynamic_models.models.ngff_published import NGFFPublished, NGFFPublishedSettings
from dynamic_models.models.pointformer import Pointformer, PointformerSettings
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import describe_problem

MODELS: dict[str, tuple[type[BaseModel], Callable[[Any], FrameModel]]] = {
    "ngff": (NGFFSettings, NGFF),
    "ngff_objects": (NGFFObjectsSettings, NGFFObjects),
    "ngff_published": (NGFFPublishedSettings, NGFFPublished),
    "pointformer": (PointformerSettings, Pointformer),
    "gcn": (GCNSettings, GCN),
}


def build_model(settings: dict[str, Any]) -> FrameModel:
    """An untrained model of ``settings["dynamic_model"]``.

    Raises:
        InputError: there is no such model, or a setting is unknown or invalid.
    """
    name = settings.get("dynamic_model")
    if name not in MODELS:
        raise InputError(f"dynamic_model: expected one of {', '.join(MODELS)}, found {name!r}")
    settings_type, model_type = MODELS[name]
    try:
        return model_type(settings_type.model_validate(settings))
    except ValidationError as error:
        raise InputError(describe_problem(error)) from None
