"""Show Gaussians in a browser, with a panel that plays them, cuts faint ones and hides objects."""

import logging
import math
import queue
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import viser

from gaussians.covariance import unpack_covariance
from gaussians.files.splats.splat_rows import UPRIGHT
from gaussians.files.trajectory_format import Walls
from gaussians.stage.errors import InputError
from tools.viewer.guarded_server import Controls, start_server
from tools.viewer.splat_source import SplatSource

# The browser gets covariances in half precision, which keeps its precision from 6e-5 to 65504. So splats are sent in
# millimetres, or in a longer unit if one is too large for that.
_LARGEST_VARIANCE = 6e4
_LARGEST_UNIT = 1000.0
# A browser cannot say that it lags behind, so no more is sent than a browser on this machine draws smoothly.
_BYTES_PER_SECOND = 2e8
_FRAMES_PER_SECOND = 30.0
_BYTES_PER_SPLAT = 32
_BOX_TOP = 1.0
_BOX_COLOR = (110, 110, 110)
_UPS: tuple[str, ...] = ("+z", "-z", "+y", "-y", "+x", "-x")


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


class SplatViewer:
    """A ``SplatViewer`` serves Gaussians to browsers until it is stopped.

    The server's threads only put what a person asks for into a queue; ``run`` does it, in one thread.

    Args:
        source: what is shown, and plays if it has several frames.
        background: what stands still behind it.
        host: the address that browsers reach this by; "localhost" for this machine alone.
        port: 0 for any free one.

    Raises:
        InputError: the port is taken or not allowed, or there is no such host.
    """

    def __init__(self, source: SplatSource, background: SplatSource | None, host: str, port: int) -> None:
        check_port(host, port)
        # Not only browsers connect to a port, and some leave at once, which needs no traceback.
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        self.source = source
        self._requests: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._playback = Playback(source.frame_count, source.frame_dt)
        self._cut, self._shown = 0.0, (-1, 0.0)
        self._interval = max(1 / _FRAMES_PER_SECOND, len(source) * _BYTES_PER_SPLAT / _BYTES_PER_SECOND)
        means, covariances = source.shapes(0)
        self._controls = Controls()
        self.server = start_server(host, port, "Gaussians", self._controls)
        if port not in (0, self.server.get_port()):  # it was taken since the check, and viser chose the next
            self.server.stop()
            raise _port_taken(host, port)
        self.server.gui.configure_theme(show_share_button=False, control_width="medium")
        self._look_at(means)
        self._objects = [_Splats(self.server, name, source, rows) for name, rows in source.objects.items()]
        self._background = None
        if background is not None:
            self._background = _Splats(self.server, "background", background, background.objects["background"])
            self._background.draw(*background.shapes(0), self._cut)
        if source.frame_count > 1:
            self._add_time_panel()
        self._add_show_panel()
        self._draw(means, covariances)
        self.server.on_client_connect(lambda _: self._requests.put(lambda: None))

    @property
    def port(self) -> int:
        return self.server.get_port()

    def run(self) -> None:
        """Do what the panel asks for until an exception, such as that of a signal, ends it."""
        while True:
            # While no browser is connected, nothing is read from the disk; the next one wakes this up.
            running = self._playback.playing and bool(self.server.get_clients())
            try:
                self._do(self._requests.get(timeout=self._interval if running else None))
                while True:  # do all that has gathered meanwhile, such as the steps of a dragged slider
                    self._do(self._requests.get_nowait())
            except queue.Empty:
                self._do(self._update)

    def _do(self, request: Callable[[], None]) -> None:
        """Do what a person asked for; what fails is reported, and ends nothing but itself."""
        try:
            request()
        except Exception as error:
            print(f"error: {type(error).__name__}: {error}", file=sys.stderr)

    def stop(self) -> None:
        self.server.stop()

    def _update(self) -> None:
        frame = self._playback.frame(time.monotonic())
        if (frame, self._cut) == self._shown:
            return
        try:
            self._draw(*self.source.shapes(frame))
        except Exception as error:  # of a damaged file, say: this frame is not shown, others are
            print(f"error: {error}", file=sys.stderr)
            for client in self.server.get_clients().values():
                client.add_notification("This frame cannot be read", str(error), color="red")
            self._set_playing(False)
        self._shown = frame, self._cut
        if self.source.frame_count > 1:
            self._frame.value = frame  # type: ignore[misc]  # mypy takes the setter for absent
            self._time.value = f"{frame * self.source.frame_dt:.3f} s"  # type: ignore[misc]

    def _draw(self, means: torch.Tensor, covariances: torch.Tensor) -> None:
        with self.server.atomic():
            for splats in self._objects:
                splats.draw(means, covariances, self._cut)

    def _look_at(self, means: torch.Tensor) -> None:
        # The quantiles leave out stray Gaussians far away.
        low, high = np.quantile(means.numpy(), (0.02, 0.98), axis=0)
        center, size = (low + high) / 2, max(float(np.linalg.norm(high - low)), 1e-3)
        camera = self.server.initial_camera
        from_upright = UPRIGHT[self.source.up].numpy().T
        camera.position = center + 1.5 * size * from_upright @ np.array([0.6, -0.7, 0.4])
        camera.look_at = center
        camera.near = size / 100

    def _add_time_panel(self) -> None:
        gui, last = self.server.gui, self.source.frame_count - 1
        with gui.add_folder("Time"):
            self._play_button = gui.add_button("Play", icon=viser.Icon.PLAYER_PLAY)
            self._frame = gui.add_slider("Frame", 0, last, 1, 0, hint=f"one every {self.source.frame_dt:g} s")
            self._time = gui.add_text("Time", "0.000 s", disabled=True)
            speed = gui.add_slider("Speed", 0.1, 2.0, 0.1, 1.0, hint="1: as fast as in the world")
        self._on(self._play_button, lambda _: self._set_playing(not self._playback.playing))
        self._on(self._frame, lambda frame: self._playback.seek(frame, time.monotonic()))
        self._on(speed, lambda value: self._playback.change_speed(value, time.monotonic()))

    def _set_playing(self, playing: bool) -> None:
        now = time.monotonic()
        if playing:
            self._playback.play(now)
        else:
            self._playback.pause(now)
        self._play_button.label = "Pause" if playing else "Play"
        self._play_button.icon = viser.Icon.PLAYER_PAUSE if playing else viser.Icon.PLAYER_PLAY

    def _add_show_panel(self) -> None:
        gui = self.server.gui
        with gui.add_folder("Show"):
            for splats in (*self._objects, *([self._background] if self._background else [])):
                box = gui.add_checkbox(splats.name, True, hint=f"{splats.count:,} Gaussians")
                self._on(box, splats.show)
            if self.source.walls is not None:
                lines = self._add_walls(self.source.walls)
                self._on(gui.add_checkbox("simulation box", True), lambda on: setattr(lines, "visible", on))
            cut = gui.add_slider("Least opacity", 0.0, 1.0, 0.01, 0.0, hint="Gaussians below it are hidden")
            axis = self.source.up if self.source.up.startswith("-") else f"+{self.source.up}"
            self.server.scene.set_up_direction(axis)  # type: ignore[arg-type]
            up = gui.add_dropdown("Up", _UPS, initial_value=axis, hint="which axis of the file points upwards")
        self._on(cut, self._change_cut)
        self._on(up, self.server.scene.set_up_direction)

    def _change_cut(self, cut: float) -> None:
        self._cut = cut

    def _add_walls(self, walls: Walls) -> viser.LineSegmentsHandle:
        segments = box_segments(walls)
        return self.server.scene.add_line_segments("/box", segments, _BOX_COLOR, thickness=0.01)

    def _on(self, handle: Any, act: Callable[[Any], None]) -> None:
        """Have ``run`` call ``act`` with the value that a person gives a control."""
        self._controls.add(handle)

        def request(event: viser.GuiEvent) -> None:
            if event.client_id is not None:  # a person, not this program, has changed it
                value = handle.value
                self._requests.put(lambda: act(value))

        (handle.on_click if isinstance(handle, viser.GuiButtonHandle) else handle.on_update)(request)


