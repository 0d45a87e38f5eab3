from .osediff import OSEDiff
from .tagger import Tagger

__all__ = ["OSEDiff", "Tagger"]
