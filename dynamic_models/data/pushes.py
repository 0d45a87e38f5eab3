"""External forces as models take them: over the mass of their object, mean of each frame."""

import math
from collections.abc import Sequence

import torch

from gaussians.files.external_forces import ExternalForce
from gaussians.stage.errors import InputError


def mean_pushes(
    forces: Sequence[ExternalForce],
    labels: Sequence[int],
    masses: Sequence[float],
    num_frames: int,
    frame_dt: float,
    first_frame: int = 0,
) -> torch.Tensor:
    """Pushes (num_frames - 1, O, 6) between frames: force over mass, m/s^2, and torque over mass, m^2/s^2.

    Each is the integral over its frame, divided by its length, so that the momentum gained does not depend on where in
    a frame a force begins or ends.

    Args:
        forces: those on objects that are not among ``labels`` do nothing.
        labels: of the O objects.
        masses: theirs, kg; NaN for unknown.
        frame_dt: seconds from frame to frame.
        first_frame: the one that the first push begins at; frame 0 is at time 0.

    Raises:
        InputError: neither the force nor ``masses`` has the mass of an object.
    """
    begins = (first_frame + torch.arange(num_frames - 1, dtype=torch.float64)) * frame_dt
    pushes = torch.zeros(num_frames - 1, len(labels), 6, dtype=torch.float64)
    for force in forces:
        if force.obj_id not in labels:
            continue
        row = labels.index(force.obj_id)
        mass = masses[row] if force.mass is None else force.mass
        if math.isnan(mass):
            raise InputError(f"external force on object {force.obj_id}: expected a mass, for nothing says its density")
        overlap = (begins + frame_dt).clamp_max(force.end) - begins.clamp_min(force.start)
        share = overlap.clamp_min(0) / frame_dt
        pushes[:, row] += share[:, None] * torch.tensor([*force.force, *force.torque], dtype=torch.float64) / mass
    return pushes.float()
