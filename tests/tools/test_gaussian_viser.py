"""The viewer in a real browser: headless Chromium, drawing in software."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from gaussians.files.splats.ply import write_ply
from gaussians.files.trajectory_format import Frame, TrajectoryMeta, TrajectoryObject, Walls
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from gaussians.stage.errors import InputError
from tests.conftest import ROOT
from tools.viewer.splat_source import SplatSource
from tools.viewer.splat_viewer import Playback, SplatViewer, box_segments, check_port, splat_unit

FRAME_DT, FRAMES = 0.1, 30
WALLS = Walls(x=(-1.94, 1.94), y=(-1.94, 1.94), floor=-0.94)
FLAGS = [
    *("--headless=new", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--ignore-gpu-blocklist", "--no-sandbox", "--disable-background-networking", "--disable-component-update"),
]
# Software drawing shares two cores with everything else here; nothing is asserted about time.
PATIENCE = 120.0


def balls() -> Gaussians:
    """A red ball left of a blue one, seen from the viewer's side; the blue one is the fainter."""
    generator = torch.Generator().manual_seed(0)
    ball = torch.nn.functional.normalize(torch.randn(300, 3, generator=generator), dim=1) * 0.25
    means = torch.cat([ball + torch.tensor([-0.35, -0.35, 0.0]), ball + torch.tensor([0.35, 0.35, 0.0])])
    rgb = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]).repeat_interleave(300, 0)
    return Gaussians(
        means=means,
        opacities=torch.tensor([0.9, 0.6]).repeat_interleave(300),
        sh=rgb_to_sh(rgb),
        covariances=torch.tensor([9e-4, 0, 0, 9e-4, 0, 9e-4]).expand(600, 6).clone(),
        labels=torch.tensor([0, 1]).repeat_interleave(300).int(),
    )


def write_rise(path: Path, complete: bool = True) -> None:
    """A trajectory in which both balls rise by a metre in three seconds."""
    objects = [
        TrajectoryObject(
            name=name, label=k, index=k, count=300, youngs_modulus=1e6, nu=0.3, density=100, mass=1, volume=0.01
        )
        for k, name in enumerate(("red", "blue"))
    ]
    meta = TrajectoryMeta(
        frame_dt=FRAME_DT, substep_dt=1e-3, frame_count=0, dx=0.04, gravity=(0, 0, -9.8), walls=WALLS, objects=objects
    )
    rest = balls()
    with TrajectoryWriter(path, meta, rest.opacities, rest.sh, rest.labels, fields=("pos", "cov3D")) as writer:
        for k in range(FRAMES):
            writer.write(Frame(rest.means + torch.tensor([0, 0, k / FRAMES]), rest.covariances))
        if complete:
            writer.finish()


class Server:
    """The command in a process of its own."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "tools.gaussian_viser", "--port", "0", *map(str, arguments)]
        # Not in a group of ours: a signal to it must reach it alone.
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
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


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*arguments: object) -> Server:
        servers.append(Server(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.communicate()


@pytest.fixture(scope="module")
def chromium():  # type: ignore[no-untyped-def]
    """A browser, or a skip that says what is missing."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs Chromium on PATH (Debian: apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (requirements-dev.txt)")
    with playwright.sync_playwright() as driver:
        # Playwright's own flags would turn the GPU off, and with it software WebGL.
        browser = driver.chromium.launch(
            executable_path=program, args=FLAGS, ignore_default_args=["--disable-gpu", "--headless"]
        )
        yield browser
        browser.close()


def picture(page) -> np.ndarray:  # type: ignore[no-untyped-def]
    """What the page shows between the panel and the axes in the corner, (H, W, 3)."""
    image = np.asarray(iio.imread(BytesIO(page.screenshot()), extension=".png"))[..., :3].astype(int)
    return image[150:540, 70:550]


def red(image: np.ndarray) -> np.ndarray:
    """Where the red ball is: the box's lines and shadows are grey."""
    return (image[..., 0] > image[..., 2] + 80) & (image[..., 0] > image[..., 1] + 80)


def blue(image: np.ndarray) -> np.ndarray:
    return (image[..., 2] > image[..., 0] + 80) & (image[..., 2] > image[..., 1] + 80)


def until(page, what: str, holds: Callable[[np.ndarray], bool]) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Wait for a picture that ``holds``."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        image = picture(page)
        if holds(image):
            return image
        page.wait_for_timeout(200)
    pytest.fail(f"no picture in {PATIENCE:g} s in which {what}")


def height(mask: np.ndarray) -> float:
    """Of a ball's middle above the picture's lower edge, pixels."""
    return len(mask) - float(np.nonzero(mask)[0].mean())


def test_browser_shows_plays_hides_and_leaves(tmp_path: Path, serve: Callable[..., Server], chromium) -> None:  # type: ignore[no-untyped-def]
    write_rise(tmp_path / "0_red_blue")
    server = serve("--ply_path", tmp_path / "0_red_blue")
    assert "600 Gaussians, 30 frames" in server.line
    page = chromium.new_page(viewport={"width": 900, "height": 620})
    page.goto(server.url)
    page.get_by_role("button", name="Play").wait_for(timeout=PATIENCE * 1000)

    # Splats appear where an empty scene has none. 500 pixels: a tenth of a ball's.
    first = until(page, "both balls show", lambda image: min(red(image).sum(), blue(image).sum()) > 500)
    # The splats grow from nothing at first: wait until they no longer do.
    first = until(page, "they stand still", lambda image: np.array_equal(image, picture(page)))

    # 20 pixels: a fifth of what three seconds of rising make.
    page.get_by_role("button", name="Play").click()
    until(page, "they have risen", lambda image: red(image).any() and height(red(image)) > height(red(first)) + 20)
    page.get_by_role("button", name="Pause").click()
    paused = until(page, "they stand still again", lambda image: np.array_equal(image, picture(page)))

    page.get_by_role("checkbox", name="red").click()
    without = until(page, "the red ball is gone", lambda image: not red(image).any())
    assert blue(without).sum() > 0.9 * blue(paused).sum()
    page.get_by_role("checkbox", name="red").click()
    until(page, "it is back", lambda image: red(image).sum() > 0.9 * red(paused).sum())

    # Opacities are 0.9 and 0.6.
    cut = page.get_by_role("textbox").nth(3)
    cut.fill("0.7")
    cut.press("Enter")
    until(page, "the faint ball is gone", lambda image: not blue(image).any() and red(image).any())

    # One that leaves while it plays, and another that comes.
    page.get_by_role("button", name="Play").click()
    page.close()
    page = chromium.new_page(viewport={"width": 900, "height": 620})
    page.goto(server.url)
    until(page, "the red ball shows", lambda image: red(image).sum() > 500)
    page.close()
    status, errors = server.stop()
    assert (status, errors) == (0, "")


