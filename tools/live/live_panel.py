"""Let a person run, push, twist, drop, change and save in the panel of the live world."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import viser

from gaussians.limits import LARGEST, SMALLEST
from tools.viewer.serving.panel import Panel

_STIFFNESS = (3.0, 8.0)  # logarithms of pascals
_DENSITY = (20.0, 3000.0)  # kg/m^3


class Actions(Protocol):
    """An ``Actions`` does what the panel offers; each is called with the browser of the person who asks for it."""

    def toggle_running(self) -> None:
        """Run, or pause."""

    def set_speed(self, speed: float) -> None:
        """Predict that many seconds a second."""

    def reset(self) -> None:
        """Go back to the start."""

    def choose(self, label: int) -> None:
        """Have an object chosen."""

    def push(self, client: viser.ClientHandle) -> None:
        """Push the chosen object along the panel's arrow."""

    def twist(self, client: viser.ClientHandle) -> None:
        """Twist the chosen object about the panel's arrow."""

    def set_material(self, client: viser.ClientHandle) -> None:
        """Make the chosen object of what the panel says."""

    def drop(self, client: viser.ClientHandle) -> None:
        """Drop what is chosen from the palette above the chosen object."""

    def simulate(self, client: viser.ClientHandle) -> None:
        """Simulate what has been predicted, and show both."""

    def toggle_replay(self) -> None:
        """Play what is remembered over and over, or go on with the prediction."""

    def save(self, client: viser.ClientHandle) -> None:
        """Write the scene and the pushes."""

    def record(self, client: viser.ClientHandle) -> None:
        """Write a video of what is remembered, from where the browser looks now."""


@dataclass(frozen=True)
class Arrow:
    """An ``Arrow`` is how an object is pushed or twisted by the panel's buttons.

    Attributes:
        direction: (3,), unit vector.
        length: metres.
    """

    direction: torch.Tensor
    length: float

    @property
    def vector(self) -> torch.Tensor:
        """Return the vector (3,) from its start to its tip, metres."""
        return self.length * self.direction


