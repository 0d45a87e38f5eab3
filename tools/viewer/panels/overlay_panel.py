"""Choose what is drawn over the Gaussians: keypoints, velocities, forces of contact and cameras."""

import viser

from gaussians.cameras import Cameras
from tools.viewer.overlays.camera_frustums import CameraFrustums
from tools.viewer.overlays.motion import MotionOverlays
from tools.viewer.session import Session


class OverlayPanel:
    """An ``OverlayPanel`` lets a person show motion and cameras.

    Args:
        session: what is shown.
        cameras: of cameras.json, or None.

    Attributes:
        motion: keypoints, velocities and forces.
    """

    def __init__(self, session: Session, cameras: Cameras | None) -> None:
        self._panel = panel = session.panel
        self._stage = session.stage
        size = session.guides.size
        self.motion = MotionOverlays(session.stage, size)
        moves = session.playback.frame_count > 1
        weighed = any(layer.source.masses for layer in session.stage.layers)
        with panel.gui.add_folder("Overlays", expand_by_default=False):
            self._add_switch("keypoints", "Keypoints", "what a model predicts the motion of")
            if moves:
                self._add_switch("velocities", "Velocities", "of the keypoints")
                length = panel.gui.add_slider("Velocity length", 0.01, 0.5, 0.01, self.motion.seconds, hint="s")
                panel.on(length, lambda value: self._set("seconds", value))
            if moves and weighed:
                hint = "on each object, of all that touches it: mass times acceleration, less weight and pushes"
                self._add_switch("forces", "Contact forces", hint)
                start = float(f"{self.motion.metres_per_newton * 1000:.1g}")
                length = panel.gui.add_slider("Force length", start / 10, start * 10, start / 10, start, hint="mm/N")
                panel.on(length, lambda value: self._set("metres_per_newton", value / 1000))
            if cameras is not None:
                self._add_cameras(cameras, size)

    def _add_switch(self, name: str, label: str, hint: str) -> None:
        self._panel.on(self._panel.gui.add_checkbox(label, False, hint=hint), lambda on: self._set(name, on))

    def _set(self, name: str, value: object) -> None:
        setattr(self.motion, name, value)
        self._stage.changed()

    def _add_cameras(self, cameras: Cameras, size: float) -> None:
        panel, last = self._panel, len(cameras) - 1

        def clicked(number: int, client: viser.ClientHandle) -> None:
            panel.ask(lambda: frustums.look_through(number, client))

        frustums = CameraFrustums(panel.server.scene, panel.controls, cameras, size, clicked)
        frustums.show(False)
        box = panel.gui.add_checkbox("Cameras", False, hint="of cameras.json; click on one to look through it")
        panel.on(box, frustums.show)
        if last > 0:
            number = panel.gui.add_slider("View", 0, last, 1, 0, hint="look through this camera")
            panel.on_browser(number, lambda value, client: frustums.look_through(value, client))
        else:
            look = panel.gui.add_button("Look through it")
            panel.on_browser(look, lambda _, client: frustums.look_through(0, client))
