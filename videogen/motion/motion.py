"""Say what every motion of a scene gives, whether a model predicts it or the simulator computes it."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple, Protocol

from dataset.config import Config
from dataset.simulation.scene_particles import SceneParticles
from dynamic_models.data.windows import differences
from gaussians.files.trajectory_format import Frame, TrajectoryObject, Walls
from gaussians.representation import Gaussians


class Moment(NamedTuple):
    """A ``Moment`` is a scene at one frame.

    Attributes:
        gaussians: N Gaussians, their colours turned along.
        frame: the same as a trajectory stores it; None where it was not asked for.
    """

    gaussians: Gaussians
    frame: Frame | None


class Motion(Protocol):
    """A ``Motion`` is how a scene moves."""

    @property
    def scene(self) -> SceneParticles:
        """Return what moves, as it is at the first frame."""

    @property
    def config(self) -> Config:
        """Return the settings of the world, with a substep in seconds where the simulator is asked."""

    @property
    def seconds(self) -> float:
        """Return the wall time that the motion has taken so far, without what is done with it."""

    @property
    def substep_dt(self) -> float:
        """Return the time step of what computes the motion, seconds."""

    def moments(self, stored: bool) -> Iterator[Moment]:
        """Yield the scene frame by frame, the first as it is; a moment is valid until the next one is taken.

        Args:
            stored: whether moments have their ``frame``.

        Raises:
            InputError: the motion breaks down.
        """

    def objects(self) -> list[TrajectoryObject]:
        """Return the scene's objects, as meta.json of a trajectory describes them.

        Raises:
            InputError: nothing says what one of them is made of.
        """

    def walls(self) -> Walls | None:
        """Return the walls of the box in which the scene moves, None without any."""


def with_velocities(moments: Iterable[tuple[Gaussians, Frame]], frame_dt: float) -> Iterator[Moment]:
    """Yield moments whose frames have velocities, which are ``differences`` of their positions."""
    window: deque[tuple[Gaussians, Frame]] = deque(maxlen=3)

    def moment(k: int) -> Moment:
        velocities = differences([frame.means for _, frame in window], k, frame_dt)
        gaussians, frame = window[k]
        return Moment(gaussians, replace(frame, velocities=velocities))

    count = 0
    for count, pair in enumerate(moments, 1):
        window.append(pair)
        if count == 3:
            yield moment(0)
        if count >= 3:
            yield moment(1)
    if count == 2:
        yield moment(0)
    if count:
        yield moment(len(window) - 1)
