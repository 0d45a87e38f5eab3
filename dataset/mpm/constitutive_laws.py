"""One small piece per material: the Kirchhoff stress of a deformation gradient.

Adding one: write its function here, with the signature of ``fixed_corotated``, and enter it in ``LAWS``; kernels are
compiled for the laws that a scene uses.
"""

# mypy: ignore-errors

import warp as wp

from dataset.mpm.polar import polar_rotation


@wp.func
def fixed_corotated(F: wp.mat33, mu: float, lam: float) -> wp.mat33:
    """tau = 2 mu (F - R) F^T + lambda (J - 1) J I (Stomakhin et al., "Energetically consistent invertible elasticity",
    2012).

    Args:
        F: deformation gradient.
        mu, lam: Lame's parameters, Pa.

    Returns:
        Kirchhoff stress, Pa.
    """
    R = polar_rotation(F)
    J = wp.determinant(F)
    # (F - R) F^T is symmetric for the exact R; rounding must not turn into a torque.
    tau = (F - R) * wp.transpose(F)
    return mu * (tau + wp.transpose(tau)) + lam * (J - 1.0) * J * wp.identity(n=3, dtype=float)


LAWS: dict[str, wp.Function] = {"jelly": fixed_corotated}
"""Kirchhoff stress by the material's name in the configuration."""
