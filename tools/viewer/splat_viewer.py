"""Show Gaussians in browsers, each from where it looks, and do what people ask for in the panel."""

import time
from collections.abc import Sequence
from pathlib import Path

from tools.viewer.browsers import Browsers, drawing_interval
from tools.viewer.overlays.guides import Guides, look_at
from tools.viewer.panels.edit_panel import EditPanel
from tools.viewer.panels.overlay_panel import OverlayPanel
from tools.viewer.panels.save_panel import SavePanel
from tools.viewer.panels.show_panel import ShowPanel
from tools.viewer.panels.time_panel import TimePanel
from tools.viewer.playback import Playback
from tools.viewer.scene.layers import Stage
from tools.viewer.scene.splat_source import SplatSource
from tools.viewer.serving.guarded_server import stop_server
from tools.viewer.serving.panel_server import start_panel
from tools.viewer.session import Session


class SplatViewer:
    """A ``SplatViewer`` serves Gaussians to browsers until it is stopped.

    The server's threads only put what a person asks for into a queue; ``run`` does it, in one thread.

    Args:
        sources: what is shown in step, and plays if it has several frames.
        background: what stands still behind it.
        host: the address that browsers reach this by; "localhost" for this machine alone.
        port: 0 for any free one.
        folder: where what a person saves goes.

    Raises:
        InputError: the port is taken or not allowed, or there is no such host.
    """

    def __init__(
        self, sources: Sequence[SplatSource], background: SplatSource | None, host: str, port: int, folder: Path
    ) -> None:
        panel = start_panel(host, port, "Gaussians")
        self.server = panel.server
        self.stage = stage = Stage(sources, background)
        guides = Guides(self.server.scene, stage)
        look_at(self.server, guides, stage.up)
        self.session = Session(panel, stage, guides, Playback(*stage.duration), folder)
        self._time = TimePanel(self.session) if self.session.playback.frame_count > 1 else None
        ShowPanel(self.session)
        cameras = next((source.cameras for source in sources if source.cameras is not None), None)
        self._overlays = OverlayPanel(self.session, cameras)
        EditPanel(self.session)
        SavePanel(self.session)
        self._interval = drawing_interval(stage)
        self._browsers = Browsers(panel)

    @property
    def port(self) -> int:
        return self.server.get_port()

    def run(self) -> None:
        """Do what the panel asks for until an exception, such as that of a signal, ends it."""
        panel, playback = self.session.panel, self.session.playback
        due, waiting = time.monotonic(), True
        while True:
            # While no browser is connected, nothing is read from the disk; the next one wakes this up.
            running = playback.playing and bool(self._browsers)
            patience = max(0.0, due - time.monotonic()) if running or waiting else None
            waiting = panel.work(patience) or waiting
            if time.monotonic() >= due:
                self._update()
                due, waiting = time.monotonic() + self._interval, False

    def stop(self) -> None:
        """End what is being written, and the server."""
        self.session.panel.close()
        stop_server(self.server)

    def _update(self) -> None:
        """Show the frame that is due; one that cannot be read is not shown, and the last one stays."""
        frame = self.session.frame
        now = frame * self.session.playback.frame_dt
        try:
            if self._browsers.show(self.stage, frame, now, self._overlays.motion.drawings) and self._time is not None:
                self._time.show(frame)
        except Exception as error:  # of a damaged file, say
            self._browsers.tell("This frame cannot be read", error)
            if self._time is not None:
                self._time.set_playing(False)
                self._time.show(frame)
