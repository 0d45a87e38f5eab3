"""Show a world that is predicted as it goes on, and do to it what people ask for in the panel."""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import viser

from gaussians.stage.errors import InputError
from tools.live.grips import Grips
from tools.live.live_panel import LivePanel
from tools.live.live_world import LiveWorld
from tools.live.palette import Palette
from tools.live.simulation import Simulator
from tools.live.view import View
from tools.viewer.browsers import Browsers, drawing_interval
from tools.viewer.overlays.guides import look_at
from tools.viewer.saving.exports import free_path
from tools.viewer.saving.recording import VideoSettings, record
from tools.viewer.scene.layers import Stage
from tools.viewer.scene.poses import Eye
from tools.viewer.scene.splat_source import SplatSource, open_source
from tools.viewer.serving.panel import Job
from tools.viewer.serving.panel_server import start_panel

_VIDEO = (960, 540)  # pixels
_SHORTEST = 0.01  # metres; a shorter arrow is a hand that slipped


class LiveViewer:
    """A ``LiveViewer`` serves a live world to browsers until it is stopped.

    Either the prediction goes on, as long as a browser is there, or what is remembered of it plays, alone or beside a
    simulation. The server's threads only put what a person asks for into a queue; ``run`` does it, in one thread.

    Args:
        world: what moves.
        background: what stands still behind it.
        palette: what can be dropped.
        simulator: how to simulate.
        host: the address that browsers reach this by; "localhost" for this machine alone.
        port: 0 for any free one.
        folder: where what a person saves goes.

    Raises:
        InputError: the port is taken or not allowed, or there is no such host.
    """

    def __init__(
        self,
        world: LiveWorld,
        background: SplatSource | None,
        palette: Palette,
        simulator: Simulator,
        host: str,
        port: int,
        folder: Path,
    ) -> None:
        self.world, self._background, self._palette, self._simulator = world, background, palette, simulator
        self._folder = folder
        self._running, self._speed, self._owed, self._last = False, 1.0, 0.0, 0.0
        self._counted, self._since = 0, time.monotonic()
        self._chosen = world.motion.labels[0]
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.panel = panel = start_panel(host, port, "Live")
        self._controls = LivePanel(panel, self, palette.names)
        self._grips = Grips(panel, self.choose, self._dragged)
        self._browsers = Browsers(panel)
        self._replaying = False
        self._view = self._present()
        look_at(panel.server, self._view.session.guides, "z")
        self._controls.set_objects(world.names)
        self.choose(self._chosen)

    @property
    def port(self) -> int:
        return self.panel.server.get_port()

    @property
    def view(self) -> View:
        """Return what is shown now."""
        return self._view

    def _present(self) -> View:
        return View(self.panel, [self.world.source()], self._background, self._folder, replay=False)

    def _show(self, view: View) -> None:
        if self._view.stage.arrangement == "side by side":
            look_at(self.panel.server, view.session.guides, "z")  # from as near as before
        self._view.remove()
        self._view = view

    def run(self) -> None:
        """Do what the panel asks for until an exception, such as that of a signal, ends it."""
        due, waiting = time.monotonic(), True
        while True:
            moving = (self._running or self._view.session.playback.playing) and bool(self._browsers)
            patience = max(0.0, due - time.monotonic()) if moving or waiting else None
            waiting = self.panel.work(patience) or waiting
            if (now := time.monotonic()) >= due:
                self._update(now, moving)
                due, waiting = max(due + drawing_interval(self._view.stage), time.monotonic()), False

    def stop(self) -> None:
        """End what is being written or simulated, and the server."""
        self.panel.close()
        self.panel.server.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _update(self, now: float, moving: bool) -> None:
        try:
            if self._running and moving:
                self._advance(now)
            self._last = now
            view, world = self._view, self.world
            if not self._replaying:
                view.show_latest(world.source())
                self._grips.follow(world.boxes())
            frame = view.session.frame
            later = self._browsers.show(view.stage, frame, view.session.time, view.overlays)
            if later and view.time is not None:
                view.time.show(frame)
        except Exception as error:  # the prediction diverges, or a file of the simulation is damaged
            self._set_running(False)
            self._browsers.tell("This cannot be shown", error)

    def _advance(self, now: float) -> None:
        """Predict the frames that have become due since the last picture."""
        frame_dt = self.world.config.frame_dt
        self._owed += (now - self._last) * self._speed / frame_dt
        # No more than a picture takes in the world: a prediction that is slower falls behind, and pictures still come.
        count = min(int(self._owed), math.ceil(drawing_interval(self._view.stage) / frame_dt))
        self._owed = min(self._owed - count, 1.0)
        for _ in range(count):
            self.world.step()
        self._counted += count
        if now - self._since > 0.5:
            rate = self._counted / (now - self._since)
            self._controls.show_time(f"{self.world.motion.time:.2f} s, {rate:.0f} frames a second")
            self._counted, self._since = 0, now

    def _set_running(self, running: bool) -> None:
        self._running, self._owed = running, 0.0
        self._last = self._since = time.monotonic()
        self._counted = 0
        self._controls.show_running(running)
        self._controls.show_time(f"{self.world.motion.time:.2f} s")

    def _go_live(self) -> None:
        """Leave a replay, if there is one."""
        if self._replaying:
            self._replaying = False
            self._controls.show_replaying(False)
            self._show(self._present())

    def toggle_running(self) -> None:
        self._go_live()
        self._set_running(not self._running)

    def set_speed(self, speed: float) -> None:
        self._speed = speed

    def reset(self) -> None:
        self._go_live()
        self.world.reset()
        self._view.stage.changed()
        self._set_running(False)

    def choose(self, label: int) -> None:
        if label not in self.world.motion.labels:
            return
        self._chosen = label
        motion, materials = self.world.motion, self.world.motion.materials
        name = next(name for name, found in self.world.names.items() if found == label)
        values = materials.youngs_moduli[label], materials.densities[label]
        self._controls.choose(name, motion.masses[label], *values)

    def push(self, client: viser.ClientHandle) -> None:
        arrow = self._controls.arrow
        self.panel.try_to(client, lambda: self._push("push", self._chosen, torch.zeros(3), arrow.vector))

    def twist(self, client: viser.ClientHandle) -> None:
        arrow = self._controls.arrow
        turn = self.world.radius(self._chosen) * arrow.vector
        self.panel.try_to(client, lambda: self._act("twist", self._chosen, turn))

    def _dragged(self, kind: str, label: int, start: torch.Tensor, arrow: torch.Tensor) -> None:
        try:
            self._push(kind, label, start - self.world.motion.centres()[label], arrow)
        except InputError as error:
            self._browsers.tell("This failed", error)

    def _push(self, kind: str, label: int, lever: torch.Tensor, arrow: torch.Tensor) -> str:
        """Push an object along an arrow (3,), or twist it as that would at a lever (3,), metres."""
        if float(arrow.norm()) < _SHORTEST:
            return "nothing: the arrow is too short"
        return self._act(kind, label, arrow if kind == "push" else torch.linalg.cross(lever, arrow))

    def _act(self, kind: str, label: int, vector: torch.Tensor) -> str:
        self._go_live()
        acceleration, seconds = self._controls.strength * vector, self._controls.seconds
        if kind == "push":
            acted, unit = self.world.push(label, acceleration, seconds), "N"
        else:
            acted, unit = self.world.twist(label, acceleration, seconds), "N m"
        if not self._running:
            self._set_running(True)
        self.choose(label)
        x, y, z = acted.tolist()
        said = f"({x:.3g}, {y:.3g}, {z:.3g}) {unit} for {seconds:g} s"
        self._controls.show_force(said)
        return said

    def set_material(self, client: viser.ClientHandle) -> None:
        def change() -> str:
            self._go_live()
            modulus, density = self._controls.material
            self.world.set_material(self._chosen, modulus, density)
            self.choose(self._chosen)
            return f"{modulus:.3g} Pa, {density:.4g} kg/m^3, {self.world.motion.masses[self._chosen]:.3g} kg"

        self.panel.try_to(client, change)

    def drop(self, client: viser.ClientHandle) -> None:
        def drop() -> str:
            self._go_live()
            name = self.world.drop(self._palette.scene(self._controls.chosen_addition), self._chosen)
            self._show(self._present())
            self._controls.set_objects(self.world.names)
            self.choose(self.world.names[name])
            self._set_running(True)
            return f"{name} falls"

        self.panel.try_to(client, drop)

    def toggle_replay(self) -> None:
        if self._replaying:
            self._go_live()
        else:
            self._replay([self.world.source()])

    def _replay(self, sources: Sequence[SplatSource]) -> None:
        self._set_running(False)
        self._replaying = True
        self._controls.show_replaying(True)
        self._grips.clear()
        self._show(View(self.panel, sources, self._background, self._folder, replay=True))
        if self._view.time is not None:
            self._view.time.set_playing(True)

    def simulate(self, client: viser.ClientHandle) -> None:
        if not self.panel.busy:
            self._go_live()
            self._set_running(False)
        self.panel.start(self._simulated(), client)

    def _simulated(self) -> Job:
        world = self.world
        world.check_unchanged()
        if world.first:
            raise InputError("the beginning is forgotten by now: reset, and simulate something shorter")
        predicted = world.source()
        folder = tempfile.TemporaryDirectory(prefix="live_")
        try:
            output = yield from self._simulator.run(world, Path(folder.name))
        except BaseException:
            folder.cleanup()
            raise
        if self._temporary is not None:
            self._temporary.cleanup()
        self._temporary = folder
        simulated = open_source(output, self._palette.layout)
        self._replay([replace(predicted, name="prediction"), replace(simulated, name="simulation")])
        self._view.show_side_by_side()
        return f"{simulated.frame_count} frames simulated; left the prediction, right the simulation"

    def save(self, client: viser.ClientHandle) -> None:
        def save() -> str:
            saved = self.world.save(self._folder)
            print(f"saved {saved.scene} and {saved.forces}", flush=True)
            return f"{saved.scene} and {saved.forces}: {len(self.world.motion.forces)} pushes"

        self.panel.try_to(client, save)

    def record(self, client: viser.ClientHandle) -> None:
        if not self.panel.busy:
            self._set_running(False)
        view = self._view
        stage = view.stage if self._replaying else Stage([self.world.source()], self._background)
        frames, step = stage.duration
        settings = VideoSettings(*_VIDEO, fps=30, seconds=max(frames * step, 0.1), speed=1.0)
        self._folder.mkdir(parents=True, exist_ok=True)
        path, eye = free_path(self._folder, self.world.name, ".mp4"), Eye.of(client)
        self.panel.start(record(stage, [eye], path, settings), client)
