"""This module has the law of contact between two bodies at a node of the grid.

- The normal of the pair is that of the plane that best separates their particles, found by regression on which body a
  particle belongs to (as Nairn, Hammerquist & Smith, "New material point method contact algorithms for improved
  accuracy, large-deformation problems, and proper null-space filtering", 2020, do by logistic regression). For two
  classes of equal weight linear regression is Fisher's discriminant ("The use of multiple measurements in taxonomic
  problems", 1936), n = (S_a + S_b)^-1 (m_b - m_a) with means m and covariances S: closed, so without iterations.
- The gap between their surfaces along the normal follows from where the particles of each lie on average and how far
  they spread.
- Contact takes from the approach of the bodies what would close more than the gap in the substep, and nothing else,
  but that it parts surfaces which lie deeper in each other than the gap is accurate, as thin bodies get in an impact;
  Coulomb friction opposes sliding with at most its multiple (Bardenhagen, Brackbill & Sulsky, "The material-point
  method for granular materials", 2000).
"""

# mypy: ignore-errors

import warp as wp

from gaussians.rotation_kernels import cofactor

wp.set_module_options({"enable_backward": False})

LEAST_WEIGHT = wp.constant(1.0e-5)
"""A body whose particles reach a node with less weight than this is neither seen there nor does it see."""
_DEEPEST = wp.constant(0.25)  # cells that surfaces may lie in each other
_PARTING_TIME = wp.constant(0.05)  # s in which what is deeper is to part


@wp.struct
class Spread:
    """Says where the particles of a body lie around a node, in cells."""

    weight: float
    mean: wp.vec3
    covariance: wp.mat33


@wp.func
def surface(mean: float, deviation: float) -> float:
    """Return where a body's surface lies along an outward direction, from a node, in cells.

    Args:
        mean, deviation: of the places of its particles around the node, along the direction, in cells.

    A half-space that ends at s = -1, -0.5, 0, 0.5, 1 has 1.29, 1.29, 1.39, 1.64, 2.14 deviations from its mean to its
    surface under the weights of the quadratic B-spline; this is within 0.04 cells of all of them. Bodies thinner than a
    cell have sqrt(3), which errs by 0.13 of their thickness.
    """
    return mean + deviation * (1.29 + 0.9 * wp.exp(2.0 * wp.min(mean / deviation, 0.0)))


@wp.func
def spread_of(sums: wp.vec4, products: wp.vec4, others: wp.vec4, spacing: float) -> Spread:
    """Return mean and covariance of places from rows of moments; ``spacing`` is that of the particles, in cells."""
    result = Spread()
    result.weight = sums[0]
    if sums[0] > LEAST_WEIGHT:
        m = wp.vec3(sums[1], sums[2], sums[3]) / sums[0]
        q = products / sums[0]
        r = others / sums[0]
        # Each particle stands for a small cube.
        s = spacing * spacing / 12.0
        result.mean = m
        result.covariance = wp.mat33(
            q[0] - m[0] * m[0] + s,
            q[1] - m[0] * m[1],
            q[2] - m[0] * m[2],
            q[1] - m[0] * m[1],
            q[3] - m[1] * m[1] + s,
            r[0] - m[1] * m[2],
            q[2] - m[0] * m[2],
            r[0] - m[1] * m[2],
            r[1] - m[2] * m[2] + s,
        )
    return result


@wp.func
def without_window(covariance: wp.mat33) -> wp.mat33:
    """Return the factor that takes the spline's window from the covariance and mean of what is seen through it.

    The window has the covariance I / 4. Through a window like a bell a body like a bell with covariance S and mean m
    has the covariance (1 - 4 C)^-1 C = S, (1 - 4 C)^-1 c = m. The first 16 terms of the geometric series are the
    inverse where a body ends within the window, and bounded where it does not and noise would break the inverse.
    """
    identity = wp.identity(n=3, dtype=float)
    X = 4.0 * covariance
    XX = X * X
    XXXX = XX * XX
    return (identity + X) * (identity + XX) * (identity + XXXX) * (identity + XXXX * XXXX)


@wp.func
def separating_normal(a: Spread, b: Spread) -> wp.vec3:
    """Return the normal, from a to b, of the plane that best separates two bodies: Fisher's linear discriminant.

    It is that of the bodies without the window; in that, a body that fills the window in some direction cannot be
    separated along it, so that the edge of a box on a plate has the plate's normal.
    """
    factor_a = without_window(a.covariance)
    factor_b = without_window(b.covariance)
    within = factor_a * a.covariance + factor_b * b.covariance
    within = within / wp.trace(within)
    # The cofactor of a symmetric matrix is its inverse times its determinant.
    return wp.normalize(cofactor(within) * (factor_b * b.mean - factor_a * a.mean))


@wp.func
def pair_impulse(
    normal: wp.vec3,
    a: Spread,
    b: Spread,
    mass_a: float,
    mass_b: float,
    velocity: wp.vec3,
    friction: float,
    dx: float,
    dt: float,
) -> wp.vec3:
    """Return the impulse on body b, kg m/s; that on a is the opposite.

    Args:
        normal: of length 1, from a to b; zero where it is not known.
        a, b: where their particles lie.
        mass_a, mass_b: their masses at the node, kg.
        velocity: of a as b sees it, m/s.
        friction: Coulomb's coefficient.
        dx, dt: a cell, m, and the substep, s.
    """
    if wp.length_sq(normal) == 0.0:
        return wp.vec3()
    approach = wp.dot(velocity, normal)
    deviation_a = wp.sqrt(wp.dot(normal, a.covariance * normal))
    deviation_b = wp.sqrt(wp.dot(normal, b.covariance * normal))
    gap = -surface(wp.dot(normal, a.mean), deviation_a) - surface(-wp.dot(normal, b.mean), deviation_b)
    # What is far in each other parts, slowly; what the gap's accuracy leaves open is left alone.
    allowed = wp.where(gap > 0.0, gap * dx / dt, wp.min(gap + _DEEPEST, 0.0) * dx / _PARTING_TIME)
    excess = approach - allowed
    if excess <= 0.0:
        return wp.vec3()
    sliding = velocity - approach * normal
    speed = wp.length(sliding)
    impulse = excess * normal
    if speed > 0.0:
        impulse += wp.min(1.0, friction * excess / speed) * sliding
    return (mass_a * mass_b / (mass_a + mass_b)) * impulse
