"""Start a server whose page has a panel, on the port that was asked for and on no other."""

import logging
import socket
import warnings
from typing import Protocol

from gaussians.stage.errors import InputError
from tools.viewer.serving.allowed_messages import Controls
from tools.viewer.serving.guarded_server import start_server, stop_server
from tools.viewer.serving.panel import Panel


def start_panel(host: str, port: int, label: str) -> Panel:
    """Start a server and return its empty panel.

    Args:
        host: the address that browsers reach this by; "localhost" for this machine alone.
        port: 0 for any free one.
        label: title of the panel.

    Raises:
        InputError: the port is taken or not allowed, or there is no such host.
    """
    check_port(host, port)
    # Not only browsers connect to a port, and some leave at once, which needs no traceback.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    # A browser may leave while its next frame is being sent.
    warnings.filterwarnings("ignore", r"Queued a \w+ on a closed connection", UserWarning)
    controls = Controls()
    server = start_server(host, port, label, controls)
    if port not in (0, server.get_port()):  # it was taken since the check, and viser chose the next
        stop_server(server)
        raise _port_taken(host, port)
    server.gui.configure_theme(show_share_button=False, control_width="medium")
    return Panel(server, controls)


class Viewer(Protocol):
    """A ``Viewer`` shows something in browsers, from ``run`` on, which does not end by itself, until ``stop``."""

    @property
    def port(self) -> int: ...

    def run(self) -> None: ...

    def stop(self) -> None: ...


def run_until_interrupted(viewer: Viewer, host: str, shown: str) -> None:
    """Say what is shown and where, and show it until Ctrl-C."""
    address = "localhost" if host == "0.0.0.0" else host
    print(f"{shown}; open http://{address}:{viewer.port} in a browser; Ctrl-C ends", flush=True)
    try:
        viewer.run()
    except KeyboardInterrupt:
        pass  # this is how a person ends it
    finally:
        viewer.stop()


def check_port(host: str, port: int) -> None:
    """Refuse a port that cannot be had; the server itself would silently take another one.

    Raises:
        InputError: it is taken or not allowed, or there is no such host.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise InputError(f"--host {host}: {error.strerror}") from None
    for family, *_, address in addresses:
        try:
            socket.create_server(address[:2], family=family).close()
        except PermissionError:
            raise InputError(f"--port {port}: not allowed on {host}; choose one of 1024 to 65535") from None
        except OSError as error:
            if "in use" not in str(error).lower():
                raise InputError(f"--host {host}: cannot be listened on: {error.strerror}") from None
            raise _port_taken(host, port) from None


def _port_taken(host: str, port: int) -> InputError:
    return InputError(f"--port {port}: already in use on {host}; choose another, or end the program that has it")
