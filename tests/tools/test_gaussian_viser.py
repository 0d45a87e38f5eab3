"""The viewer in a real browser: headless Chromium, drawing in software."""

import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from dataset.scenes.scene_files import read_scene
from gaussians.files.splats.ply import write_ply
from gaussians.files.trajectory_format import Frame, TrajectoryMeta, TrajectoryObject, Walls
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from gaussians.stage.errors import InputError
from tests.tools.browser import PATIENCE, Server, blue, opened, picture, red, row, type_into, until
from tools.viewer.saving.recording import picture as rasterized
from tools.viewer.scene.layers import Stage
from tools.viewer.scene.poses import Eye
from tools.viewer.scene.splat_source import SplatSource
from tools.viewer.serving.panel_server import check_port
from tools.viewer.splat_viewer import SplatViewer

FRAME_DT, FRAMES = 0.1, 30
WALLS = Walls(x=(-1.94, 1.94), y=(-1.94, 1.94), floor=-0.94)


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


def yellow(image: np.ndarray) -> np.ndarray:
    """Where Gaussians are that have been selected."""
    return (image[..., 0] > image[..., 2] + 120) & (image[..., 1] > image[..., 2] + 80)


def height(mask: np.ndarray) -> float:
    """Of a ball's middle above the picture's lower edge, pixels."""
    return len(mask) - float(np.nonzero(mask)[0].mean())


def test_browser_shows_plays_hides_and_leaves(tmp_path: Path, serve: Callable[..., Server], chromium) -> None:  # type: ignore[no-untyped-def]
    write_rise(tmp_path / "0_red_blue")
    server = serve("tools.gaussian_viser", "--ply_path", tmp_path / "0_red_blue")
    assert "600 Gaussians, 30 frames" in server.line
    page, reports = opened(chromium, server.url)
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

    # Back to the start of time.
    type_into(page, "Frame", "0")
    until(page, "they are where they began", lambda image: abs(height(red(image)) - height(red(first))) < 1)

    # Opacities are 0.9 and 0.6.
    page.get_by_text("Cuts", exact=True).click()
    type_into(page, "Least opacity", "0.7")
    until(page, "the faint ball is gone", lambda image: not blue(image).any() and red(image).any())

    # A second browser comes while it plays, sees the same, and goes on when the first one leaves.
    page.get_by_role("button", name="Play").click()
    other, other_reports = opened(chromium, server.url)
    until(other, "the red ball shows", lambda image: red(image).sum() > 500)
    page.close()
    before = height(red(until(other, "it shows", lambda image: red(image).any())))
    until(other, "it has moved on", lambda image: red(image).any() and abs(height(red(image)) - before) > 5)
    other.close()
    assert reports == other_reports == []
    status, errors = server.stop()
    assert (status, errors) == (0, "")


def test_the_page_shows_what_the_rasterizer_draws_and_edits_change_both(tmp_path: Path, chromium) -> None:  # type: ignore[no-untyped-def]
    rest = balls()
    turned = replace(rest, sh=torch.cat([rest.sh, 0.3 * torch.randn(600, 3, 3, generator=torch.manual_seed(0))], 1))
    frame = Frame(turned.means, turned.covariance())
    objects = {"red": torch.arange(300), "blue": torch.arange(300, 600)}
    source = SplatSource("balls", turned.opacities, turned.sh, objects, lambda k, fields: frame)
    viewer = SplatViewer([source], None, "localhost", 0, tmp_path)
    for node in (viewer.session.guides.grid, viewer.session.guides.axes):
        node.visible = False
    end = threading.Event()
    thread = threading.Thread(target=lambda: run_until(viewer, end))
    thread.start()
    try:
        page, reports = opened(chromium, f"http://localhost:{viewer.port}", pixel=1.0)
        page.get_by_text("Save", exact=True).wait_for(timeout=PATIENCE * 1000)
        for folder in ("Save", "Edit"):
            page.get_by_text(folder, exact=True).click()
        until(page, "both balls show", lambda image: min(red(image).sum(), blue(image).sum()) > 500)
        until(page, "they stand still", lambda image: np.array_equal(image, picture(page)))
        # The page cuts Gaussians off at 1.8 % of their peak, and draws none that is fainter than 1 %, the rasterizer at
        # 0.4 % each, which on these soft balls makes 0.014 of the range on average. Were the picture moved by one
        # pixel, it would be 0.022; colours of degree 0 alone make 0.035.
        assert differs(page, viewer, tmp_path / "balls.png") < 0.018
        viewer.session.panel.ask(partial(set_degree, viewer, 0))
        assert differs(page, viewer, tmp_path / "balls.png") > 0.03
        viewer.session.panel.ask(partial(set_degree, viewer, 1))

        # Select the left ball, delete it, bring it back; move the other.
        page.keyboard.down("Shift")
        corners = pixels(viewer, turned.means[:300])
        (left, top), (right, bottom) = corners.min(0) - 20, corners.max(0) + 20
        page.mouse.move(right, bottom)  # messages of the viewer lie over the picture's left
        page.mouse.down()
        page.mouse.move(left, top, steps=4)
        page.mouse.up()
        page.keyboard.up("Shift")
        until(page, "the left ball is selected", lambda image: yellow(image).sum() > 500)
        page.get_by_role("button", name="Delete selected").click()
        until(page, "it is gone", lambda image: not red(image).any() and not yellow(image).any())
        page.get_by_role("button", name="Undo delete").click()
        until(page, "it is back", lambda image: red(image).sum() > 500)
        row(page, "Move").locator("input").first.click()
        page.get_by_role("option", name="blue", exact=True).click()
        type_into(page, "Scale", "0.5")
        until(page, "the right ball is small", lambda image: 100 < blue(image).sum() < 0.5 * red(image).sum())
        page.get_by_role("button", name="Save scene").click()
        until(page, "the scene is saved", lambda image: (tmp_path / "balls" / "objects.json").is_file())
        assert reports == []
    finally:
        end.set()
        thread.join()
        viewer.stop()
    saved = read_scene(tmp_path / "balls").gaussians
    torch.testing.assert_close(saved.means[300:].std(0), 0.5 * rest.means[300:].std(0), rtol=1e-4, atol=0)


