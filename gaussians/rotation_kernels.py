"""Compute polar and singular value decompositions in Warp kernels."""

# mypy: ignore-errors

import warp as wp


@wp.func
def cofactor(A: wp.mat33) -> wp.mat33:
    """Return det(A) A^-T, which is defined for singular A as well."""
    a = wp.vec3(A[0, 0], A[0, 1], A[0, 2])
    b = wp.vec3(A[1, 0], A[1, 1], A[1, 2])
    c = wp.vec3(A[2, 0], A[2, 1], A[2, 2])
    return wp.matrix_from_rows(wp.cross(b, c), wp.cross(c, a), wp.cross(a, b))


@wp.func
def polar_rotation_by_svd(F: wp.mat33) -> wp.mat33:
    """Return the proper rotation nearest to any F.

    Warp's svd3 gives proper rotations and puts the sign of an inverted F on the smallest singular value, but can be off
    by 1e-4. One Newton step on the rotation, towards the maximum of trace(R^T F) (Kugelstadt et al., "Fast corotated
    FEM using operator splitting", 2018), squares that error.
    """
    U, _sigma, V = wp.svd3(F)
    R = U * wp.transpose(V)
    S = wp.transpose(R) * F
    gradient = wp.vec3(S[2, 1] - S[1, 2], S[0, 2] - S[2, 0], S[1, 0] - S[0, 1])
    curvature = wp.trace(S) * wp.identity(n=3, dtype=float) - 0.5 * (S + wp.transpose(S))
    determinant = wp.determinant(curvature)
    scale = wp.ddot(F, F)
    if determinant * determinant < 1.0e-8 * scale * scale * scale:
        return R  # two rotations are equally near
    # The inverse of a symmetric matrix is its cofactor matrix over the determinant.
    turn = cofactor(curvature) * gradient / determinant
    return R * wp.quat_to_matrix(wp.normalize(wp.quat(0.5 * turn[0], 0.5 * turn[1], 0.5 * turn[2], 1.0)))


@wp.func
def polar_rotation(F: wp.mat33) -> wp.mat33:
    """Return the proper rotation nearest to F: R of the polar decomposition F = R S, also where F is inverted.

    Newton's iteration R <- (R + R^-T) / 2 (Higham, "Computing the polar decomposition - with applications", 1986)
    doubles the correct digits each time, which near a rotation costs a fraction of an SVD. Far from one, where it is
    slow or (det F <= 0) finds a reflection, the SVD answers.
    """
    determinant = wp.determinant(F)
    if determinant < 0.3 or wp.ddot(F, F) > 9.0:
        return polar_rotation_by_svd(F)
    R = F
    for _ in range(12):
        inverse_transpose = cofactor(R) * (1.0 / wp.determinant(R))
        step = (inverse_transpose - R) * 0.5
        R = R + step
        # Convergence is quadratic: after a squared step of 1e-8 the error is of the order of 1e-8.
        if wp.ddot(step, step) < 1.0e-8:
            break
    return R


@wp.func
def column(A: wp.mat33, j: int) -> wp.vec3:
    """Return column j of A."""
    return wp.vec3(A[0, j], A[1, j], A[2, j])


@wp.func
def orthonormal(A: wp.mat33) -> wp.mat33:
    """Return the rotation whose first two columns span the same plane as those of A (Gram-Schmidt)."""
    a = wp.normalize(column(A, 0))
    b = column(A, 1)
    b = wp.normalize(b - wp.dot(a, b) * a)
    return wp.matrix_from_cols(a, b, wp.cross(a, b))


@wp.func
def turned(F: wp.mat33, V: wp.mat33, p: int, q: int) -> wp.mat33:
    """Return V with columns p and q turned in their plane until the same columns of F V are orthogonal."""
    v = column(V, p)
    w = column(V, q)
    a = F * v
    b = F * w
    overlap = wp.dot(a, b)
    if overlap == 0.0:
        return V
    ratio = (wp.dot(b, b) - wp.dot(a, a)) / (2.0 * overlap)
    tangent = wp.where(ratio < 0.0, -1.0, 1.0) / (wp.abs(ratio) + wp.sqrt(1.0 + ratio * ratio))
    cosine = 1.0 / wp.sqrt(1.0 + tangent * tangent)
    result = V
    for row in range(3):
        result[row, p] = cosine * (v[row] - tangent * w[row])
        result[row, q] = cosine * (w[row] + tangent * v[row])
    return result


@wp.func
def svd(F: wp.mat33):
    """Return U, stretches and V with F = U diag(stretches) V^T.

    U and V are proper rotations; the last stretch is the smallest and has the sign of det F. Warp's svd3 can be off by
    1e-3. One sweep of one-sided Jacobi rotations (Hestenes 1958; Demmel and Veselic, "Jacobi's method is more accurate
    than QR", 1992) squares that error.
    """
    U, _stretches, V = wp.svd3(F)
    V = orthonormal(V)
    V = turned(F, V, 0, 1)
    V = turned(F, V, 0, 2)
    V = turned(F, V, 1, 2)
    A = F * V
    if wp.length(column(A, 1)) > 1.0e-6:  # else svd3 chooses the second axis
        U = orthonormal(A)
    return U, wp.get_diag(wp.transpose(U) * A), V
