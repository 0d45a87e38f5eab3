"""Name the types of the numbers in settings and files, within the limits of ``gaussians.limits``."""

from typing import Annotated

from pydantic import AfterValidator, Field

from gaussians.limits import LARGEST, SMALLEST


def within(low: float, high: float) -> AfterValidator:
    """Return a validator of numbers from ``low`` to ``high``, for pydantic's ``Annotated`` types."""

    def check(number: float) -> float:
        if not low <= number <= high:
            raise ValueError(f"expected {low:g} to {high:g}, found {number:g}")
        return number

    return AfterValidator(check)


Real = Annotated[float, within(-LARGEST, LARGEST)]
Positive = Annotated[float, Field(gt=0), within(SMALLEST, LARGEST)]
NotNegative = Annotated[float, Field(ge=0), within(0, LARGEST)]
FrameTime = Annotated[float, Field(gt=0), within(1e-6, 1e3)]
"""Seconds from frame to frame."""
Vector = tuple[Real, Real, Real]
"""Three numbers along x, y and z."""
PositiveVector = tuple[Positive, Positive, Positive]
