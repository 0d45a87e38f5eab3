"""Which camera looks on at each frame: fixed views of the orbit, or paths that move with the frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gaussians.cameras import Cameras, Orbit, look_at
from gaussians.stage.errors import InputError

ORBIT_VIEWS = 100
EVERY_FOURTH = tuple(range(0, ORBIT_VIEWS, 4))
_JITTER = 0.01
_JITTER_KEYFRAMES = 10


@dataclass(frozen=True)
class View:
    """A fixed view of the orbit (``number`` 0 to 99) or, without a number, the path that ``name`` says.

    Attributes:
        name: ``view_<k>``, ``circle360`` or ``circle360_jitter``; the folder that its video goes to.
        number: the orbit's view, None for a moving camera.
    """

    name: str
    number: int | None = None

    def cameras(self, orbit: Orbit, resolution: int, num_frames: int, seed: int = 0) -> Cameras:
        """One camera a frame, ``num_frames`` in all.

        A moving camera is at view k of the orbit at frame k. With jitter its positions are shaken by 1 % of the
        mean distance, drawn at ten keyframes and linear between them.
        """
        if self.number is not None:
            return orbit.cameras([self.number] * num_frames, resolution)
        cameras = orbit.cameras(range(num_frames), resolution)
        if self.name == "circle360":
            return cameras
        center = torch.tensor(orbit.center)
        positions = cameras.positions
        amplitude = _JITTER * (positions - center).norm(dim=1).mean()
        generator = torch.Generator().manual_seed(seed)
        keyframes = amplitude * torch.randn(1, 3, _JITTER_KEYFRAMES, generator=generator)
        shake = torch.nn.functional.interpolate(keyframes, num_frames, mode="linear", align_corners=True)
        return look_at(positions + shake[0].T, center, resolution, resolution, 1.5 * resolution)


def fixed_view(number: int, flag: str = "view") -> View:
    """View ``number`` of the orbit.

    Args:
        flag: what the error calls the number.

    Raises:
        InputError: there is no such view.
    """
    if not 0 <= number < ORBIT_VIEWS:
        raise InputError(f"{flag}: expected 0 to {ORBIT_VIEWS - 1}, found {number}")
    return View(f"view_{number}", number)


def parse_views(text: str) -> list[View]:
    """``"84,circle360"`` as views.

    Raises:
        InputError: a part is neither a number of the orbit nor a known path, or stands there twice.
    """
    views = []
    for part in (part.strip() for part in text.split(",")):
        if part in ("circle360", "circle360_jitter"):
            views.append(View(part))
        elif part.isdecimal():
            views.append(fixed_view(int(part), "--views"))
        else:
            raise InputError(f"--views: expected numbers, circle360 or circle360_jitter, found {part!r}")
    if len(set(views)) < len(views):
        raise InputError(f"--views {text}: a view stands there twice")
    return views


def chosen_views(fixed: int | None) -> list[View]:
    """The views of the published flag ``--fixed_view``: None for a moving camera, -1 for every fourth, k for one.

    Raises:
        InputError: there is no such view.
    """
    if fixed is None:
        return [View("circle360")]
    if fixed == -1:
        return [fixed_view(number) for number in EVERY_FOURTH]
    return [fixed_view(fixed, "--fixed_view (or --single_view)")]


def cameras_at(paths: Sequence[Cameras], frame: int) -> Cameras:
    """The cameras of several paths at one frame, as one batch."""
    rows = slice(frame, frame + 1)
    viewmats = torch.cat([path.viewmats[rows] for path in paths])
    return Cameras(viewmats, torch.cat([path.Ks[rows] for path in paths]), paths[0].width, paths[0].height)
