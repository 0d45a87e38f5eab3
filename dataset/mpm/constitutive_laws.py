"""This module defines constitutive laws: the Kirchhoff stress of an elastic deformation, and how a material flows.

A law is a stress and, for a plastic one, a return mapping, which takes the deformation gradient that a substep tried,
F_trial = (I + dt grad v) F, back to what the material bears, and keeps one number a particle, its ``history`` (0 at
the start). Adding one: write both as functions with the signatures below, its settings as fields of ``LawSettings``,
and enter it in ``LAWS``; kernels are compiled for the laws that a scene uses.

    stress(F, history, mu, lam) -> Kirchhoff stress, Pa
    return_mapping(F_trial, history, mu, lam, parameters, dt) -> F, history

F is the elastic deformation gradient, mu and lam are Lame's parameters in Pa, ``parameters`` four numbers of the law's
own a particle, dt the substep in s.
"""

# mypy: ignore-errors

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import warp as wp
from pydantic import BaseModel, ConfigDict, Field

from dataset.mpm.strain import logarithmic_strain, logarithms, with_strain
from gaussians.numbers import NotNegative, Positive, within
from gaussians.rotation_kernels import polar_rotation, svd

Fraction = Annotated[float, Field(gt=0, lt=1), within(1e-6, 0.999)]
Angle = Annotated[float, Field(gt=0, lt=90), within(1e-3, 90)]


