from .conditioning import ConditioningPicture
from .diffsplat import DiffSplat, DiffSplatObject

__all__ = ["ConditioningPicture", "DiffSplat", "DiffSplatObject"]
