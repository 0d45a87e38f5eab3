"""Turn spherical harmonics in Warp kernels, as ``spherical_harmonics.rotate_sh`` does."""

# mypy: ignore-errors

import warp as wp

from gaussians.spherical_harmonics import C2, C3, sample_directions

wp.set_module_options({"enable_backward": False})

vec5 = wp.types.vector(5, float)
vec7 = wp.types.vector(7, float)
mat53 = wp.types.matrix((5, 3), float)
mat73 = wp.types.matrix((7, 3), float)
mat55 = wp.types.matrix((5, 5), float)
mat77 = wp.types.matrix((7, 7), float)

_A2, _B2, _C2 = (wp.constant(value) for value in C2)
_A3, _B3, _C3, _D3, _E3 = (wp.constant(value) for value in C3)
_DIRECTIONS2 = wp.constant(mat53(*sample_directions(2)[0].flatten().tolist()))
_DIRECTIONS3 = wp.constant(mat73(*sample_directions(3)[0].flatten().tolist()))
_INVERSE2 = wp.constant(mat55(*sample_directions(2)[1].flatten().tolist()))
_INVERSE3 = wp.constant(mat77(*sample_directions(3)[1].flatten().tolist()))


@wp.func
def band2(d: wp.vec3) -> vec5:
    """Return the functions of degree 2 in direction ``d``."""
    x, y, z = d[0], d[1], d[2]
    return vec5(_A2 * x * y, -_A2 * y * z, _B2 * (3.0 * z * z - 1.0), -_A2 * x * z, _C2 * (x * x - y * y))


@wp.func
def band3(d: wp.vec3) -> vec7:
    """Return the functions of degree 3 in direction ``d``."""
    x, y, z = d[0], d[1], d[2]
    return vec7(
        -_A3 * y * (3.0 * x * x - y * y),
        _B3 * x * y * z,
        -_C3 * y * (5.0 * z * z - 1.0),
        _D3 * z * (5.0 * z * z - 3.0),
        -_C3 * x * (5.0 * z * z - 1.0),
        _E3 * z * (x * x - y * y),
        -_A3 * x * (x * x - 3.0 * y * y),
    )


@wp.func
def rotate_sh(R: wp.mat33, row: int, sh: wp.array2d(dtype=wp.vec3), turned: wp.array2d(dtype=wp.vec3)):
    """Write coefficients ``sh[row]`` of all degrees but 0, turned by the rotation R, to ``turned[row]``."""
    inverse = wp.transpose(R)
    # The coefficients of degree 1 are the components -y, z, -x of a vector.
    if sh.shape[1] > 1:
        x, y, z = -sh[row, 3], -sh[row, 1], sh[row, 2]
        turned[row, 1] = -(R[1, 0] * x + R[1, 1] * y + R[1, 2] * z)
        turned[row, 2] = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z
        turned[row, 3] = -(R[0, 0] * x + R[0, 1] * y + R[0, 2] * z)
    if sh.shape[1] > 4:
        sums2 = mat53()
        for i in range(5):
            basis2 = band2(inverse * _DIRECTIONS2[i])
            value2 = wp.vec3()
            for j in range(5):
                value2 += basis2[j] * sh[row, 4 + j]
            for j in range(5):
                sums2[j] += _INVERSE2[j, i] * value2
        for j in range(5):
            turned[row, 4 + j] = sums2[j]
    if sh.shape[1] > 9:
        sums3 = mat73()
        for i in range(7):
            basis3 = band3(inverse * _DIRECTIONS3[i])
            value3 = wp.vec3()
            for j in range(7):
                value3 += basis3[j] * sh[row, 9 + j]
            for j in range(7):
                sums3[j] += _INVERSE3[j, i] * value3
        for j in range(7):
            turned[row, 9 + j] = sums3[j]
