"""What a Gaussian looks like when its particle is deformed."""

# mypy: ignore-errors

import warp as wp

from dataset.mpm.polar import polar_rotation

wp.set_module_options({"enable_backward": False})

vec6 = wp.types.vector(length=6, dtype=float)


@wp.kernel
def deform_covariances(
    F: wp.array(dtype=wp.mat33),
    covariance: wp.array(dtype=vec6),
    covariance_out: wp.array(dtype=vec6),
    rotation_out: wp.array(dtype=wp.mat33),
):
    """F cov F^T, packed as xx, xy, xz, yy, yz, zz, and the rotation of the polar decomposition of F."""
    p = wp.tid()
    a = covariance[p]
    A = F[p] * wp.mat33(a[0], a[1], a[2], a[1], a[3], a[4], a[2], a[4], a[5]) * wp.transpose(F[p])
    covariance_out[p] = vec6(A[0, 0], A[0, 1], A[0, 2], A[1, 1], A[1, 2], A[2, 2])
    rotation_out[p] = polar_rotation(F[p])
