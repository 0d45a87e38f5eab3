"""Hold what all parts of the viewer's panel work on."""

import time
from dataclasses import dataclass
from pathlib import Path

from tools.viewer.overlays.guides import Guides
from tools.viewer.playback import Playback
from tools.viewer.scene.layers import Stage
from tools.viewer.serving.panel import Panel


@dataclass(frozen=True)
class Session:
    """A ``Session`` is what one run of the viewer shows, and where it is.

    Attributes:
        panel: the controls in the browser.
        stage: what is shown.
        guides: ground, axes and box.
        playback: which frame is due.
        folder: where what a person saves goes.
    """

    panel: Panel
    stage: Stage
    guides: Guides
    playback: Playback
    folder: Path

    @property
    def frame(self) -> int:
        """Return the number of the frame that is due."""
        return self.playback.frame(time.monotonic())

    @property
    def time(self) -> float:
        """Return the time of the frame that is due, seconds of the trajectory."""
        return self.frame * self.playback.frame_dt
