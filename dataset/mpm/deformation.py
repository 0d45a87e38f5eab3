"""This module exports particles as Gaussians in the world, and looks for particles that have gone wrong."""

# mypy: ignore-errors

from enum import IntEnum

import warp as wp

from dataset.mpm.lattice import LatticeStruct, coordinates, is_inside
from gaussians.rotation_kernels import polar_rotation

wp.set_module_options({"enable_backward": False})

vec6 = wp.types.vector(length=6, dtype=float)


class Problem(IntEnum):
    """Names a problem that a particle can have; the worst comes first."""

    NOT_FINITE = 0
    TOO_FAST = 1
    OUTSIDE = 2
    NONE = 3 << 24

    @classmethod
    def decode(cls, code: int) -> "tuple[Problem, int]":
        """Return the problem that a code stands for, and the label of the object."""
        return (cls.NONE, -1) if code == cls.NONE else (cls(code >> 24), code & 0xFFFFFF)


_NOT_FINITE = wp.constant(int(Problem.NOT_FINITE))
_TOO_FAST = wp.constant(int(Problem.TOO_FAST))
_OUTSIDE = wp.constant(int(Problem.OUTSIDE))


@wp.func
def deformed(F: wp.mat33, covariance: vec6) -> vec6:
    """Return F cov F^T, packed as xx, xy, xz, yy, yz, zz."""
    a = covariance
    A = F * wp.mat33(a[0], a[1], a[2], a[1], a[3], a[4], a[2], a[4], a[5]) * wp.transpose(F)
    return vec6(A[0, 0], A[0, 1], A[0, 2], A[1, 1], A[1, 2], A[2, 2])


@wp.kernel
def export_particles(
    lattice: LatticeStruct,
    speed_limit: float,
    gaussians: int,
    back: wp.mat33,
    F: wp.array(dtype=wp.mat33),
    x: wp.array(dtype=wp.vec3),
    v: wp.array(dtype=wp.vec3),
    covariances: wp.array(dtype=vec6),
    labels: wp.array(dtype=int),
    means_out: wp.array(dtype=wp.vec3),
    covariances_out: wp.array(dtype=vec6),
    rotations_out: wp.array(dtype=wp.mat33),
    velocities_out: wp.array(dtype=wp.vec3),
    problem: wp.array(dtype=int),
):
    """Turn the particles that are Gaussians back into the world, and look for the worst problem of all particles.

    Rotations are those of F's polar decomposition, transposed as trajectory files hold them.
    """
    p = wp.tid()
    code = -1
    if not (wp.isfinite(x[p]) and wp.isfinite(v[p])):
        code = _NOT_FINITE
    elif wp.length(v[p]) >= speed_limit:
        code = _TOO_FAST
    elif not is_inside(lattice, coordinates(lattice, x[p])):
        code = _OUTSIDE
    if code >= 0:
        wp.atomic_min(problem, 0, (code << 24) | labels[p])
    if p < gaussians:
        means_out[p] = back * x[p]
        velocities_out[p] = back * v[p]
        # The deformation in the world is back F back^T, its rotation likewise.
        covariances_out[p] = deformed(back * F[p], covariances[p])
        rotations_out[p] = back * wp.transpose(polar_rotation(F[p])) * wp.transpose(back)
