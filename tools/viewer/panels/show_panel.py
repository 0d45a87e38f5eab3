"""Choose what is shown: layers, objects and their colours, cuts, and how several sources stand to each other."""

import math
from functools import partial

import numpy as np
import torch

from tools.viewer.overlays.guides import cuboid_segments, look_at
from tools.viewer.scene.layers import ARRANGEMENTS, Arrangement, Layer, Part
from tools.viewer.session import Session

_UPS: tuple[str, ...] = ("+z", "-z", "+y", "-y", "+x", "-x")


class ShowPanel:
    """A ``ShowPanel`` lets a person hide, recolour, cut and arrange what is shown.

    Args:
        session: what is shown.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._panel, self._stage = session, session.panel, session.stage
        gui = self._panel.gui
        with gui.add_folder("Show"):
            for layer in self._stage.layers:
                self._add_layer(layer)
            if self._stage.background is not None:
                self._add_part(self._stage.background, self._stage.background.parts[0])
            self._add_guides()
        if len(self._stage.layers) > 1:
            with gui.add_folder("Compare"):
                self._add_arrangement()
        with gui.add_folder("Cuts", expand_by_default=False):
            self._add_cuts()
        with gui.add_folder("Colours", expand_by_default=False):
            self._add_colors()

    def _add_layer(self, layer: Layer) -> None:
        gui = self._panel.gui
        if len(self._stage.layers) == 1:
            for part in layer.parts:
                self._add_part(layer, part)
            return
        box = gui.add_checkbox(layer.source.name, True, hint=f"{len(layer.source):,} Gaussians")
        self._panel.on(box, partial(self._set, layer, "visible"))
        with gui.add_folder(f"Objects of {layer.source.name}", expand_by_default=False):
            for part in layer.parts:
                self._add_part(layer, part)

    def _add_part(self, layer: Layer, part: Part) -> None:
        box = self._panel.gui.add_checkbox(part.name, True, hint=f"{len(part):,} Gaussians")
        self._panel.on(box, partial(self._set, part, "visible"))

    def _set(self, target: object, name: str, value: object) -> None:
        setattr(target, name, value)
        self._stage.changed()

    def _tint(self, part: Part, color: tuple[int, int, int]) -> None:
        red, green, blue = color
        self._set(part, "color", (red / 255, green / 255, blue / 255))

    def _add_guides(self) -> None:
        gui, guides, scene = self._panel.gui, self._session.guides, self._panel.server.scene
        for label, node in (("simulation box", guides.box), ("ground", guides.grid), ("axes", guides.axes)):
            if node is not None:
                box = gui.add_checkbox(label, node.visible)
                self._panel.on(box, partial(setattr, node, "visible"))
        axis = self._stage.signed_up
        scene.set_up_direction(axis)  # type: ignore[arg-type]
        up = gui.add_dropdown("Up", _UPS, initial_value=axis, hint="which axis of the file points upwards")
        self._panel.on(up, scene.set_up_direction)

    def _add_arrangement(self) -> None:
        gui, stage = self._panel.gui, self._stage
        hint = "a wipe shows the first one left of a line, the others right of it"
        arrangement = gui.add_dropdown("Arrangement", ARRANGEMENTS, initial_value=stage.arrangement, hint=hint)
        self._arrangement = arrangement
        wipe = gui.add_slider("Wipe", 0.0, 1.0, 0.01, stage.wipe, hint="where the line is, from left to right")
        self._panel.on(arrangement, self._arrange)
        self._panel.on(wipe, partial(self._set, stage, "wipe"))
        for layer in stage.layers:
            opacity = gui.add_slider(f"Opacity of {layer.source.name}", 0.0, 1.0, 0.05, 1.0)
            self._panel.on(opacity, partial(self._set, layer, "opacity"))

    def arrange(self, arrangement: Arrangement) -> None:
        """Show several sources over each other or in a row, as if a person had chosen that."""
        self._arrangement.value = arrangement  # type: ignore[misc]
        self._arrange(arrangement)

    def _arrange(self, arrangement: Arrangement) -> None:
        guides, scene = self._session.guides, self._panel.server.scene
        row = "side by side"
        if (arrangement == row) != (self._stage.arrangement == row):
            look_at(self._panel.server, guides, self._stage.up, len(self._stage.layers) if arrangement == row else 1)
        self._stage.arrange(arrangement, guides.sideways)
        scene.remove_by_name("/names")
        over = guides.center.copy()
        index = "xyz".index(self._stage.up[-1])
        over[index] = guides.low[index] if self._stage.up.startswith("-") else guides.high[index]
        for number, layer in enumerate(self._stage.layers):
            place = over + layer.offset.numpy()
            if arrangement == row:
                scene.add_label(f"/names/{number}", layer.source.name, position=place)

    def _add_cuts(self) -> None:
        gui, stage, guides = self._panel.gui, self._stage, self._session.guides
        opacity = gui.add_slider("Least opacity", 0.0, 1.0, 0.01, 0.0, hint="fainter Gaussians are hidden")
        self._panel.on(opacity, partial(self._set, stage.cuts, "least_opacity"))
        hint = "Gaussians with a longer standard deviation are hidden, millimetres; at its right end none"
        longest = float(f"{1000 * guides.size / 20:.3g}")
        scale = gui.add_slider("Largest scale", 0.0, longest, longest / 200, longest, hint=hint)
        self._panel.on(
            scale, lambda value: self._set(stage.cuts, "largest_scale", value / 1000 if value < longest else torch.inf)
        )
        if stage.sh_degree > 0:
            hint = "of the spherical harmonics: above 0 colours change with the direction that one looks along"
            degree = gui.add_slider("Degree", 0, stage.sh_degree, 1, stage.sh_degree, hint=hint)
            self._panel.on(degree, partial(self._set, stage.cuts, "sh_degree"))
        step = 10.0 ** math.floor(math.log10(guides.size / 100))
        low = np.floor((guides.low - 0.1 * guides.size) / step) * step
        high = np.ceil((guides.high + 0.1 * guides.size) / step) * step
        lines = self._panel.server.scene.add_line_segments(
            "/crop", cuboid_segments(low, high), (200, 120, 0), thickness=2, thickness_units="screen", visible=False
        )
        crop = gui.add_checkbox("Crop", False, hint="only what is in a box is shown, and written by exports")
        sliders = [
            gui.add_multi_slider(axis, a, b, step, (a, b), disabled=True)
            for axis, a, b in zip("xyz", low.round(6).tolist(), high.round(6).tolist(), strict=True)
        ]

        def update(_: object) -> None:
            ranges = np.array([slider.value for slider in sliders], np.float32)
            lower, upper = torch.from_numpy(ranges[:, 0].copy()), torch.from_numpy(ranges[:, 1].copy())
            lines.points = cuboid_segments(ranges[:, 0], ranges[:, 1])
            lines.visible = crop.value
            for slider in sliders:
                slider.disabled = not crop.value
            self._set(stage.cuts, "box", (lower, upper) if crop.value else None)

        for control in (crop, *sliders):
            self._panel.on(control, update)

    def _add_colors(self) -> None:
        gui = self._panel.gui
        pickers = []
        several = len(self._stage.layers) > 1
        for layer in self._stage.layers:
            for part in layer.parts:
                mean = (255 * part.colors(0).mean(0)).int().tolist()
                label = f"{layer.source.name} {part.name}" if several else part.name
                picker = gui.add_rgb(label, tuple(mean), hint="light and dark stay as they are")
                self._panel.on(picker, partial(self._tint, part))
                pickers.append((part, picker, tuple(mean)))

        def restore(_: object) -> None:
            for part, picker, mean in pickers:
                part.color = None
                picker.value = mean  # type: ignore[misc]
            self._stage.changed()

        self._panel.on(gui.add_button("Own colours"), restore)
