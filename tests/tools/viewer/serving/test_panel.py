from collections.abc import Generator, Iterator
from typing import Any, cast

import msgspec
import pytest

from tools.viewer.serving.allowed_messages import Controls
from tools.viewer.serving.guarded_server import start_server
from tools.viewer.serving.panel import Panel


class Person:
    """A browser that is still there, and what it has been told."""

    client_id = 0

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def add_notification(self, title: str, body: str, **_: object) -> None:
        self.told.append((title, body))


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Panel, Any]]:
    controls = Controls()
    server = start_server("localhost", 0, "Test", controls)
    person = Person()
    monkeypatch.setattr(server, "get_clients", lambda: {0: person})
    found = Panel(server, controls)
    found.add_job_controls()
    yield found, cast(Any, person)
    server.stop()


def test_requests_are_done_in_their_order_and_failures_end_nothing(
    panel: tuple[Panel, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    desk, _ = panel
    done: list[int] = []
    for request in (lambda: done.append(1), lambda: [][1], lambda: done.append(2)):
        desk.ask(request)
    assert desk.work(None)
    assert done == [1, 2]
    assert capfd.readouterr().err == "error: IndexError: list index out of range\n"
    assert not desk.work(0.001)


def test_a_job_goes_on_between_requests_and_says_how_it_ends(panel: tuple[Panel, Any]) -> None:
    desk, person = panel
    order: list[str] = []

    def job() -> Generator[float, None, str]:
        for k in range(3):
            order.append(f"step {k}")
            yield k / 3
        return "all of it"

    desk.start(job(), person)
    desk.start(job(), person)  # while the first one is under way
    assert person.told == [("Not now", "Something else is being written")]
    while desk.busy:
        desk.ask(lambda: order.append("request"))
        desk.work(None)
    assert order[:4] == ["request", "step 0", "request", "step 1"]
    assert person.told[1:] == [("Done", "all of it")]


def test_a_job_that_is_given_up_cleans_up(panel: tuple[Panel, Any]) -> None:
    desk, person = panel
    cleaned = []

    def job() -> Generator[float, None, str]:
        try:
            yield 0.1
            yield 0.2
        finally:
            cleaned.append(True)
        return "never"

    desk.start(job(), person)
    desk.work(None)
    assert not cleaned
    desk.close()
    assert (cleaned, desk.busy, person.told) == ([True], False, [])


def test_a_job_that_fails_says_why(panel: tuple[Panel, Any], capfd: pytest.CaptureFixture[str]) -> None:
    desk, person = panel

    def job() -> Generator[float, None, str]:
        yield 0.0
        raise OSError("the disk is full")

    desk.start(job(), person)
    while desk.busy:
        desk.work(None)
    assert person.told == [("This failed", "the disk is full")]
    assert capfd.readouterr().err == "error: the disk is full\n"
    with pytest.raises(OSError, match="too"):
        desk.try_to(person, fails)
    assert person.told[1:] == [("This failed", "this, too")]


def fails() -> str:
    raise OSError("this, too")


def test_what_is_removed_is_forgotten(panel: tuple[Panel, Any]) -> None:
    desk, _ = panel
    remembered = desk.server._websock_server._broadcast_buffer.message_from_id
    kept = desk.on(desk.gui.add_checkbox("kept", True), lambda _: None)
    before = len(remembered)
    folder = desk.gui.add_folder("folder")
    with folder, desk.gui.add_folder("inside"):
        gone = desk.on(desk.gui.add_checkbox("gone", True), lambda _: None)

    def accepted(handle: Any) -> bool:
        update = {"type": "GuiUpdateMessage", "uuid": handle._impl.uuid, "updates": {"value": False}}
        return desk.controls.accept(msgspec.msgpack.encode(update))

    assert (accepted(kept), accepted(gone)) == (True, True)
    desk.remove(folder)
    assert (accepted(kept), accepted(gone)) == (True, False)
    assert len(remembered) == before
