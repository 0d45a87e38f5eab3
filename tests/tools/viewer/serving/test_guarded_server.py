"""Who may ask the viewer's server, and for what."""

import math
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import viser
import websockets.asyncio.server
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tools.viewer.serving.allowed_messages import Controls
from tools.viewer.serving.guarded_server import Names, is_from_own_page, start_server

POSE = {
    "type": "ViewerCameraMessage",
    "wxyz": [1.0, 0, 0, 0],
    "position": [0, 0, 1.0],
    "fov": 1.0,
    "near": 0.01,
    "far": 100.0,
    "look_at": [0, 0, 0],
    "up_direction": [0, 0, 1],
    "image_height": 9,
    "image_width": 9,
}


@pytest.mark.parametrize(
    ("listens_on", "asked_for", "answered"),
    [
        ("localhost", "localhost:8088", True),
        ("localhost", "LOCALHOST", True),
        ("localhost", "127.0.0.1:9000", True),  # another port: through an SSH tunnel
        ("localhost", "[::1]:8088", True),
        ("localhost", "evil.example:8088", False),  # a name that resolves to this machine
        ("localhost", "localhost.evil.example", False),
        ("localhost", "192.0.2.1:8088", False),
        ("localhost", "localhost:8088@evil.example", False),
        ("localhost", "localhost\n", False),
        ("localhost", "", False),
        ("127.0.0.1", "localhost:8088", True),
        ("127.0.0.1", "127.0.0.2:8088", False),
        ("0.0.0.0", "192.0.2.1:8088", True),  # an address cannot be rebound
        ("0.0.0.0", "[2001:db8::1]:8088", True),
        ("0.0.0.0", socket.gethostname(), True),
        ("0.0.0.0", "evil.example:8088", False),
    ],
)
def test_only_the_servers_own_names_are_answered(listens_on: str, asked_for: str, answered: bool) -> None:
    names = Names(listens_on)
    assert (asked_for in names) == answered
    assert is_from_own_page([asked_for], [], names) == answered


@pytest.mark.parametrize(
    ("hosts", "origins", "answered"),
    [
        (["localhost:8088"], ["http://localhost:8088"], True),
        (["localhost:8088"], ["https://localhost:8088"], True),  # behind a program that encrypts
        (["localhost:8088"], [], True),  # no browser's page
        (["localhost:8088"], ["http://evil.example"], False),
        (["localhost:8088"], ["http://localhost:3000"], False),  # another program on this machine
        (["localhost:8088"], ["http://127.0.0.1:8088"], False),
        (["localhost:8088"], ["null"], False),  # a file, or a frame that hides where it is from
        (["localhost:8088"], ["http://localhost:8088", "http://evil.example"], False),
        (["localhost:8088", "localhost:8088"], [], False),
        ([], [], False),
    ],
)
def test_only_the_servers_own_page_is_answered(hosts: list[str], origins: list[str], answered: bool) -> None:
    assert is_from_own_page(hosts, origins, Names("localhost")) == answered


@pytest.fixture(scope="module")
def panel() -> Iterator[tuple[viser.ViserServer, Controls, dict[str, Any]]]:
    """A server with a control of each kind, by name."""
    controls = Controls()
    server = start_server("localhost", 0, "Test", controls)
    handles = {
        "switch": server.gui.add_checkbox("switch", True),
        "button": server.gui.add_button("button"),
        "share": server.gui.add_slider("share", 0.0, 1.0, 0.1, 0.5),
        "frame": server.gui.add_slider("frame", 0, 29, 1, 0),
        "axis": server.gui.add_dropdown("axis", ("+z", "-z")),
        "range": server.gui.add_multi_slider("range", 0.0, 1.0, 0.1, (0.2, 0.8)),
        "color": server.gui.add_rgb("color", (255, 0, 0)),
    }
    for handle in handles.values():
        controls.add(handle)
    handles["text"] = server.gui.add_text("text", "for reading", disabled=True)
    yield server, controls, handles
    server.stop()


def update(handle: Any, **updates: Any) -> bytes:
    return msgspec.msgpack.encode({"type": "GuiUpdateMessage", "uuid": handle._impl.uuid, "updates": updates})


@pytest.mark.parametrize(
    ("control", "value", "accepted"),
    [
        ("switch", False, True),
        ("switch", 1, False),
        ("switch", "no", False),
        ("button", True, True),
        ("share", 0.7, True),
        ("share", 1, True),
        ("share", 1.1, False),
        ("share", math.nan, False),
        ("share", math.inf, False),
        ("share", "0.5", False),
        ("share", True, False),
        ("frame", 29, True),
        ("frame", 3.0, True),
        ("frame", 3.5, False),
        ("frame", 30, False),
        ("frame", -1, False),
        ("frame", 2**63, False),
        ("axis", "-z", True),
        ("axis", "sideways", False),
        ("axis", None, False),
        ("axis", ["+z"], False),
        ("range", [0.0, 1.0], True),
        ("range", [0.8, 0.2], False),
        ("range", [0.2], False),
        ("range", [0.2, 1.1], False),
        ("range", 0.2, False),
        ("color", [0, 128, 255], True),
        ("color", [0, 128, 256], False),
        ("color", [0.5, 0, 0], False),
        ("color", [0, 0], False),
        ("color", [True, 0, 0], False),
        ("text", "written", False),
    ],
)
def test_a_control_takes_the_values_it_offers(panel: Any, control: str, value: Any, accepted: bool) -> None:
    _, controls, handles = panel
    assert controls.accept(update(handles[control], value=value)) == accepted


