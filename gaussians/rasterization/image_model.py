"""Define the constants of the image model that both backends share: gsplat's "classic" mode (Kerbl et al. 2023).

A Gaussian covers a pixel centre with alpha = min(MAX_ALPHA, opacity exp(-d^2 / 2)), d being the distance in standard
deviations of its projection. Alphas below MIN_ALPHA count as nothing, and a pixel is finished before the
Gaussian that would bring its transmittance to MIN_TRANSMITTANCE or below.
"""

BLUR = 0.3
"""Added to the variances of every projected Gaussian, pixels^2."""

MAX_ALPHA = 0.999
MIN_ALPHA = 1.0 / 255.0
MIN_TRANSMITTANCE = 1e-4

GUARD_BAND = 0.3
"""How far outside the image, in half images, the projection's Jacobian is still evaluated where the Gaussian is."""
