"""Do what a person asks for in the panel, one thing after the other, in one thread.

viser calls back from threads of its own. A ``Panel`` only queues what is asked for there; whoever owns it calls
``work`` again and again, which does it. What takes long is a job: a generator that does a little between two
``yield``s, so that the panel answers meanwhile, and that is closed, and so cleans up, when the program ends.
"""

import queue
import sys
from collections.abc import Callable, Generator
from typing import Any

import viser
from viser._gui_handles import GuiProgressBarHandle

from tools.viewer.serving.allowed_messages import Controls

Job = Generator[float, None, str]
"""Yields which share of it is done, and returns what to tell the person at its end."""


class Panel:
    """A ``Panel`` connects the controls of a server's page with what they do.

    Args:
        server: the server whose page it is on.
        controls: what pages may change.
    """

    def __init__(self, server: viser.ViserServer, controls: Controls) -> None:
        self.server, self.gui, self.controls = server, server.gui, controls
        self._requests: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._job: Job | None = None
        self._progress: GuiProgressBarHandle | None = None
        self._cancel: viser.GuiButtonHandle | None = None

    def on(self, handle: Any, act: Callable[[Any], None]) -> Any:
        """Have ``work`` call ``act`` with the value that a person gives a control, and return the control."""
        return self.on_browser(handle, lambda value, _: act(value))

    def on_browser(self, handle: Any, act: Callable[[Any, viser.ClientHandle], None]) -> Any:
        """Have ``work`` call ``act`` with the value that a person gives a control, and with the person's browser."""
        self.controls.add(handle)

        def request(event: viser.GuiEvent) -> None:
            client = event.client
            if client is not None:  # a person, not this program, has changed it
                value = handle.value
                self.ask(lambda: act(value, client))

        (handle.on_click if isinstance(handle, viser.GuiButtonHandle) else handle.on_update)(request)
        return handle

    def remove(self, handle: Any) -> None:
        """Remove a control, or a folder of them, for good."""
        handle.remove()
        self.controls.forget_removed()
        # viser remembers each removal for pages that lag behind, and looks for what they have all seen only when one
        # connects: in a long session they would become many.
        self.server._run_garbage_collector()

    def ask(self, request: Callable[[], None]) -> None:
        """Have ``work`` do something; may be called from any thread."""
        self._requests.put(request)

    def work(self, patience: float | None) -> bool:
        """Do what has been asked for, or some of a job.

        Args:
            patience: seconds to wait for something to do; None: as long as needed.

        Returns:
            Whether anything was done.
        """
        done = False
        try:
            self._do(self._requests.get(timeout=0.001 if self._job else patience))
            done = True
            while True:  # do all that has gathered meanwhile, such as the steps of a dragged slider
                self._do(self._requests.get_nowait())
        except queue.Empty:
            pass
        if self._job is not None:
            self._do(self._continue)
        return done

    def _do(self, request: Callable[[], None]) -> None:
        """Do what a person asked for; what fails is reported, and ends nothing but itself."""
        try:
            request()
        except Exception as error:
            report(error)

    @property
    def busy(self) -> bool:
        """Return whether a job is under way."""
        return self._job is not None

    def add_job_controls(self) -> None:
        """Add a bar that shows how far a job is, and a button that ends it; both are hidden while there is none.

        Where they are already, they stay there.
        """
        if self._progress is not None:
            return
        self._progress = self.gui.add_progress_bar(0, visible=False)
        self._cancel = self.gui.add_button("Cancel", visible=False, icon=viser.Icon.X)
        self.on(self._cancel, lambda _: self.close())

    def start(self, job: Job, client: viser.ClientHandle) -> None:
        """Begin a job, unless another one is under way, and tell the person who asked for it how it ends."""
        if self.busy:
            self.tell(client, "Not now", "Something else is being written")
            return
        self._job = self._reporting(job, client)
        self._show_progress(0.0)

    def try_to(self, client: viser.ClientHandle, act: Callable[[], str]) -> None:
        """Do something short for a person, and tell the outcome, or why there is none."""
        try:
            self.tell(client, "Done", act(), color="green")
        except Exception as error:
            self.tell(client, "This failed", str(error), color="red")
            raise

    def _reporting(self, job: Job, client: viser.ClientHandle) -> Job:
        try:
            outcome = yield from job
        except Exception as error:
            self.tell(client, "This failed", str(error), color="red")
            raise
        self.tell(client, "Done", outcome, color="green")
        return outcome

    def _continue(self) -> None:
        assert self._job is not None
        try:
            self._show_progress(next(self._job))
        except StopIteration:
            self._end()
        except Exception:
            self._end()
            raise

    def _end(self) -> None:
        self._job = None
        for control in (self._progress, self._cancel):
            if control is not None:
                control.visible = False

    def _show_progress(self, share: float) -> None:
        if self._progress is not None and self._cancel is not None:
            self._progress.value = 100 * share  # type: ignore[misc]
            self._progress.visible = self._cancel.visible = True

    def close(self) -> None:
        """End the job that is under way, if any, so that it leaves nothing unfinished."""
        if self._job is not None:
            self._job.close()
            self._end()

    def tell(self, client: viser.ClientHandle, title: str, body: str, color: Any = None) -> None:
        """Show a person a message, if the browser is still there."""
        if client.client_id in self.server.get_clients():
            client.add_notification(title, body, color=color, auto_close_seconds=None if color == "red" else 5)


def report(error: Exception) -> None:
    """Print one line about what failed, on standard error."""
    name = "" if type(error).__name__ in ("InputError", "OSError") else f"{type(error).__name__}: "
    print(f"error: {name}{error}", file=sys.stderr)
