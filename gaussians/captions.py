"""Word what captions and titles of videos have in common."""

from gaussians.numbers import Vector


def gravity_caption(gravity: Vector) -> str:
    """Return gravity in words: its strength where it points straight down, else all of it.

    Args:
        gravity: m/s^2, z up.
    """
    x, y, z = gravity
    if x == y == z == 0:
        return "no gravity"
    if x == y == 0 and z < 0:
        return f"gravity {-z:g} m/s^2"
    return f"gravity ({x:g}, {y:g}, {z:g}) m/s^2"
