"""Play, pause, seek and change the speed."""

import time

import viser

from tools.viewer.session import Session


class TimePanel:
    """A ``TimePanel`` lets a person play what moves.

    Args:
        session: what is played.
    """

    def __init__(self, session: Session) -> None:
        self._playback = playback = session.playback
        panel, gui = session.panel, session.panel.gui
        with gui.add_folder("Time"):
            self._button = gui.add_button("Play", icon=viser.Icon.PLAYER_PLAY)
            hint = f"one every {playback.frame_dt:g} s"
            self._frame = gui.add_slider("Frame", 0, playback.frame_count - 1, 1, 0, hint=hint)
            self._time = gui.add_text("Time", "0.000 s", disabled=True)
            speed = gui.add_slider("Speed", 0.1, 2.0, 0.1, 1.0, hint="1: as fast as in the world")
        panel.on(self._button, lambda _: self.set_playing(not playback.playing))
        panel.on(self._frame, lambda frame: playback.seek(frame, time.monotonic()))
        panel.on(speed, lambda value: playback.change_speed(value, time.monotonic()))

    def set_playing(self, playing: bool) -> None:
        """Play or pause."""
        now = time.monotonic()
        if playing:
            self._playback.play(now)
        else:
            self._playback.pause(now)
        self._button.label = "Pause" if playing else "Play"
        self._button.icon = viser.Icon.PLAYER_PAUSE if playing else viser.Icon.PLAYER_PLAY

    def show(self, frame: int) -> None:
        """Show in the panel which frame is drawn."""
        self._frame.value = frame  # type: ignore[misc]  # mypy takes the setter for absent
        self._time.value = f"{frame * self._playback.frame_dt:.3f} s"  # type: ignore[misc]
