"""Tell which frame is due while a person plays, pauses and seeks."""

import math


class Playback:
    """A ``Playback`` tells which of the frames 0 to F - 1 is due, while a person plays, pauses and seeks.

    Attributes:
        playing: whether time runs.
        speed: seconds of the trajectory a second.
    """

    def __init__(self, frame_count: int, frame_dt: float) -> None:
        self.frame_count, self.frame_dt = frame_count, frame_dt
        self.playing, self.speed = False, 1.0
        self._frames, self._since = 0.0, 0.0

    def frame(self, now: float) -> int:
        """Return the frame due at ``now``, seconds on any clock that does not jump."""
        # The small addition keeps rounding from showing the frame before.
        return int(self._position(now) + 1e-6) % self.frame_count

    def play(self, now: float) -> None:
        self._rebase(self._position(now), now)
        self.playing = True

    def pause(self, now: float) -> None:
        self._rebase(self.frame(now), now)
        self.playing = False

    def seek(self, frame: int, now: float) -> None:
        self._rebase(frame, now)

    def change_speed(self, speed: float, now: float) -> None:
        self._rebase(self._position(now), now)
        self.speed = speed

    def _position(self, now: float) -> float:
        return self._frames + ((now - self._since) * self.speed / self.frame_dt if self.playing else 0.0)

    def _rebase(self, frames: float, now: float) -> None:
        self._frames, self._since = math.fmod(frames, self.frame_count), now
