"""This module models a bear, a panda and a doll: lengths in metres, z up, faces towards -y."""

import numpy as np

from dataset.shapes.fields import (
    Field,
    box,
    capsule,
    complement,
    cylinder,
    ellipsoid,
    intersection,
    mirrored,
    revolved,
    sphere,
    turned,
    union,
)
from dataset.shapes.solid import Part, Solid

BLACK = (0.07, 0.07, 0.08)
WHITE = (0.97, 0.96, 0.94)


def bear() -> Solid:
    """Return a sitting teddy bear."""
    brown, light, dark = (0.60, 0.37, 0.18), (0.86, 0.68, 0.44), (0.16, 0.09, 0.06)
    return Solid(
        extent=0.5,
        parts=[
            Part(ellipsoid((0.135, 0.115, 0.15), (0, 0, -0.1)), brown),
            Part(ellipsoid((0.135, 0.12, 0.118), (0, -0.01, 0.125)), brown),
            Part(mirrored(ellipsoid((0.052, 0.03, 0.052), (0.108, 0.0, 0.222))), brown),
            Part(ellipsoid((0.066, 0.05, 0.05), (0, -0.115, 0.095)), light),
            Part(mirrored(capsule((0.12, -0.02, -0.01), (0.19, -0.09, -0.095), 0.05, 0.044)), brown),
            Part(mirrored(capsule((0.085, -0.05, -0.195), (0.135, -0.17, -0.2), 0.06, 0.056)), brown),
        ],
        paints=[
            Part(ellipsoid((0.088, 0.06, 0.1), (0, -0.1, -0.105)), light),
            Part(mirrored(ellipsoid((0.033, 0.03, 0.033), (0.106, -0.032, 0.22))), light),
            Part(mirrored(ellipsoid((0.036, 0.03, 0.038), (0.146, -0.232, -0.2))), light),
            Part(ellipsoid((0.03, 0.03, 0.02), (0, -0.165, 0.118)), dark),
            Part(
                lambda p: np.maximum(
                    np.maximum(np.abs(p[:, 0]) - 0.005, np.abs(p[:, 2] - 0.09) - 0.016), p[:, 1] + 0.1
                ),
                dark,
            ),
            Part(mirrored(sphere(0.021, (0.052, -0.118, 0.158))), BLACK),
            Part(mirrored(sphere(0.007, (0.05, -0.136, 0.168))), WHITE),
        ],
        blend=0.022,
    )


def panda() -> Solid:
    """Return a sitting cartoon panda with a bamboo stalk."""
    green = (0.36, 0.62, 0.18)
    return Solid(
        extent=0.46,
        parts=[
            Part(ellipsoid((0.145, 0.125, 0.145), (0, 0, -0.1)), WHITE),
            Part(ellipsoid((0.16, 0.13, 0.128), (0, -0.01, 0.11)), WHITE),
            Part(mirrored(sphere(0.052, (0.118, 0.0, 0.215))), BLACK),
            Part(ellipsoid((0.05, 0.035, 0.035), (0, -0.128, 0.07)), WHITE),
            Part(mirrored(capsule((0.125, -0.03, -0.01), (0.12, -0.135, -0.08), 0.05, 0.046)), BLACK),
            Part(mirrored(capsule((0.085, -0.05, -0.195), (0.14, -0.165, -0.2), 0.062, 0.058)), BLACK),
            Part(capsule((0.135, -0.175, -0.13), (0.105, -0.16, 0.02), 0.024), green),
        ],
        paints=[
            Part(lambda p: np.maximum(np.abs(p[:, 2] + 0.018) - 0.026, 0.02 - np.hypot(p[:, 0], p[:, 1])), BLACK),
            Part(
                mirrored(
                    turned(ellipsoid((0.033, 0.05, 0.045), (0.062, -0.115, 0.128)), 1, 28, (0.062, -0.115, 0.128))
                ),
                BLACK,
            ),
            Part(mirrored(sphere(0.02, (0.054, -0.138, 0.138))), WHITE),
            Part(ellipsoid((0.024, 0.03, 0.015), (0, -0.16, 0.085)), BLACK),
            Part(mirrored(ellipsoid((0.022, 0.04, 0.014), (0.098, -0.115, 0.068))), (0.98, 0.72, 0.70)),
            Part(mirrored(ellipsoid((0.034, 0.03, 0.034), (0.15, -0.228, -0.2))), (0.35, 0.34, 0.36)),
            Part(
                intersection(capsule((0.135, -0.175, -0.13), (0.105, -0.16, 0.02), 0.03), _rings(0.06)),
                (0.22, 0.42, 0.10),
            ),
        ],
        blend=0.016,
    )