class LivePanel:
    """A ``LivePanel`` is the controls of the live world.

    Args:
        panel: where they are.
        actions: what they do.
        palette: names of what can be dropped.
    """

    def __init__(self, panel: Panel, actions: Actions, palette: tuple[str, ...]) -> None:
        self._panel, self._actions, gui = panel, actions, panel.gui
        self._names: dict[str, int] = {}
        self._run = panel.on(gui.add_button("Run", icon=viser.Icon.PLAYER_PLAY), lambda _: actions.toggle_running())
        panel.on(gui.add_button("Reset", icon=viser.Icon.PLAYER_SKIP_BACK), lambda _: actions.reset())
        self._time = gui.add_text("Time", "0.00 s", disabled=True)
        speed = gui.add_slider("Speed", 0.1, 1.0, 0.05, 1.0, hint="1: as fast as in the world, where that can be had")
        panel.on(speed, actions.set_speed)
        panel.add_job_controls()
        self._place = gui.add_folder("Object")
        self._object = self._add_object(("none",))
        with self._place:
            self._mass = gui.add_text("Mass", "", disabled=True)
        self._add_push(actions)
        self._add_material(actions)
        with gui.add_folder("Drop", expand_by_default=False):
            self._palette = panel.on(gui.add_dropdown("What", palette), lambda _: None)
            hint = "in a free place above the chosen object"
            panel.on_browser(gui.add_button("Drop", hint=hint), lambda _, client: actions.drop(client))
        with gui.add_folder("Compare and save", expand_by_default=False):
            hint = "the simulator, from the same start with the same pushes; then both are shown"
            panel.on_browser(gui.add_button("Simulate this", hint=hint), lambda _, client: actions.simulate(client))
            hint = "plays what was predicted over and over"
            self._replay = panel.on(gui.add_button("Replay", hint=hint), lambda _: actions.toggle_replay())
            hint = "the scene and a JSON of external forces, for videogen.eval"
            panel.on_browser(gui.add_button("Save pushes", hint=hint), lambda _, client: actions.save(client))
            hint = "what was predicted, from where you look now"
            panel.on_browser(gui.add_button("Record MP4 of all", hint=hint), lambda _, client: actions.record(client))

    def _add_object(self, names: tuple[str, ...]) -> viser.GuiDropdownHandle[str]:
        with self._place:
            return self._panel.on(
                self._panel.gui.add_dropdown("Chosen", names, order=0, hint="or click on it"),
                lambda name: self._actions.choose(self._names[name]),
            )

    def _add_push(self, actions: Actions) -> None:
        gui, panel = self._panel.gui, self._panel
        with gui.add_folder("Push"):
            gui.add_markdown("Drag an object: it is pushed along the arrow. Shift + drag twists it.")
            hint = "acceleration by an arrow of one metre, m/s^2"
            self._strength = panel.on(gui.add_slider("Strength", 1.0, 200.0, 1.0, 40.0, hint=hint), lambda _: None)
            self._seconds = panel.on(gui.add_slider("Seconds", 0.02, 1.0, 0.02, 0.1), lambda _: None)
            self._force = gui.add_text("Last", "", disabled=True)
            with gui.add_folder("Without the mouse", expand_by_default=False):
                hint = "degrees from x (0) to y (90)"
                self._heading = panel.on(gui.add_slider("Heading", 0, 359, 1, 0, hint=hint), lambda _: None)
                hint = "degrees upwards"
                self._slope = panel.on(gui.add_slider("Slope", -90, 90, 1, 0, hint=hint), lambda _: None)
                self._length = panel.on(gui.add_slider("Length", 0.05, 2.0, 0.05, 0.5, hint="metres"), lambda _: None)
                panel.on_browser(gui.add_button("Push"), lambda _, client: actions.push(client))
                hint = "about the arrow"
                panel.on_browser(gui.add_button("Twist", hint=hint), lambda _, client: actions.twist(client))

    def _add_material(self, actions: Actions) -> None:
        gui, panel = self._panel.gui, self._panel
        with gui.add_folder("Material", expand_by_default=False):
            hint = "logarithm of Young's modulus, Pa: 3 is jelly, 7 is hard"
            self._modulus = panel.on(gui.add_slider("Stiffness", *_STIFFNESS, 0.05, 5.0, hint=hint), lambda _: None)
            self._density = panel.on(gui.add_slider("Density", *_DENSITY, 10.0, 500.0, hint="kg/m^3"), lambda _: None)
            panel.on_browser(gui.add_button("Change"), lambda _, client: actions.set_material(client))

    def set_objects(self, names: dict[str, int]) -> None:
        """Offer other objects, labels by name."""
        self._panel.remove(self._object)
        self._names = names
        self._object = self._add_object(tuple(names))

    def choose(self, name: str, mass: float, youngs_modulus: float | None, density: float | None) -> None:
        """Show which object is chosen, kg, Pa and kg/m^3."""
        self._object.value = name  # type: ignore[misc]
        self._mass.value = f"{mass:.3g} kg" if mass > 0 else "unknown"  # type: ignore[misc]
        if youngs_modulus is not None:
            low, high = _STIFFNESS
            self._modulus.value = round(min(max(math.log10(youngs_modulus), low), high), 2)
        if density is not None:
            self._density.value = min(max(density, _DENSITY[0]), _DENSITY[1])

    def show_running(self, running: bool) -> None:
        """Show whether the prediction runs."""
        self._run.label = "Pause" if running else "Run"
        self._run.icon = viser.Icon.PLAYER_PAUSE if running else viser.Icon.PLAYER_PLAY

    def show_replaying(self, replaying: bool) -> None:
        """Show whether what is remembered plays."""
        self._replay.label = "Back to the present" if replaying else "Replay"

    def show_time(self, text: str) -> None:
        """Show where the prediction is."""
        self._time.value = text  # type: ignore[misc]

    def show_force(self, text: str) -> None:
        """Show what the last push was."""
        self._force.value = text  # type: ignore[misc]

    @property
    def arrow(self) -> Arrow:
        """Return the arrow of the sliders."""
        heading, slope = math.radians(self._heading.value), math.radians(self._slope.value)
        level = math.cos(slope)
        direction = torch.tensor([level * math.cos(heading), level * math.sin(heading), math.sin(slope)])
        return Arrow(direction, self._length.value)

    @property
    def strength(self) -> float:
        """Return the acceleration by an arrow of one metre, 1/s^2."""
        return float(self._strength.value)

    @property
    def seconds(self) -> float:
        """Return how long a push lasts."""
        return float(self._seconds.value)

    @property
    def material(self) -> tuple[float, float]:
        """Return Young's modulus, Pa, and density, kg/m^3."""
        return min(max(10 ** float(self._modulus.value), SMALLEST), LARGEST), float(self._density.value)

    @property
    def chosen_addition(self) -> str:
        """Return the name of what is to be dropped."""
        return str(self._palette.value)
