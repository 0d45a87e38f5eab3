"""Measure, select, delete, and move what is shown."""

from dataclasses import replace

import numpy as np
import torch
import viser

from tools.viewer.picking import in_rectangle, picked_point
from tools.viewer.saving.exports import free_path, save_scene
from tools.viewer.scene.layers import Layer, Part
from tools.viewer.scene.poses import UNTURNED, Eye, Pose
from tools.viewer.session import Session

_GIZMO = "/gizmo"
_NOTHING = "nothing"
_REACH = 2.0  # length of the gizmo's arrows over an object's radius
_MEASURE_COLOR = (200, 0, 160)


class EditPanel:
    """An ``EditPanel`` lets a person measure, select, delete and move.

    With the Shift key, a click measures and a drag selects; without it both move the camera.

    Args:
        session: what is edited.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._panel, self._stage = session, session.panel, session.stage
        self._measured: list[torch.Tensor] = []
        self._deleted: list[list[tuple[Part, torch.Tensor]]] = []
        self._gizmo: viser.TransformControlsHandle | None = None
        self._moved: Part | None = None
        gui, panel = self._panel.gui, self._panel
        with gui.add_folder("Measure", expand_by_default=False):
            gui.add_markdown("Shift + click on two points.")
            self._distance = gui.add_text("Distance", "", disabled=True)
            panel.on(gui.add_button("Clear measure"), lambda _: self._clear_measure())
        with gui.add_folder("Edit", expand_by_default=False):
            gui.add_markdown("Shift + drag selects what a rectangle covers.")
            self._count = gui.add_text("Selected", "0", disabled=True)
            panel.on(gui.add_button("Delete selected"), lambda _: self._delete(inside=True))
            panel.on(gui.add_button("Keep selected only"), lambda _: self._delete(inside=False))
            panel.on(gui.add_button("Select nothing"), lambda _: self._select_nothing())
            panel.on(gui.add_button("Undo delete"), lambda _: self._undo())
            self._targets = self._named_parts()
            target = gui.add_dropdown("Move", (_NOTHING, *self._targets), hint="drag the arrows, planes and arcs")
            panel.on(target, self._move)
            self._scale = gui.add_slider("Scale", 0.1, 5.0, 0.01, 1.0, disabled=True)
            panel.on(self._scale, self._rescale)
            panel.on(gui.add_button("Move back"), lambda _: self._move_back())
            if self._stage.up == "z":
                hint = "a directory that gs_simulation_scene and videogen.eval take"
                panel.on_browser(gui.add_button("Save scene", hint=hint), lambda _, client: self._save(client))
        scene, controls = panel.server.scene, panel.controls
        controls.scene_clicks = True
        scene.on_click(modifier="shift")(lambda event: panel.ask(lambda: self._measure(event)))
        scene.on_rect_select(modifier="shift")(lambda event: panel.ask(lambda: self._select(event)))

    def _named_parts(self) -> dict[str, tuple[Layer, Part]]:
        several = len(self._stage.layers) > 1
        return {
            f"{layer.source.name} {part.name}" if several else part.name: (layer, part)
            for layer in self._stage.layers
            for part in layer.parts
        }

    def _measure(self, event: viser.SceneClickEvent) -> None:
        gaussians = self._stage.gaussians(self._stage.frames(self._session.time))
        origin, direction = (torch.tensor(v, dtype=torch.float32) for v in (event.ray_origin, event.ray_direction))
        point = picked_point(gaussians, origin, direction)
        if point is None:
            return
        if len(self._measured) == 2:
            self._clear_measure()
        self._measured.append(point)
        scene, radius = self._panel.server.scene, self._session.guides.size / 150
        number = len(self._measured)
        place = ", ".join(f"{value:.3f}" for value in point.tolist())
        scene.add_icosphere(f"/measure/{number}", radius, color=_MEASURE_COLOR, position=point.numpy())
        scene.add_label(f"/measure/{number}/label", f"({place}) m")
        if number == 2:
            line = torch.stack(self._measured)[None].numpy()
            scene.add_line_segments("/measure/line", line, _MEASURE_COLOR, thickness=3, thickness_units="screen")
            distance = f"{float((self._measured[1] - self._measured[0]).norm()):.4f} m"
            scene.add_label("/measure/distance", distance, position=line[0].mean(0))
            self._distance.value = distance  # type: ignore[misc]

    def _clear_measure(self) -> None:
        self._measured = []
        self._distance.value = ""  # type: ignore[misc]
        self._panel.server.scene.remove_by_name("/measure")

    def _select(self, event: viser.SceneRectSelectEvent) -> None:
        eye = Eye.of(event.client)
        total = 0
        for layer, frame in zip(self._stage.layers, self._stage.frames(self._session.time), strict=False):
            for part in layer.parts:
                means = layer.pose(part).points(part.means(frame))
                if layer.visible and part.visible:
                    covered = in_rectangle(means, eye, event.screen_min, event.screen_max)
                    part.chosen = part.chosen | (covered & part.shown(means, self._stage.cuts))
                total += int(part.chosen.sum())
        self._count.value = f"{total:,}"  # type: ignore[misc]
        self._stage.changed()

    def _select_nothing(self) -> None:
        for layer in self._stage.layers:
            for part in layer.parts:
                part.chosen = torch.zeros_like(part.chosen)
        self._count.value = "0"  # type: ignore[misc]
        self._stage.changed()

    def _delete(self, inside: bool) -> None:
        parts = [part for layer in self._stage.layers for part in layer.parts]
        if not any(part.chosen.any() for part in parts):
            return
        self._deleted.append([(part, part.kept) for part in parts])
        for part in parts:
            part.kept = part.kept & (~part.chosen if inside else part.chosen)
        self._select_nothing()

    def _undo(self) -> None:
        if self._deleted:
            for part, kept in self._deleted.pop():
                part.kept = kept
            self._stage.changed()

    def _move(self, name: str) -> None:
        self._remove_gizmo()
        if name == _NOTHING:
            return
        layer, part = self._targets[name]
        self._moved = part
        pose = layer.pose(part)
        panel = self._panel
        reach = (part.means(part.source.frame(0, ())) - part.pose.pivot).norm(dim=1)
        self._gizmo = panel.server.scene.add_transform_controls(
            _GIZMO,
            scale=_REACH * float(reach.quantile(0.9)) * pose.scale,  # the arrows' ends stand out of the Gaussians
            position=pose.position.numpy(),
            wxyz=np.array(pose.wxyz),
            depth_test=False,
        )
        panel.controls.add_node(_GIZMO)
        self._scale.disabled, self._scale.value = False, pose.scale  # type: ignore[misc]

        def dragged(event: viser.TransformControlsEvent) -> None:
            position, wxyz = event.target.position.copy(), event.target.wxyz.copy()
            panel.ask(lambda: self._pose(layer, part, position, wxyz))

        self._gizmo.on_update(dragged)

    def _remove_gizmo(self) -> None:
        if self._gizmo is not None:
            self._gizmo.remove()
            self._panel.controls.forget_node(_GIZMO)
        self._gizmo, self._moved = None, None
        self._scale.disabled = True

    def _pose(self, layer: Layer, part: Part, position: np.ndarray, wxyz: np.ndarray) -> None:
        w, x, y, z = (wxyz / np.linalg.norm(wxyz)).tolist()
        place = torch.from_numpy(position).float() - layer.offset
        part.pose = replace(part.pose, position=place, wxyz=(w, x, y, z))
        self._stage.changed()

    def _rescale(self, scale: float) -> None:
        if self._moved is not None:
            self._moved.pose = replace(self._moved.pose, scale=scale)
            self._stage.changed()

    def _move_back(self) -> None:
        part, gizmo = self._moved, self._gizmo
        if part is None or gizmo is None:
            return
        layer = next(layer for layer in self._stage.layers if part in layer.parts)
        part.pose = Pose.about(part.pose.pivot)
        gizmo.position, gizmo.wxyz = layer.pose(part).position.numpy(), np.array(UNTURNED)
        self._scale.value = 1.0  # type: ignore[misc]
        self._stage.changed()

    def _save(self, client: viser.ClientHandle) -> None:
        layer = next((layer for layer in self._stage.layers if layer.visible), self._stage.layers[0])
        folder = free_path(self._session.folder, layer.source.name)
        self._panel.try_to(client, lambda: save_scene(self._stage, layer, self._session.time, folder))
