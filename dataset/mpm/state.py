"""This module holds the state of a simulation: what changes from substep to substep."""

# mypy: ignore-errors

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import warp as wp

from gaussians.stage.shape_checks import check_shape


@wp.struct
class StateStruct:
    """Holds the arrays of an ``MPMState`` for kernels."""

    x: wp.array(dtype=wp.vec3)
    v: wp.array(dtype=wp.vec3)
    C: wp.array(dtype=wp.mat33)
    F: wp.array(dtype=wp.mat33)
    total: wp.array(dtype=wp.mat33)
    history: wp.array(dtype=float)


@dataclass(frozen=True)
class MPMState:
    """Holds the state of N particles at one moment; the arrays' contents change, the arrays do not.

    Attributes:
        x: (N,) vec3, world positions, metres.
        v: (N,) vec3, velocities, m/s.
        C: (N,) mat33, affine velocity, 1/s.
        F: (N,) mat33, deformation gradient; of plastic materials its elastic part.
        history: (N,), what each law keeps of the past, see ``constitutive_laws``.
        time: (1,) float64, seconds since the start; it stands still if no condition asks for it.
        total: (N,) mat33, the whole deformation gradient, if any material is plastic.
    """

    x: wp.array
    v: wp.array
    C: wp.array
    F: wp.array
    history: wp.array
    time: wp.array
    total: wp.array | None = None

    @classmethod
    def at_rest(
        cls,
        positions: np.ndarray,
        velocities: np.ndarray | None = None,
        device: str | wp.Device = "cpu",
        plastic: bool = False,
    ) -> "MPMState":
        """Make a state of undeformed particles.

        Args:
            positions: (N, 3), metres.
            velocities: (N, 3), m/s, zero by default.
            plastic: whether there are plastic materials, ``MPMModel.plastic``.
        """
        count = len(positions)
        check_shape("positions", positions, "N", 3)
        velocities = np.zeros((count, 3)) if velocities is None else velocities
        check_shape("velocities", velocities, count, 3)
        identity = np.tile(np.eye(3, dtype=np.float32), (count, 1, 1))
        return cls(
            x=wp.array(positions.astype(np.float32), dtype=wp.vec3, device=device),
            v=wp.array(velocities.astype(np.float32), dtype=wp.vec3, device=device),
            C=wp.zeros(count, dtype=wp.mat33, device=device),
            F=wp.array(identity, dtype=wp.mat33, device=device),
            history=wp.zeros(count, dtype=float, device=device),
            time=wp.zeros(1, dtype=wp.float64, device=device),
            total=wp.array(identity, dtype=wp.mat33, device=device) if plastic else None,
        )

    @cached_property
    def struct(self) -> StateStruct:
        """Return the particles' arrays for kernels."""
        struct = StateStruct()
        struct.x, struct.v, struct.C, struct.F = self.x, self.v, self.C, self.F
        struct.history = self.history
        if self.total is not None:
            struct.total = self.total
        return struct

    def __len__(self) -> int:
        return len(self.x)

    @property
    def whole_deformation(self) -> wp.array:
        """Return the deformation gradient including plastic flow, (N,) mat33."""
        return self.F if self.total is None else self.total