class _Splats:
    """A ``_Splats`` is some of a source's Gaussians as one node of the browser's scene, blended with all others."""

    def __init__(self, server: viser.ViserServer, name: str, source: SplatSource, rows: torch.Tensor) -> None:
        self.name, self.count = name, len(rows)
        self._server, self._rows = server, rows
        self._opacities = source.opacities[rows].numpy()
        self._colors = source.colors[rows].numpy()
        self._unit = splat_unit(source.shapes(0)[1][rows])
        self._visible = True
        self._node: viser.GaussianSplatHandle | None = None

    def show(self, visible: bool) -> None:
        self._visible = visible
        if self._node is not None:
            self._node.visible = visible

    def draw(self, means: torch.Tensor, covariances: torch.Tensor, cut: float) -> None:
        kept = self._opacities >= cut
        rows = self._rows[torch.from_numpy(kept)]
        if len(rows) == 0:
            if self._node is not None:
                self._node.remove()
                self._node = None
            return
        shapes = unpack_covariance(covariances[rows]).numpy() * self._unit**2
        arrays = {
            "centers": means[rows].numpy() * self._unit,
            "covariances": shapes.clip(-_LARGEST_VARIANCE, _LARGEST_VARIANCE),
            "rgbs": self._colors[kept],
            "opacities": self._opacities[kept, None],
        }
        if self._node is None:
            self._node = self._server.scene.add_gaussian_splats(
                f"/splats/{self.name}", **arrays, scale=1 / self._unit, visible=self._visible
            )
        else:
            self._node.set_gaussians(**arrays)


def splat_unit(covariances: torch.Tensor) -> float:
    """Return the factor for lengths with which covariances (N, 6), metres^2, keep their precision as half floats."""
    largest = float(covariances[:, [0, 3, 5]].max())
    # Leave room for splats to grow to twice their length.
    return min(_LARGEST_UNIT, math.sqrt(_LARGEST_VARIANCE / max(4 * largest, 1e-12)))


def box_segments(walls: Walls) -> np.ndarray:
    """Return the edges (12, 2, 3) of the simulation box, drawn up to 1 m though it is open above."""
    corners = np.array([[x, y, z] for x in walls.x for y in walls.y for z in (walls.floor, _BOX_TOP)])
    pairs = [(i, j) for i in range(8) for j in range(i + 1, 8) if (i ^ j).bit_count() == 1]
    return corners[pairs]


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