def test_other_messages_are_dropped(panel: Any) -> None:
    _, controls, handles = panel

    def accepts(**message: Any) -> bool:
        return controls.accept(msgspec.msgpack.encode(message))

    assert accepts(**POSE)
    for key, value in (("fov", math.nan), ("position", [0, 0]), ("wxyz", "up"), ("image_width", 2**40), ("more", 1)):
        assert not accepts(**{**POSE, key: value})
    for kind in ("ShareUrlRequest", "ShareUrlDisconnect", "FileTransferStartUpload", "RunJavascriptMessage", "", 3):
        assert not accepts(type=kind)
    # No attribute of a control but its value can be set.
    assert not controls.accept(update(handles["switch"], update_cb=[]))
    assert not controls.accept(update(handles["switch"], value=True, removed=True))
    assert not controls.accept(update(SimpleNamespace(_impl=SimpleNamespace(uuid="unknown")), value=True))
    for junk in (b"", b"\xc1", b"\x93", b"\x81" * 100_000, "text", msgspec.msgpack.encode([1])):
        assert not controls.accept(junk)


def test_nodes_are_dragged_and_clicked_only_if_they_were_made_for_it() -> None:
    controls = Controls()

    def accepts(**message: Any) -> bool:
        return controls.accept(msgspec.msgpack.encode(message))

    drag = {"type": "TransformControlsUpdateMessage", "wxyz": [1, 0, 0, 0], "position": [0, 0, 0], "owner": ""}
    start = {"type": "TransformControlsDragStartMessage", "owner": ""}
    ray = {"ray_origin": [0, 0, 0], "ray_direction": [0, 0, 1], "modifier": None}
    click = ray | {"type": "SceneNodeClickMessage", "instance_index": None, "screen_pos": [0.5, 0.5], "owner": ""}
    for message in (drag, start, click):
        assert not accepts(**message, name="/gizmo")
    controls.add_node("/gizmo")
    for message in (drag, start, click):
        assert accepts(**message, name="/gizmo")
        assert not accepts(**message, name="/splats")
    assert not accepts(**drag | {"position": [math.nan, 0, 0]}, name="/gizmo")
    controls.forget_node("/gizmo")
    assert not accepts(**drag, name="/gizmo")


def test_clicks_in_the_scene_are_taken_only_where_somebody_waits_for_them() -> None:
    controls = Controls()
    ray = {"ray_origin": [0, 0, 0], "ray_direction": [0, 0, 1]}
    click = {"type": "ScenePointerMessage", "event_type": "click", "screen_pos": [[0.5, 0.5]], "modifier": "shift"}
    drawn = {**click, "event_type": "rect-select", "ray_origin": None, "ray_direction": None}

    def accepts(message: dict[str, Any]) -> bool:
        return controls.accept(msgspec.msgpack.encode(message))

    assert not accepts(click | ray)
    controls.scene_clicks = True
    assert accepts(click | ray)
    assert not accepts(click | ray | {"ray_direction": None})
    assert not accepts(drawn)  # one corner
    assert accepts(drawn | {"screen_pos": [[0.1, 0.1], [0.2, 0.3]]})
    assert not accepts(click | ray | {"event_type": "hover"})


def test_a_picture_is_taken_only_while_one_is_asked_for() -> None:
    controls = Controls()
    picture = msgspec.msgpack.encode({"type": "GetRenderResponseMessage", "payload": bytes(2**17), "render_uuid": "a"})
    assert not controls.accept(picture)
    with controls.picture():
        assert controls.accept(picture)
    assert not controls.accept(picture)


def test_a_foreign_page_gets_no_answer_and_the_own_one_does(panel: Any) -> None:
    server, _, handles = panel
    address = f"localhost:{server.get_port()}"
    protocol = [websockets.Subprotocol(f"viser-v{viser.__version__}")]

    def join(origin: str | None) -> Any:
        return connect(
            f"ws://{address}", subprotocols=protocol, origin=origin and websockets.Origin(origin), max_size=None
        )

    with pytest.raises(InvalidStatus, match="403"):
        join("http://evil.example")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(f"http://{address}/", headers={"Host": "evil.example"}))
    assert urllib.request.urlopen(f"http://{address}/").status == 200
    with join(f"http://{address}") as page:
        page.recv(timeout=60)
        page.send(msgspec.msgpack.encode({"type": "ShareUrlRequest"}))
        page.send(update(handles["share"], value=math.nan))
        page.send("text")
        page.send(update(handles["share"], value=0.25))
        while handles["share"].value != 0.25:  # messages are handled in their order: the others were dropped
            time.sleep(0.05)
    with join(f"http://{address}") as page:
        page.recv(timeout=60)
        page.send(bytes(2**17))  # too large for a control
        page.send(update(handles["share"], value=0.75))
        while handles["share"].value != 0.75:
            time.sleep(0.05)
        page.send(bytes(2**26 + 1))  # too large even for a picture
        with pytest.raises(websockets.ConnectionClosedError):
            all(page.recv(timeout=60) for _ in range(1000))


def test_a_server_that_nothing_guards_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version of viser may serve in another way."""
    stopped = []

    class Unguarded:
        def __init__(self, **settings: Any) -> None:
            pass

        def stop(self) -> None:
            stopped.append(True)

    monkeypatch.setattr(viser, "ViserServer", Unguarded)
    before = websockets.asyncio.server.serve
    with pytest.raises(RuntimeError, match="nothing here guards"):
        start_server("localhost", 0, "Test", Controls())
    assert stopped
    assert websockets.asyncio.server.serve is before
