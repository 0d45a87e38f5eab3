"""One small piece per boundary condition: what it does to the velocity of a grid node.

Adding one: write its settings (a pydantic model whose ``type`` is its name in the configuration), its function of a
node, with the signature of ``bounding_box``, and enter both in ``BOUNDARY_CONDITIONS`` and ``BoundaryCondition``;
kernels are compiled for the conditions that a scene uses.
"""

# mypy: ignore-errors

from typing import Literal

import warp as wp
from pydantic import BaseModel, ConfigDict

from dataset.mpm.lattice import PADDING, LatticeStruct


class BoundingBox(BaseModel):
    """Floor, four walls and ceiling, each within one cell of its place in the world; see ``Lattice.walls``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    type: Literal["bounding_box"]


# The published factor for a substep of 1e-4 s, as a rate, so that friction does not depend on the substep.
_WALL_FRICTION = wp.constant(0.9)
_WALL_FRICTION_TIME = wp.constant(1.0e-4)
_PADDING = wp.constant(PADDING)


@wp.func
def bounding_box(lattice: LatticeStruct, node: wp.vec3i, velocity: wp.vec3, dt: float) -> wp.vec3:
    """Nodes in the padding stop moving into the wall; while they press against it, sliding along it decays."""
    factor = wp.pow(_WALL_FRICTION, dt / _WALL_FRICTION_TIME)
    v = velocity
    for axis in range(3):
        into_lower = node[axis] < _PADDING and v[axis] < 0.0
        into_upper = node[axis] >= lattice.nodes - _PADDING and v[axis] > 0.0
        if into_lower or into_upper:
            v = v * factor
            v[axis] = 0.0
    return v


BOUNDARY_CONDITIONS: dict[str, wp.Function] = {"bounding_box": bounding_box}
"""Function of a node by the condition's name in the configuration."""
BoundaryCondition = BoundingBox
