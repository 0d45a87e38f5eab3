"""Show Gaussians in browsers, each from where it looks, and do what people ask for in the panel."""

import logging
import socket
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import viser

from gaussians.stage.errors import InputError
from tools.viewer.overlays.guides import Guides, look_at
from tools.viewer.overlays.motion import Drawing, MotionNodes
from tools.viewer.panels.edit_panel import EditPanel
from tools.viewer.panels.overlay_panel import OverlayPanel
from tools.viewer.panels.save_panel import SavePanel
from tools.viewer.panels.show_panel import ShowPanel
from tools.viewer.panels.time_panel import TimePanel
from tools.viewer.playback import Playback
from tools.viewer.scene.layers import Stage
from tools.viewer.scene.poses import Eye
from tools.viewer.scene.splat_nodes import Moment, SplatNodes
from tools.viewer.scene.splat_packing import BYTES
from tools.viewer.scene.splat_source import SplatSource
from tools.viewer.serving.allowed_messages import Controls
from tools.viewer.serving.guarded_server import start_server
from tools.viewer.serving.panel import Panel, report
from tools.viewer.session import Session

# A browser cannot say that it lags behind, so no more is sent than a browser on this machine draws smoothly.
_BYTES_PER_SECOND = 2e8
_FRAMES_PER_SECOND = 30.0


class Browser:
    """A ``Browser`` is what one browser is shown.

    Args:
        client: the browser.
    """

    def __init__(self, client: viser.ClientHandle) -> None:
        self._client = client
        self._nodes, self._motion = SplatNodes(client.scene), MotionNodes(client.scene)
        self._eye: Eye | None = None
        self._seen = -1.0

    def draw(self, moment: Moment, overlays: Mapping[str, Drawing]) -> None:
        """Show a moment from where the browser looks now, with overlays."""
        if moment.stage.depends_on_eye and self._client.camera.update_timestamp != self._seen:
            self._seen = self._client.camera.update_timestamp
            self._eye = Eye.of(self._client)
        with self._client.atomic():
            self._nodes.draw(moment, self._eye)
            self._motion.draw(overlays)


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
        check_port(host, port)
        # Not only browsers connect to a port, and some leave at once, which needs no traceback.
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        # A browser may leave while its next frame is being sent.
        warnings.filterwarnings("ignore", r"Queued a \w+ on a closed connection", UserWarning)
        self.stage = stage = Stage(sources, background)
        controls = Controls()
        self.server = start_server(host, port, "Gaussians", controls)
        if port not in (0, self.server.get_port()):  # it was taken since the check, and viser chose the next
            self.server.stop()
            raise _port_taken(host, port)
        self.server.gui.configure_theme(show_share_button=False, control_width="medium")
        guides = Guides(self.server.scene, stage)
        look_at(self.server, guides, stage.up)
        panel = Panel(self.server, controls)
        self.session = Session(panel, stage, guides, Playback(*stage.duration), folder)
        self._time = TimePanel(self.session) if self.session.playback.frame_count > 1 else None
        ShowPanel(self.session)
        cameras = next((source.cameras for source in sources if source.cameras is not None), None)
        self._overlays = OverlayPanel(self.session, cameras)
        EditPanel(self.session)
        SavePanel(self.session)
        total = sum(len(layer.source) for layer in stage.layers)
        self._interval = max(1 / _FRAMES_PER_SECOND, total * BYTES / _BYTES_PER_SECOND)
        self._browsers: dict[int, Browser] = {}
        self._moment: Moment | None = None
        self._drawings: Mapping[str, Drawing] = {}
        self._drawn: tuple[int, int] | None = None
        self.server.on_client_connect(self._welcome)

    @property
    def port(self) -> int:
        return self.server.get_port()

    def _welcome(self, client: viser.ClientHandle) -> None:
        self.session.panel.ask(_nothing)
        client.camera.on_update(lambda _: self._moved())

    def _moved(self) -> None:
        if self.stage.depends_on_eye:
            self.session.panel.ask(_nothing)

    def run(self) -> None:
        """Do what the panel asks for until an exception, such as that of a signal, ends it."""
        panel, playback = self.session.panel, self.session.playback
        due, waiting = time.monotonic(), True
        while True:
            # While no browser is connected, nothing is read from the disk; the next one wakes this up.
            running = playback.playing and bool(self.server.get_clients())
            patience = max(0.0, due - time.monotonic()) if running or waiting else None
            waiting = panel.work(patience) or waiting
            if time.monotonic() >= due:
                self._update()
                due, waiting = time.monotonic() + self._interval, False

    def stop(self) -> None:
        """End what is being written, and the server."""
        self.session.panel.close()
        self.server.stop()

    def _update(self) -> None:
        clients = self.server.get_clients()
        self._browsers = {number: self._browsers.get(number) or Browser(client) for number, client in clients.items()}
        frame = self.session.frame
        if clients and self._drawn != (frame, self.stage.version):
            self._read(frame)
        for browser in self._browsers.values():
            if self._moment is not None:
                browser.draw(self._moment, self._drawings)

    def _read(self, frame: int) -> None:
        """Read a frame; where that fails, the last one stays."""
        self._drawn = frame, self.stage.version
        now = frame * self.session.playback.frame_dt
        try:
            self._moment = Moment(self.stage, now, self._moment)
            self._drawings = self._overlays.motion.drawings(now)
        except Exception as error:  # of a damaged file, say: this frame is not shown, others are
            report(error)
            for client in self.server.get_clients().values():
                client.add_notification("This frame cannot be read", str(error), color="red")
            if self._time is not None:
                self._time.set_playing(False)
        if self._time is not None:
            self._time.show(frame)


def _nothing() -> None:
    """Do nothing: a request to wake up whoever waits for one."""


def check_port(host: str, port: int) -> None:
    """Refuse a port that cannot be had; the server itself would silently take another one.

    Raises:
        InputError: it is taken or not allowed, or there is no such host.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise InputError(f"--host {host}: {error.strerror}") from None
    for family, *_, address in addresses:
        try:
            socket.create_server(address[:2], family=family).close()
        except PermissionError:
            raise InputError(f"--port {port}: not allowed on {host}; choose one of 1024 to 65535") from None
        except OSError as error:
            if "in use" not in str(error).lower():
                raise InputError(f"--host {host}: cannot be listened on: {error.strerror}") from None
            raise _port_taken(host, port) from None


def _port_taken(host: str, port: int) -> InputError:
    return InputError(f"--port {port}: already in use on {host}; choose another, or end the program that has it")