def run_until(viewer: SplatViewer, end: threading.Event) -> None:
    """Run a viewer until ``end`` is set."""

    def look() -> None:
        if end.is_set():
            raise KeyboardInterrupt

    def wake() -> None:
        end.wait()
        viewer.session.panel.ask(look)

    threading.Thread(target=wake).start()
    with suppress(KeyboardInterrupt):
        viewer.run()


def set_degree(viewer: SplatViewer, degree: int) -> None:
    viewer.stage.cuts.sh_degree = degree
    viewer.stage.changed()


def pixels(viewer: SplatViewer, points: torch.Tensor) -> np.ndarray:
    """Where the page shows points (N, 3), pixels of its window (N, 2)."""
    eye = Eye.of(next(iter(viewer.server.get_clients().values())))
    return eye.image_places(points)[0].numpy() * (900, 620)


def differs(page, viewer: SplatViewer, path: Path) -> float:  # type: ignore[no-untyped-def]
    """Mean difference of a screenshot from what the rasterizer draws, where that draws anything."""
    path.unlink(missing_ok=True)
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Screenshot").click()
    until(page, "the screenshot is written", lambda image: path.is_file())
    found = iio.imread(path) / 255
    eye = Eye.of(next(iter(viewer.server.get_clients().values())))
    height, width = found.shape[:2]
    stage = Stage([viewer.stage.layers[0].source])
    expected = rasterized(stage, stage.frames(0.0), eye, width, height).numpy()
    covered = (expected < 0.99).any(2)
    assert covered.mean() > 0.02
    return float(np.abs(found - expected)[covered].mean())


def test_splats_smaller_than_pixels_are_shown(tmp_path: Path, serve: Callable[..., Server], chromium) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(0)
    ball = torch.nn.functional.normalize(torch.randn(40_000, 3, generator=generator), dim=1) * 0.25
    red_ball = Gaussians(
        means=ball,
        opacities=torch.full((40_000,), 0.9),
        sh=rgb_to_sh(torch.tensor([[1.0, 0, 0]]).expand(40_000, 3)),
        covariances=torch.tensor([1e-8, 0, 0, 1e-8, 0, 1e-8]).expand(40_000, 6).clone(),
    )
    write_ply(tmp_path / "ball.ply", red_ball)
    page, reports = opened(chromium, serve("tools.gaussian_viser", "--ply_path", tmp_path / "ball.ply").url)
    until(page, "the ball shows", lambda image: red(image).sum() > 500)
    page.close()
    assert reports == []


def test_a_page_plays_without_a_server(tmp_path: Path, chromium, command: Callable[..., None], capsys) -> None:  # type: ignore[no-untyped-def]
    write_rise(tmp_path / "0_red_blue")
    command("tools.gaussian_viser", "--ply_path", tmp_path / "0_red_blue", "--serve_html", tmp_path / "clip.html")
    assert re.search(r"clip\.html: [\d.]+ MB, 30 of 30 frames, 10 a second", capsys.readouterr().out)
    page, reports = opened(chromium, (tmp_path / "clip.html").as_uri())
    first = until(page, "both balls show", lambda image: min(red(image).sum(), blue(image).sum()) > 500)
    # Over and over: the first picture may have been of any frame.
    until(page, "they move", lambda image: red(image).any() and abs(height(red(image)) - height(red(first))) > 20)
    # The sorter of depths works, also for a page that was opened as a file.
    assert len(page.workers) == 1
    page.close()
    assert reports == []


def test_visitors_that_are_no_browsers_leave_no_traceback(tmp_path: Path, serve: Callable[..., Server]) -> None:
    write_ply(tmp_path / "balls.ply", balls())
    server = serve("tools.gaussian_viser", "--ply_path", tmp_path / "balls.ply")
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


def test_what_fails_is_reported_and_ends_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rest = balls()
    gone = False

    def frame(number: int, fields: object) -> Frame:
        if gone:
            raise OSError("the disk is gone")
        return Frame(rest.means, rest.covariance())

    source = SplatSource("a", rest.opacities, rest.sh, {"all": torch.arange(600)}, frame, frame_count=30)
    viewer = SplatViewer([source], None, "localhost", 0, tmp_path)
    viewer.server.get_clients = lambda: {0: cast(Any, SimpleNamespace(add_notification=lambda *_, **__: None))}  # type: ignore[method-assign]
    viewer._browsers._shown = {0: cast(Any, SimpleNamespace(draw=lambda *_: None))}
    gone = True

    def end() -> None:
        raise KeyboardInterrupt

    try:
        viewer.session.panel.ask(lambda: [][1])
        viewer.session.panel.ask(lambda: viewer.session.playback.seek(3, time.monotonic()))
        threading.Timer(1.0, viewer.session.panel.ask, [end]).start()
        with pytest.raises(KeyboardInterrupt):
            viewer.run()
    finally:
        viewer.stop()
    assert capfd.readouterr().err.splitlines() == [
        "error: IndexError: list index out of range",
        "error: the disk is gone",
    ]
