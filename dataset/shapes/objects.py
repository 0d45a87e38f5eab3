"""The bodies of the catalogue's objects, by name. Sizes are those after the catalogue's scale."""

from collections.abc import Callable

from dataset.shapes.fabrics import cloth, cloth2, cloth3, pillow, pillow2, rope, rope2
from dataset.shapes.figures import bear, miku, panda
from dataset.shapes.household import bowl, can, phone, toy
from dataset.shapes.solid import Solid
from dataset.shapes.toys import ball, duck, duck2, soccer

SOLIDS: dict[str, Callable[[], Solid]] = {
    builder.__name__: builder
    for builder in (
        *(ball, bear, bowl, can, cloth, cloth2, cloth3, duck, duck2),
        *(miku, panda, phone, pillow, pillow2, rope, rope2, soccer, toy),
    )
}
