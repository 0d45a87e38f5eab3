"""Move each Gaussian with the keypoints of its object, in a Warp kernel."""

# mypy: ignore-errors

import warp as wp

from gaussians.rotation_kernels import polar_rotation
from gaussians.spherical_harmonics_kernels import rotate_sh

wp.set_module_options({"enable_backward": False})


@wp.kernel
def follow(
    rows: wp.array(dtype=int),
    objects: wp.array(dtype=int),
    offsets: wp.array(dtype=wp.vec3),
    neighbours: wp.array2d(dtype=int),
    value_weights: wp.array2d(dtype=float),
    gradient_weights: wp.array2d(dtype=wp.vec3),
    rest_covariances: wp.array2d(dtype=float),
    rest_sh: wp.array2d(dtype=wp.vec3),
    displacements: wp.array(dtype=wp.vec3),
    rotations: wp.array(dtype=wp.mat33),
    centroids: wp.array(dtype=wp.vec3),
    means: wp.array(dtype=wp.vec3),
    covariances: wp.array2d(dtype=float),
    sh: wp.array2d(dtype=wp.vec3),
    turns: wp.array(dtype=wp.mat33),
):
    """Write where a Gaussian is in a frame, its covariance, its colours and, unless ``turns`` is empty, its rotation.

    The first eight arrays are the same for all frames, the next three a frame's, the last four its result.

    Args:
        displacements: displacements of all keypoints, in the axes of their objects, metres.
        rotations: rotations of the objects.
        centroids: centroids of their keypoints, metres.
    """
    i = wp.tid()
    row = rows[i]
    R = rotations[objects[i]]
    place = offsets[i]
    F = wp.identity(n=3, dtype=float)
    for k in range(neighbours.shape[1]):
        displacement = displacements[neighbours[i, k]]
        place += value_weights[i, k] * displacement
        F += wp.outer(displacement, gradient_weights[i, k])
    F = R * F
    means[row] = R * place + centroids[objects[i]]

    xx, xy, xz = rest_covariances[row, 0], rest_covariances[row, 1], rest_covariances[row, 2]
    yy, yz, zz = rest_covariances[row, 3], rest_covariances[row, 4], rest_covariances[row, 5]
    C = F * wp.mat33(xx, xy, xz, xy, yy, yz, xz, yz, zz) * wp.transpose(F)
    covariances[row, 0] = C[0, 0]
    covariances[row, 1] = C[0, 1]
    covariances[row, 2] = C[0, 2]
    covariances[row, 3] = C[1, 1]
    covariances[row, 4] = C[1, 2]
    covariances[row, 5] = C[2, 2]

    if sh.shape[1] > 1 or turns.shape[0] > 0:
        turn = polar_rotation(F)
        if sh.shape[1] > 1:
            rotate_sh(turn, row, rest_sh, sh)
        if turns.shape[0] > 0:
            turns[row] = turn
