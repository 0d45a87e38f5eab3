"""Hold what is shown now, with the controls of how it is shown: the present, or a replay."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.viewer.overlays.guides import Guides
from tools.viewer.overlays.motion import Drawing
from tools.viewer.panels.overlay_panel import OverlayPanel
from tools.viewer.panels.save_panel import SavePanel
from tools.viewer.panels.show_panel import ShowPanel
from tools.viewer.panels.time_panel import TimePanel
from tools.viewer.playback import Playback
from tools.viewer.scene.layers import Stage
from tools.viewer.scene.splat_source import SplatSource
from tools.viewer.serving.panel import Panel
from tools.viewer.session import Session


class View:
    """A ``View`` is what is shown, and its part of the panel.

    Args:
        panel: where its controls are.
        sources: what is shown.
        background: what stands still behind it.
        folder: where what a person saves goes.
        replay: whether the frames play; otherwise the last one is shown.

    Attributes:
        time: the controls of a replay.
    """

    def __init__(
        self, panel: Panel, sources: Sequence[SplatSource], background: SplatSource | None, folder: Path, replay: bool
    ) -> None:
        self._panel = panel
        self.stage = stage = Stage(sources, background)
        guides = Guides(panel.server.scene, stage)
        self.session = session = Session(panel, stage, guides, Playback(*stage.duration), folder)
        self._controls = panel.gui.add_folder("View", expand_by_default=replay)
        with self._controls:
            self.time = TimePanel(session) if replay and session.playback.frame_count > 1 else None
            self._show_panel = ShowPanel(session)
            self._overlays = OverlayPanel(session, None)
            SavePanel(session)
        if not replay:
            self.show_latest(sources[0])

    def show_latest(self, source: SplatSource) -> None:
        """Show the last frame of the one source, as it is now."""
        self.stage.layers[0].source = source
        playback = self.session.playback
        playback.frame_count, playback.frame_dt = source.frame_count, source.frame_dt
        playback.seek(source.frame_count - 1, 0.0)

    def show_side_by_side(self) -> None:
        """Show the sources next to each other."""
        self._show_panel.arrange("side by side")

    def overlays(self, time: float) -> Mapping[str, Drawing]:
        """Return what is drawn over the Gaussians at a time, seconds."""
        return self._overlays.motion.drawings(time)

    def remove(self) -> None:
        """Remove its controls, and the names of what stood side by side."""
        self._panel.remove(self._controls)
        self._panel.server.scene.remove_by_name("/names")