def test_visitors_that_are_no_browsers_leave_no_traceback(tmp_path: Path, serve: Callable[..., Server]) -> None:
    write_ply(tmp_path / "balls.ply", balls())
    server = serve("--ply_path", tmp_path / "balls.ply")
    host, port = server.url.removeprefix("http://").split(":")
    for data in (b"", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n", b"nonsense\r\n\r\n"):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(data)
    assert urllib.request.urlopen(server.url).status == 200
    status, errors = server.stop(signal.SIGTERM)
    assert (status, errors) == (143, "terminated\n")


def test_a_taken_port_is_an_error(tmp_path: Path, command: Callable[..., None]) -> None:
    write_ply(tmp_path / "balls.ply", balls())
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=rf"--port {port}: already in use on localhost"):
            command("tools.gaussian_viser", "--ply_path", tmp_path / "balls.ply", "--port", port)
    check_port("localhost", port)


@pytest.mark.parametrize("port", ["-1", "65536", "http", "²"])
def test_a_port_is_a_number(port: str, command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command("tools.gaussian_viser", "--ply_path", "a.ply", "--port", port)
    assert "expected a number from 0 to 65535" in capsys.readouterr().err


def test_an_unknown_host_is_an_error() -> None:
    with pytest.raises(InputError, match=r"--host no such host"):
        check_port("no such host", 0)
    with pytest.raises(InputError, match=r"--host 192\.0\.2\.1: cannot be listened on"):
        check_port("192.0.2.1", 0)  # an address for documentation, nobody's


def test_missing_input_is_one_line(tmp_path: Path, command: Callable[..., None]) -> None:
    with pytest.raises(InputError, match="no such file or directory"):
        command("tools.gaussian_viser", "--ply_path", tmp_path / "none", "--port", 0)
    threads = [thread.name for thread in threading.enumerate() if "worker" in thread.name]
    assert not threads  # no server was started for it


def test_what_fails_is_reported_and_ends_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    rest = balls()
    shape = rest.means, rest.covariance()

    def shapes(frame: int) -> tuple[torch.Tensor, torch.Tensor]:
        if frame:
            raise OSError("the disk is gone")
        return shape

    source = SplatSource(rest.opacities, torch.ones(600, 3), {"all": torch.arange(600)}, shapes, frame_count=30)
    viewer = SplatViewer(source, None, "localhost", 0)

    def end() -> None:
        raise KeyboardInterrupt

    try:
        viewer._requests.put(lambda: [][1])
        viewer._requests.put(lambda: viewer._playback.seek(3, time.monotonic()))
        threading.Timer(1.0, viewer._requests.put, [end]).start()
        with pytest.raises(KeyboardInterrupt):
            viewer.run()
    finally:
        viewer.stop()
    assert capfd.readouterr().err.splitlines() == [
        "error: IndexError: list index out of range",
        "error: the disk is gone",
    ]


def test_time_runs_stands_jumps_and_begins_anew() -> None:
    playback = Playback(frame_count=10, frame_dt=0.1)
    assert playback.frame(5.0) == 0
    playback.play(5.0)
    assert [playback.frame(5.0 + t) for t in (0.05, 0.1, 0.25, 0.95, 1.0, 1.15)] == [0, 1, 2, 9, 0, 1]
    playback.change_speed(2.0, 5.15)
    assert playback.frame(5.15) == 1
    assert playback.frame(5.2) == 2  # 0.15 s + 2 * 0.05 s
    playback.pause(5.2)
    assert playback.frame(60.0) == 2
    playback.seek(7, 60.0)
    assert playback.frame(70.0) == 7
    playback.play(70.0)
    assert playback.frame(70.05) == 8
    playback.seek(3, 70.05)
    assert playback.frame(70.1) == 4


def test_the_box_has_twelve_edges() -> None:
    segments = box_segments(WALLS)
    assert segments.shape == (12, 2, 3)
    lengths = np.linalg.norm(segments[:, 0] - segments[:, 1], axis=1)
    # Eight across the box, four from the floor to the top of what is drawn.
    assert sorted(lengths.round(6)) == [1.94] * 4 + [3.88] * 8
    assert segments[..., 2].min() == WALLS.floor


@pytest.mark.parametrize("deviation", [1e-4, 1e-2, 1.0, 100.0])
def test_covariances_survive_half_precision(deviation: float) -> None:
    covariances = torch.tensor([[1.0, 0.2, 0, 0.5, 0.1, 0.25]]) * deviation**2
    unit = splat_unit(covariances)
    sent = (covariances * unit**2).half().float() / unit**2
    # Half precision has a relative spacing of 2^-10.
    torch.testing.assert_close(sent, covariances, rtol=2**-10, atol=0)
