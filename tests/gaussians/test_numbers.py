"""Numbers far past single precision's range are refused where they are read."""

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ConfigDict, TypeAdapter, ValidationError

from gaussians.limits import LARGEST, SMALLEST
from gaussians.numbers import FrameTime, NotNegative, Positive, Real


@pytest.mark.parametrize(
    ("kind", "accepted", "refused"),
    [
        (Real, (0.0, -0.0, 1e-320, -LARGEST, LARGEST), (math.nextafter(LARGEST, math.inf), -1e300, math.inf, math.nan)),
        (Positive, (SMALLEST, 1.0, LARGEST), (0.0, -1.0, 1e-320, 1e300, math.inf, math.nan)),
        (NotNegative, (0.0, 1e-320, LARGEST), (-1e-320, -1.0, 1e300, math.inf, math.nan)),
        (FrameTime, (1e-6, 0.02, 1e3), (0.0, 1e-320, 1e-7, 1e4, math.inf, math.nan)),
    ],
)
def test_ranges_end_where_they_say(kind: Any, accepted: tuple[float, ...], refused: tuple[float, ...]) -> None:
    adapter = TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))
    for number in accepted:
        assert adapter.validate_python(number) == number
    for number in refused:
        with pytest.raises(ValidationError, match=r"expected|Input should be"):
            adapter.validate_python(number)


def test_single_precision_has_room_for_products() -> None:
    squares = np.float32([LARGEST, SMALLEST]) ** 2
    assert np.isfinite(squares).all()
    assert (squares > 0).all()
