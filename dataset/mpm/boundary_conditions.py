from typing import Literal

from pydantic import BaseModel, ConfigDict


class BoundingBox(BaseModel):
    """Floor, walls and ceiling."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    type: Literal["bounding_box"]


BOUNDARY_CONDITIONS = {"bounding_box": BoundingBox}
BoundaryCondition = BoundingBox
