"""This module names the views of a scene: fixed ones of the orbit, and cameras that move along it."""

from dataclasses import dataclass

from gaussians.stage.errors import InputError

ORBIT_VIEWS = 100
EVERY_FOURTH = tuple(range(0, ORBIT_VIEWS, 4))
MOVING = ("circle360", "circle360_jitter")


@dataclass(frozen=True)
class View:
    """Names a fixed view of the orbit, or a camera that moves along it.

    Attributes:
        name: ``view_<k>``, ``circle360`` or ``circle360_jitter``; the folder that its video goes to.
        number: the orbit's view, 0 to 99; None for a moving camera.
    """

    name: str
    number: int | None = None


def fixed_view(number: int, flag: str = "view") -> View:
    """Return a fixed view of the orbit.

    Args:
        number: 0 to 99.
        flag: name of the number in the message of an error.

    Raises:
        InputError: there is no such view.
    """
    if not 0 <= number < ORBIT_VIEWS:
        raise InputError(f"{flag}: expected 0 to {ORBIT_VIEWS - 1}, found {number}")
    return View(f"view_{number}", number)


def parse_views(text: str) -> list[View]:
    """Read views from a text such as ``"84,circle360"``.

    Raises:
        InputError: a part is neither a number of the orbit nor a known path, or stands there twice.
    """
    views = []
    for part in (part.strip() for part in text.split(",")):
        if part in MOVING:
            views.append(View(part))
        elif part.isdecimal():
            views.append(fixed_view(int(part), "--views"))
        else:
            raise InputError(f"--views: expected numbers, circle360 or circle360_jitter, found {part!r}")
    if len(set(views)) < len(views):
        raise InputError(f"--views {text}: a view stands there twice")
    return views


def chosen_views(fixed: int | None) -> list[View]:
    """Return the views that the published flag ``--fixed_view`` asks for.

    Args:
        fixed: None for a moving camera, -1 for every fourth view, or the number of one.

    Raises:
        InputError: there is no such view.
    """
    if fixed is None:
        return [View("circle360")]
    if fixed == -1:
        return [fixed_view(number) for number in EVERY_FOURTH]
    return [fixed_view(fixed, "--fixed_view (or --single_view)")]


def orbit_views() -> list[View]:
    """Return all views of the orbit."""
    return [fixed_view(number) for number in range(ORBIT_VIEWS)]
