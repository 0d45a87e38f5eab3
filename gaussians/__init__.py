"""Represent, store and draw 3D Gaussians: what every stage of the project shares.

``__init__.pyi`` lists the public names; each loads its module when it is first used.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
