"""Lay a smooth path through the views that a person has kept."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from tools.viewer.scene.poses import Eye


def eyes_along(kept: Sequence[Eye], count: int, aspect: float) -> list[Eye]:
    """Return ``count`` views along a smooth path through those that were kept, at equal steps from view to view.

    Positions and fields of view follow a natural cubic spline, orientations a spline of continuous angular
    acceleration; of two kept views both are straight.

    Args:
        kept: at least one.
        count: at least one.
        aspect: width over height of the views.
    """
    if not kept:
        raise ValueError("kept: expected at least one view")
    times = np.linspace(0, len(kept) - 1, count)
    values = np.array([[*eye.position.tolist(), eye.fov] for eye in kept])
    quaternions = np.array([eye.wxyz for eye in kept])[:, [1, 2, 3, 0]]  # scipy's are xyzw
    if len(kept) == 1:
        places, turns = values.repeat(count, 0), Rotation.from_quat(quaternions.repeat(count, 0))
    else:
        knots = np.arange(len(kept))
        places = CubicSpline(knots, values, bc_type="natural")(times)
        turns = RotationSpline(knots, Rotation.from_quat(quaternions))(times)
    wxyz = turns.as_quat()[:, [3, 0, 1, 2]]
    return [
        Eye(torch.tensor(place[:3], dtype=torch.float32), tuple(turn.tolist()), float(place[3]), aspect)
        for place, turn in zip(places, wxyz, strict=True)
    ]
