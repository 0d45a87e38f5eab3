"""A command that serves a page, in a process of its own, and a real browser: headless Chromium, drawing in software."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO

import imageio.v3 as iio
import numpy as np
import pytest
from scipy.ndimage import binary_opening

from tests.conftest import ROOT

FLAGS = [
    *("--headless=new", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--ignore-gpu-blocklist", "--no-sandbox", "--disable-background-networking", "--disable-component-update"),
]
# Software drawing shares two cores with everything else here; nothing is asserted about time.
PATIENCE = 120.0


class Server:
    """A command in a process of its own."""

    def __init__(self, command: str, *arguments: object) -> None:
        line = [sys.executable, "-m", command, "--port", "0", *map(str, arguments)]
        # Not in a group of ours: a signal to it must reach it alone.
        self.process = subprocess.Popen(
            line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        self.url = ""
        for line in self.process.stdout:
            if found := re.search(r"open (http://\S+) in a browser", line):
                self.url, self.line = found[1], line
                return

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Exit status and standard error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors


def picture(page) -> np.ndarray:  # type: ignore[no-untyped-def]
    """What the page shows between the panel and the axes in the corner, (H, W, 3)."""
    image = np.asarray(iio.imread(BytesIO(page.screenshot(scale="css")), extension=".png"))[..., :3].astype(int)
    return image[150:540, 70:550]


def red(image: np.ndarray) -> np.ndarray:
    """Where the red ball is: the box's lines and the ground are grey, and the axes thin."""
    return thick((image[..., 0] > image[..., 2] + 80) & (image[..., 0] > image[..., 1] + 80))


def blue(image: np.ndarray) -> np.ndarray:
    return thick((image[..., 2] > image[..., 0] + 80) & (image[..., 2] > image[..., 1] + 80))


def thick(mask: np.ndarray) -> np.ndarray:
    """Where a mask is wider and higher than a line of an axis."""
    return binary_opening(mask, np.ones((9, 9)))


def until(page, what: str, holds: Callable[[np.ndarray], bool]) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Wait for a picture that ``holds``."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        image = picture(page)
        if holds(image):
            return image
        page.wait_for_timeout(200)
    pytest.fail(f"no picture in {PATIENCE:g} s in which {what}")


def opened(chromium, url: str, pixel: float = 2.0):  # type: ignore[no-untyped-def]
    """A page, and what its console reports beside what it logs.

    Args:
        pixel: size of what the page draws pixels of, in those of its window: drawing in software takes long.
    """
    page = chromium.new_page(viewport={"width": 900, "height": 620}, device_scale_factor=1 / pixel)
    page.set_default_timeout(PATIENCE * 1000)
    reports: list[str] = []
    page.on("console", lambda message: message.type == "error" and reports.append(message.text))
    page.on("pageerror", lambda error: reports.append(str(error)))
    page.goto(url)
    return page, reports


def row(page, label: str):  # type: ignore[no-untyped-def]
    """The control of a label."""
    return page.locator(f"xpath=//label[normalize-space()='{label}']/../../..")


def type_into(page, label: str, value: str) -> None:  # type: ignore[no-untyped-def]
    box = row(page, label).get_by_role("textbox").last
    box.fill(value)
    box.press("Enter")
