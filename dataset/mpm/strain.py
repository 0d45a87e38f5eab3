"""This module computes the logarithmic (Hencky) strain of a deformation gradient, and its inverse, in kernels.

e = log(F F^T) / 2 in the present configuration. Where deformations are moderate, which in a simulation is nearly
everywhere, series give it without a decomposition.
"""

# mypy: ignore-errors

import warp as wp

from gaussians.rotation_kernels import cofactor, svd


@wp.func
def logarithms(stretches: wp.vec3) -> wp.vec3:
    """Return the logarithms of stretches; those under a hundredth, or inverted, count as a hundredth."""
    return wp.vec3(
        wp.log(wp.max(stretches[0], 0.01)), wp.log(wp.max(stretches[1], 0.01)), wp.log(wp.max(stretches[2], 0.01))
    )


@wp.func
def logarithmic_strain(F: wp.mat33) -> wp.mat33:
    """Return log(F F^T) / 2; stretches under a hundredth, or inverted, count as a hundredth."""
    identity = wp.identity(n=3, dtype=float)
    b = F * wp.transpose(F)
    X = b - identity
    if wp.ddot(X, X) < 0.09 and wp.determinant(F) > 0.0:
        # log b = 2 artanh Z with Z = (b - I) (b + I)^-1, whose eigenvalues are under 0.18 here: the next term of the
        # series is 2e-8 of the first.
        S = b + identity
        Z = X * (cofactor(S) / wp.determinant(S))
        Q = Z * Z
        return Z * (identity + Q * (identity / 3.0 + Q * (identity / 5.0 + Q / 7.0)))
    U, stretches, _V = svd(F)
    return U * wp.diag(logarithms(stretches)) * wp.transpose(U)


@wp.func
def exponential(A: wp.mat33) -> wp.mat33:
    """Return the exponential of a symmetric matrix, by scaling and squaring of its Taylor series."""
    identity = wp.identity(n=3, dtype=float)
    norm = wp.sqrt(wp.ddot(A, A))
    B = A
    squarings = int(0)
    while norm > 0.25 and squarings < 8:
        B = 0.5 * B
        norm = 0.5 * norm
        squarings += 1
    # The next term is under 0.25^6 / 6! = 3e-7.
    E = identity + B * (identity + B * (identity / 2.0 + B * (identity / 6.0 + B * (identity / 24.0 + B / 120.0))))
    for _ in range(squarings):
        E = E * E
    return E


@wp.func
def with_strain(F: wp.mat33, strain: wp.mat33, wanted: wp.mat33) -> wp.mat33:
    """Return F with another strain along the same axes, exp(wanted - strain) F.

    Args:
        strain: ``logarithmic_strain(F)``.
        wanted: with the same eigenvectors.
    """
    # Then no stretch is under 0.01.
    if wp.determinant(F) > 0.05 and wp.ddot(F, F) < 9.0:
        return exponential(wanted - strain) * F
    U, _stretches, V = svd(F)
    e = wp.get_diag(wp.transpose(U) * wanted * U)
    return U * wp.diag(wp.vec3(wp.exp(e[0]), wp.exp(e[1]), wp.exp(e[2]))) * wp.transpose(V)
