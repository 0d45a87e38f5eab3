"""Sharpen pictures with OSEDiff, and tag them for its prompts.

``__init__.pyi`` lists the public names; each loads its module when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