def _rings(distance: float) -> Field:
    return lambda points: np.abs((points[:, 2] + 0.03) % distance - distance / 2) - 0.006


def miku() -> Solid:
    """Return a chibi doll of Hatsune Miku: two long turquoise pigtails, grey top, black skirt and boots."""
    hair, skin, grey = (0.16, 0.78, 0.76), (1.0, 0.86, 0.77), (0.72, 0.75, 0.78)
    black, pink = (0.13, 0.14, 0.17), (0.93, 0.25, 0.50)
    head = (0, 0, 0.125)
    face = intersection(ellipsoid((0.112, 0.106, 0.108), head), lambda p: p[:, 1] + 0.018)
    scalp = ellipsoid((0.125, 0.12, 0.124), (0, 0.008, 0.132))
    forehead = union(
        lambda p: -(p[:, 1] + 0.03), lambda p: -(p[:, 2] - 0.155 - 0.9 * np.abs(np.abs(p[:, 0] - 0.01) % 0.05 - 0.025))
    )
    pigtail = union(
        capsule((0.125, 0.02, 0.2), (0.205, 0.03, 0.1), 0.036, 0.045),
        capsule((0.205, 0.03, 0.1), (0.222, 0.03, -0.1), 0.045, 0.04),
        capsule((0.222, 0.03, -0.1), (0.19, 0.02, -0.255), 0.04, 0.025),
    )
    skirt = revolved([(0.0, -0.03), (0.05, -0.03), (0.098, -0.118), (0.09, -0.13), (0.0, -0.1)], 0.006)
    return Solid(
        extent=0.5,
        parts=[
            Part(face, skin),
            Part(intersection(scalp, forehead), hair),
            Part(mirrored(pigtail), hair),
            Part(mirrored(box((0.022, 0.03, 0.03), 0.008, (0.128, 0.018, 0.205))), black),
            Part(capsule((0, 0, -0.06), (0, 0, 0.01), 0.055, 0.04), grey),
            Part(skirt, black),
            Part(mirrored(capsule((0.045, 0, 0.0), (0.09, -0.01, -0.05), 0.024)), skin),
            Part(mirrored(capsule((0.09, -0.01, -0.05), (0.125, -0.03, -0.1), 0.028, 0.036)), black),
            Part(mirrored(sphere(0.025, (0.134, -0.036, -0.122))), skin),
            Part(mirrored(capsule((0.036, 0, -0.1), (0.038, 0, -0.17), 0.03)), skin),
            Part(mirrored(capsule((0.038, 0, -0.165), (0.038, 0, -0.24), 0.034, 0.032)), black),
            Part(mirrored(ellipsoid((0.034, 0.05, 0.026), (0.038, -0.02, -0.25))), black),
        ],
        paints=[
            Part(mirrored(ellipsoid((0.024, 0.05, 0.034), (0.045, -0.1, 0.105))), (0.05, 0.42, 0.46)),
            Part(mirrored(ellipsoid((0.013, 0.05, 0.016), (0.045, -0.1, 0.095))), (0.35, 0.88, 0.85)),
            Part(mirrored(ellipsoid((0.008, 0.05, 0.009), (0.037, -0.1, 0.12))), WHITE),
            Part(mirrored(ellipsoid((0.015, 0.05, 0.008), (0.072, -0.09, 0.07))), (1.0, 0.66, 0.64)),
            Part(ellipsoid((0.013, 0.05, 0.006), (0, -0.1, 0.062)), (0.80, 0.32, 0.32)),
            Part(
                lambda p: np.maximum(
                    np.abs(p[:, 0]) - 0.014 - 0.1 * (0.01 - p[:, 2]),
                    np.maximum(p[:, 1] + 0.02, np.abs(p[:, 2] + 0.02) - 0.04),
                ),
                hair,
            ),
            Part(
                lambda p: np.maximum(np.abs(p[:, 2] + 0.123 - 0.004) - 0.011, 0.075 - np.hypot(p[:, 0], p[:, 1])), hair
            ),
            Part(mirrored(sphere(0.042, (0.1, -0.016, -0.068))), black),
            Part(
                mirrored(
                    intersection(cylinder(0.06, 0.008, 0, (0.038, 0, -0.17)), complement(sphere(0.06, (0, 0, -0.06))))
                ),
                hair,
            ),
            Part(mirrored(box((0.03, 0.04, 0.008), 0, (0.128, 0.018, 0.205))), pink),
        ],
        blend=0.004,
        gloss=0.1,
    )