class LawSettings(BaseModel):
    """Holds the settings of plastic materials; each is one value for all objects or a value by object name."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    yield_stress: Positive | dict[str, Positive] | None = None
    """Where metal, foam and plasticine begin to flow, Pa. None: a share of E, see the laws."""
    hardening: Literal[0, 1] = 0
    """1: metal gets stronger by flowing, as ``xi`` says."""
    xi: NotNegative | dict[str, NotNegative] | None = None
    """Hardening. Metal: the yield stress rises by 2 mu xi per plastic strain (None: 0). Snow: stiffness grows by
    exp(xi (1 - J_P)) as it is packed (None: 10)."""
    friction_angle: Angle | dict[str, Angle] = 25.0
    """Friction angle of sand, degrees, in triaxial compression. Slopes stand up to atan(sqrt(3) 2 sin / (3 - sin)) of
    it: at 25 up to 30 degrees, at 30 up to 35, between which dry sand comes to rest."""
    plastic_viscosity: NotNegative | dict[str, NotNegative] = 0.0
    """Resistance of foam to flowing fast, Pa s. 0: it flows as fast as it must."""
    softening: NotNegative | dict[str, NotNegative] = 0.1
    """Yield stress that plasticine loses per plastic strain, Pa."""
    critical_compression: Fraction | dict[str, Fraction] = 0.025
    """Compression at which snow is packed."""
    critical_stretch: Fraction | dict[str, Fraction] = 0.0075
    """Stretch at which snow breaks."""


@dataclass(frozen=True)
class Law:
    """Describes a constitutive law and names its settings.

    Attributes:
        stress, return_mapping: see the module; without a return mapping the material is elastic.
        settings: the fields of ``LawSettings`` that it uses.
        parameters: its numbers for the kernels, at most four, from Young's modulus in Pa (one or an array) and its
            settings by name.
        stiffening: how many times the stiffness that mu and lam say it can reach.
    """

    stress: wp.Function
    return_mapping: wp.Function | None = None
    settings: tuple[str, ...] = ()
    parameters: Callable[..., tuple[Any, ...]] = lambda _: ()
    stiffening: float = 1.0


@wp.func
def fixed_corotated(F: wp.mat33, history: float, mu: float, lam: float) -> wp.mat33:
    """Return the fixed corotated stress, tau = 2 mu (F - R) F^T + lambda (J - 1) J I.

    Source: Stomakhin et al., "Energetically consistent invertible elasticity", 2012.
    """
    R = polar_rotation(F)
    J = wp.determinant(F)
    # (F - R) F^T is symmetric for the exact R; rounding must not turn into a torque.
    tau = (F - R) * wp.transpose(F)
    return mu * (tau + wp.transpose(tau)) + lam * (J - 1.0) * J * wp.identity(n=3, dtype=float)


@wp.func
def deviator(strain: wp.mat33) -> wp.mat33:
    return strain - (wp.trace(strain) / 3.0) * wp.identity(n=3, dtype=float)


@wp.func
def norm(A: wp.mat33) -> float:
    return wp.sqrt(wp.ddot(A, A))


@wp.func
def hencky(F: wp.mat33, history: float, mu: float, lam: float) -> wp.mat33:
    """Return the St. Venant-Kirchhoff stress with the logarithmic strain e, tau = 2 mu e + lambda tr(e) I.

    Source: Klar et al., "Drucker-Prager elastoplasticity for sand animation", 2016.
    """
    e = logarithmic_strain(F)
    return 2.0 * mu * e + lam * wp.trace(e) * wp.identity(n=3, dtype=float)


@wp.func
def von_mises(F: wp.mat33, history: float, mu: float, lam: float, parameters: wp.vec4, dt: float):
    """Return metal to its yield surface, |dev tau| <= yield_stress + 2 mu xi h with the plastic strain h so far.

    Source: radial return, Simo and Hughes, "Computational inelasticity", 1998.
    """
    xi = parameters[1]
    e = logarithmic_strain(F)
    d = deviator(e)
    excess = norm(d) - (parameters[0] / (2.0 * mu) + xi * history)
    if excess <= 0.0:
        return F, history
    flow = excess / (1.0 + xi)
    return with_strain(F, e, e - (flow / norm(d)) * d), history + flow


@wp.func
def von_mises_with_damage(F: wp.mat33, history: float, mu: float, lam: float, parameters: wp.vec4, dt: float):
    """Return plasticine to its yield surface, which plastic strain h shrinks: |dev tau| <= yield_stress - softening h.

    When nothing is left of the yield stress the material has crumbled, and bears pressure alone.
    """
    e = logarithmic_strain(F)
    d = deviator(e)
    strength = parameters[0] - parameters[1] * history
    if strength <= 0.0:
        pressure = wp.min(wp.trace(e), 0.0) / 3.0
        return with_strain(F, e, pressure * wp.identity(n=3, dtype=float)), history
    excess = norm(d) - strength / (2.0 * mu)
    if excess <= 0.0:
        return F, history
    return with_strain(F, e, e - (excess / norm(d)) * d), history + excess


@wp.func
def drucker_prager(F: wp.mat33, history: float, mu: float, lam: float, parameters: wp.vec4, dt: float):
    """Return sand to the Drucker-Prager cone: shear up to friction times pressure, no tension (Klar et al. 2016).

    ``history`` is the logarithm of the volume that particles gained while they were apart; it is taken back before
    pressure builds up, so that sand does not swell (Tampubolon et al., "Multi-species simulation of porous sand and
    water mixtures", 2017).
    """
    strain = logarithmic_strain(F)
    e = strain + (history / 3.0) * wp.identity(n=3, dtype=float)
    t = wp.trace(e)
    if t >= 0.0:
        return polar_rotation(F), t
    d = deviator(e)
    excess = norm(d) + parameters[0] * t * (3.0 * lam + 2.0 * mu) / (2.0 * mu)
    if excess > 0.0:
        e = e - (excess / norm(d)) * d
    elif history == 0.0:
        return F, history
    return with_strain(F, strain, e), 0.0


@wp.func
def viscoplastic(F: wp.mat33, history: float, mu: float, lam: float, parameters: wp.vec4, dt: float):
    """Let foam flow above its yield stress at a rate of the excess over plastic_viscosity, by backward Euler.

    Source: Yue et al., "Continuum foam", 2015.
    """
    e = logarithmic_strain(F)
    d = deviator(e)
    excess = norm(d) - parameters[0] / (2.0 * mu)
    if excess <= 0.0:
        return F, history
    flow = excess / (1.0 + parameters[1] / (2.0 * mu * dt))
    return with_strain(F, e, e - (flow / norm(d)) * d), history


# So that packed snow does not outrun the substep.
_MAX_STIFFENING = 5.0
_SNOW_STIFFENING = wp.constant(_MAX_STIFFENING)


@wp.func
def snow(F: wp.mat33, history: float, mu: float, lam: float) -> wp.mat33:
    """Return the fixed corotated stress of snow, exp(xi (1 - J_P)) times as stiff, at most 5 times.

    Source: Stomakhin et al., "A material point method for snow simulation", 2013, eq. 2; ``history`` is the exponent.
    """
    stiffening = wp.min(wp.exp(history), _SNOW_STIFFENING)
    return fixed_corotated(F, history, stiffening * mu, stiffening * lam)


@wp.func
def critical_stretches(F: wp.mat33, history: float, mu: float, lam: float, parameters: wp.vec4, dt: float):
    """Keep elastic stretches of snow within 1 - critical_compression and 1 + critical_stretch; the rest is plastic.

    Source: Stomakhin et al. 2013, section 7.
    """
    U, stretches, V = svd(F)
    low = 1.0 - parameters[0]
    high = 1.0 + parameters[1]
    kept = wp.vec3(
        wp.clamp(stretches[0], low, high), wp.clamp(stretches[1], low, high), wp.clamp(stretches[2], low, high)
    )
    if kept == stretches:
        return F, history
    gained = logarithms(stretches)
    packing = wp.exp(gained[0] + gained[1] + gained[2]) / (kept[0] * kept[1] * kept[2])
    xi = parameters[2]
    J_P = float(1.0)
    if xi > 0.0:
        J_P = 1.0 - history / xi
    # Within bounds for powder that flies apart or is crushed.
    J_P = wp.clamp(J_P * packing, 0.1, 20.0)
    return U * wp.diag(kept) * wp.transpose(V), xi * (1.0 - J_P)


def _metal(E: Any, yield_stress: float | None, hardening: int, xi: float | None) -> tuple[Any, ...]:
    # Mild steel yields at 200 (AS 1204, hot rolled) to 250 MPa (ASTM A36; Halliday, Resnick and Walker, "Fundamentals
    # of physics", table 13-1) of its 200 GPa, here at 220; |dev tau| is sqrt(2/3) of a uniaxial stress.
    return 0.9e-3 * E if yield_stress is None else yield_stress, xi or 0.0 if hardening else 0.0


def _sand(E: Any, friction_angle: float) -> tuple[Any, ...]:
    sine = math.sin(math.radians(friction_angle))
    return (math.sqrt(2 / 3) * 2 * sine / (3 - sine),)


def _foam(E: Any, yield_stress: float | None, plastic_viscosity: float) -> tuple[Any, ...]:
    # Both the stiffness of a foam of open cells and the stress at which its struts buckle go with the square of its
    # density, the stress being 0.05 E (Gibson and Ashby, "Cellular solids", 1997, chapter 5).
    return math.sqrt(2 / 3) * (0.05 * E if yield_stress is None else yield_stress), plastic_viscosity


def _snow(E: Any, critical_compression: float, critical_stretch: float, xi: float | None) -> tuple[Any, ...]:
    # Defaults: Stomakhin et al. 2013, table 2, whose snow has E = 1.4e5 Pa, nu = 0.2 and 400 kg/m^3.
    return critical_compression, critical_stretch, 10.0 if xi is None else xi


def _plasticine(E: Any, yield_stress: float | None, softening: float) -> tuple[Any, ...]:
    # Soft clay's E is 150 to 500 times the shear stress that it bears, here 200 (after Duncan and Buchignani, "An
    # engineering manual for settlement studies", 1976); |dev tau| is sqrt(2) of a shear stress.
    return 0.007 * E if yield_stress is None else yield_stress, softening


LAWS: dict[str, Law] = {
    "jelly": Law(fixed_corotated),
    "metal": Law(hencky, von_mises, ("yield_stress", "hardening", "xi"), _metal),
    "sand": Law(hencky, drucker_prager, ("friction_angle",), _sand),
    "foam": Law(hencky, viscoplastic, ("yield_stress", "plastic_viscosity"), _foam),
    "snow": Law(
        snow, critical_stretches, ("critical_compression", "critical_stretch", "xi"), _snow, stiffening=_MAX_STIFFENING
    ),
    "plasticine": Law(hencky, von_mises_with_damage, ("yield_stress", "softening"), _plasticine),
}
"""Material by its name in the configuration."""
