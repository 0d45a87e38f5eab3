"""Show moments of a stage in all browsers that are connected, each from where it looks."""

from collections.abc import Callable, Mapping

import viser

from tools.viewer.overlays.motion import Drawing, MotionNodes
from tools.viewer.scene.layers import Stage
from tools.viewer.scene.poses import Eye
from tools.viewer.scene.splat_nodes import Moment, SplatNodes
from tools.viewer.scene.splat_packing import BYTES
from tools.viewer.serving.panel import Panel, report

# A browser cannot say that it lags behind, so no more is sent than a browser on this machine draws smoothly.
_BYTES_PER_SECOND = 2e8
_FRAMES_PER_SECOND = 30.0


def drawing_interval(stage: Stage) -> float:
    """Return the least number of seconds from one picture of a stage to the next."""
    total = sum(len(layer.source) for layer in stage.layers)
    return max(1 / _FRAMES_PER_SECOND, total * BYTES / _BYTES_PER_SECOND)


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

    def clear(self) -> None:
        """Remove all that it is shown."""
        with self._client.atomic():
            self._nodes.remove()
            self._motion.remove()


class Browsers:
    """A ``Browsers`` is all browsers that are connected to a panel's server, and what they are shown.

    Whoever owns it calls ``show`` in the thread of the panel's ``work``, which wakes up when a browser comes or, where
    that matters, looks from elsewhere.

    Args:
        panel: the controls in the browsers.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._shown: dict[int, Browser] = {}
        self._stage: Stage | None = None
        self._moment: Moment | None = None
        self._drawings: Mapping[str, Drawing] = {}
        self._drawn: tuple[int, int] | None = None
        panel.server.on_client_connect(self._welcome)

    def __bool__(self) -> bool:
        """Return whether any is connected."""
        return bool(self._panel.server.get_clients())

    def _welcome(self, client: viser.ClientHandle) -> None:
        self._panel.ask(_nothing)
        client.camera.on_update(lambda _: self._moved())

    def _moved(self) -> None:
        stage = self._stage
        if stage is not None and stage.depends_on_eye:
            self._panel.ask(_nothing)

    def show(self, stage: Stage, frame: int, time: float, overlays: Callable[[float], Mapping[str, Drawing]]) -> bool:
        """Show a moment of a stage; nothing is read while no browser is there, or what they are shown is right.

        Args:
            frame: number of the moment, which tells it from others.
            time: seconds.
            overlays: returns what is drawn over the Gaussians at a time.

        Returns:
            Whether it is another moment, or another view of it, than the last one.

        Raises:
            InputError: a file is damaged: the last moment stays.
        """
        clients = self._panel.server.get_clients()
        if self._stage is not None and stage is not self._stage:
            self.clear()
        self._stage = stage
        self._shown = {number: self._shown.get(number) or Browser(client) for number, client in clients.items()}
        try:
            if not clients or self._drawn == (frame, stage.version):
                return False
            self._drawn = frame, stage.version
            self._moment = Moment(stage, time, self._moment)
            self._drawings = overlays(time)
            return True
        finally:
            for browser in self._shown.values():
                if self._moment is not None:
                    browser.draw(self._moment, self._drawings)

    def clear(self) -> None:
        """Forget what was shown, as for a stage with other layers, or one whose frames have become others."""
        clients = self._panel.server.get_clients()
        for number, browser in self._shown.items():
            if number in clients:
                browser.clear()
        self._shown, self._moment, self._drawings, self._drawn = {}, None, {}, None

    def tell(self, title: str, error: Exception) -> None:
        """Report what failed, to all browsers and on standard error."""
        report(error)
        for client in self._panel.server.get_clients().values():
            client.add_notification(title, str(error), color="red")


def _nothing() -> None:
    """Do nothing: a request to wake up whoever waits for one."""
