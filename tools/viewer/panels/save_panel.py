"""Take along what is shown: a screenshot, a video along a path of the camera, Gaussians of one frame or of all."""

import threading
from collections.abc import Generator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import viser

from gaussians.stage.atomic_files import atomic_path
from tools.viewer.saving.exports import export_ply, export_sequence, free_path
from tools.viewer.saving.recording import VideoSettings, record
from tools.viewer.scene.poses import Eye
from tools.viewer.serving.panel import report
from tools.viewer.session import Session

_SIZES = {"640 x 360": (640, 360), "1280 x 720": (1280, 720), "1920 x 1080": (1920, 1080), "720 x 720": (720, 720)}
_PATIENCE = 60.0  # seconds for a browser to take a screenshot
_LARGEST_DOWNLOAD = 10**8  # bytes; a larger file only stays where it was written


class SavePanel:
    """A ``SavePanel`` lets a person take along what is shown.

    Files are written into the session's folder under new names, and offered to the browser for download.

    Args:
        session: what is shown.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._panel, self._stage = session, session.panel, session.stage
        self._name = session.stage.layers[0].source.name
        self._kept: list[Eye] = []
        gui, panel = self._panel.gui, self._panel
        with gui.add_folder("Save", expand_by_default=False):
            hint = "what the browser shows, without the panel"
            panel.on_browser(gui.add_button("Screenshot", hint=hint), lambda _, client: self._screenshot(client))
            panel.on_browser(
                gui.add_button("Export PLY", hint="what is shown now"), lambda _, client: self._ply(client)
            )
            if session.playback.frame_count > 1:
                hint = "what is shown of each frame"
                panel.on_browser(gui.add_button("Export PLY sequence", hint=hint), lambda _, c: self._sequence(c))
            with gui.add_folder("Video"):
                hint = "the video's camera goes through the kept views; without any it stays where it is"
                panel.on_browser(gui.add_button("Keep view", hint=hint), lambda _, client: self._keep(client))
                self._count = gui.add_text("Kept views", "0", disabled=True)
                panel.on(gui.add_button("Forget views"), lambda _: self._forget())
                count, step = session.stage.duration
                seconds = min(max(round(count * step, 1), 1.0), 60.0) if count > 1 else 4.0
                self._seconds = panel.on(gui.add_slider("Seconds", 0.2, 60.0, 0.1, seconds), lambda _: None)
                self._size = panel.on(
                    gui.add_dropdown("Size", tuple(_SIZES), initial_value="1280 x 720"), lambda _: None
                )
                self._fps = panel.on(gui.add_slider("Frames a second", 10, 60, 1, 30), lambda _: None)
                panel.on_browser(gui.add_button("Record MP4"), lambda _, client: self._record(client))
            panel.add_job_controls()

    def _path(self, suffix: str) -> Path:
        self._session.folder.mkdir(parents=True, exist_ok=True)
        return free_path(self._session.folder, self._name, suffix)

    def _offer(self, client: viser.ClientHandle, path: Path) -> None:
        if path.stat().st_size <= _LARGEST_DOWNLOAD and client.client_id in self._panel.server.get_clients():
            client.send_file_download(path.name, path.read_bytes())

    def _screenshot(self, client: viser.ClientHandle) -> None:
        # Waits for the browser, which must not keep others waiting.
        threading.Thread(target=self._take_screenshot, args=(client, self._path(".png")), daemon=True).start()

    def _take_screenshot(self, client: viser.ClientHandle, path: Path) -> None:
        try:
            width, height = client.camera.image_width, client.camera.image_height
            with self._panel.controls.picture():
                image = client.get_render(height, width, transport_format="png", timeout=_PATIENCE)
        except (RuntimeError, TimeoutError) as error:
            report(error)
            return
        self._panel.ask(lambda: self._panel.try_to(client, lambda: self._write_screenshot(client, path, image)))

    def _write_screenshot(self, client: viser.ClientHandle, path: Path, image: np.ndarray) -> str:
        write_picture(path, image)
        self._offer(client, path)
        return f"{path}: {image.shape[1]} x {image.shape[0]} pixels"

    def _ply(self, client: viser.ClientHandle) -> None:
        path = self._path(".ply")

        def export() -> str:
            outcome = export_ply(self._stage, self._session.time, path)
            self._offer(client, path)
            return outcome

        self._panel.try_to(client, export)

    def _sequence(self, client: viser.ClientHandle) -> None:
        self._panel.start(export_sequence(self._stage, self._path("_frames")), client)

    def _keep(self, client: viser.ClientHandle) -> None:
        self._kept.append(Eye.of(client))
        self._count.value = str(len(self._kept))  # type: ignore[misc]

    def _forget(self) -> None:
        self._kept = []
        self._count.value = "0"  # type: ignore[misc]

    def _record(self, client: viser.ClientHandle) -> None:
        width, height = _SIZES[self._size.value]
        playback = self._session.playback
        settings = VideoSettings(
            width,
            height,
            self._fps.value,
            self._seconds.value,
            speed=playback.speed if playback.frame_count > 1 else 0.0,
            start=0.0 if self._kept else self._session.time,
        )
        kept, path = self._kept or [Eye.of(client)], self._path(".mp4")

        def recorded() -> Generator[float, None, str]:
            outcome = yield from record(self._stage, kept, path, settings)
            self._offer(client, path)
            return outcome

        self._panel.start(recorded(), client)


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write a picture (H, W, 3 or 4) uint8 before a white backdrop as a PNG."""
    if image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.float32) / 255
        image = (image[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
    with atomic_path(path) as temporary:
        iio.imwrite(temporary, image, extension=".png")
