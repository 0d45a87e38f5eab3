"""Start viser's web server so that only its own page can use it, and only in ways that the panel offers.

Any web page that a person has open may send requests to this machine, and may have its own name resolve to this
machine's address (DNS rebinding). So a request is answered only if it asks for this server by a name of this server
(``Host``), and comes from this server's own page where it says what it comes from (``Origin``).

Of a page's messages only those reach viser that ``allowed_messages`` names. Others are dropped, those that ask for a
public address of this server among them.
"""

import gzip
import http
import io
import ipaddress
import re
import socket
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import viser
import websockets.asyncio.server
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from tools.viewer.serving.allowed_messages import LARGEST_PICTURE, Controls
from tools.viewer.serving.client_page import client_page

_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
_EVERYWHERE = {"", "0.0.0.0", "::"}


class Names:
    """The names and addresses by which a browser may ask for a server that listens on ``host``.

    Those of this machine itself always belong to them, as requests come through an SSH tunnel by these. A server that
    listens on all addresses may be asked for by each, and by the machine's names: only names can be rebound.
    """

    def __init__(self, host: str) -> None:
        self._everywhere = host in _EVERYWHERE
        self._names = _LOCAL_NAMES | {host.lower()}
        if self._everywhere:
            self._names |= {name.lower() for name in (socket.gethostname(), socket.getfqdn())}
        else:
            self._names |= {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}

    def __contains__(self, authority: object) -> bool:
        """Return whether a request's ``Host``, a name or address and perhaps a port, is this server's."""
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s\[\]:/@]+))(?::\d{1,5})?", str(authority))
        if match is None:
            return False
        name = (match[1] or match[2]).lower()
        return name in self._names or (self._everywhere and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_from_own_page(hosts: Sequence[str], origins: Sequence[str], names: Names) -> bool:
    """Return whether a request with these ``Host`` and ``Origin`` headers may be answered.

    A request without an origin comes from no other page: browsers name it wherever it matters.
    """
    if len(hosts) != 1 or hosts[0] not in names:
        return False
    return all(origin.lower() in (f"http://{hosts[0]}".lower(), f"https://{hosts[0]}".lower()) for origin in origins)


def _page_response(encodings: str) -> Response:
    body, encoding = client_page(), "identity"
    if "gzip" in encodings:
        body, encoding = gzip.compress(body, 1), "gzip"
    lines = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(body)), "Content-Encoding": encoding}
    return Response(http.HTTPStatus.OK, "OK", Headers(lines), body)


def start_server(host: str, port: int, label: str, controls: Controls) -> viser.ViserServer:
    """Start viser's server, with only its own page and what ``controls`` allow let in.

    viser has no setting for this; it calls ``websockets.asyncio.server.serve``, which has.

    Args:
        host: address to listen on.
        port: the first to try; 0 for any free one.
        label: title of the panel.
        controls: those of the panel; more may be added later.

    Raises:
        RuntimeError: this version of viser serves in another way, which nothing guards.
    """
    names, guarded = Names(host), []

    class Connection(ServerConnection):
        async def recv(self, decode: bool | None = None) -> Any:
            while True:
                message = await super().recv(decode)
                if controls.accept(message):
                    return message

    def guarded_serve(handler: Any, *arguments: Any, process_request: Any = None, **settings: Any) -> serve:
        def process(connection: ServerConnection, request: Request) -> Response | None:
            headers = request.headers
            if not is_from_own_page(headers.get_all("Host"), headers.get_all("Origin"), names):
                return connection.respond(http.HTTPStatus.FORBIDDEN, "This page belongs to another address.\n")
            if headers.get("Upgrade") is None and request.path.partition("?")[0] in ("/", "/index.html"):
                return _page_response(headers.get("Accept-Encoding", ""))
            return process_request(connection, request) if process_request else None

        guarded.append(True)
        settings |= {"max_size": LARGEST_PICTURE, "create_connection": Connection, "process_request": process}
        return serve(handler, *arguments, **settings)

    module: Any = websockets.asyncio.server
    module.serve = guarded_serve
    try:
        with redirect_stdout(io.StringIO()):  # it draws a box around its address
            server = viser.ViserServer(host=host, port=port, label=label, verbose=False)
    finally:
        module.serve = serve
    if not guarded:
        stop_server(server)
        raise RuntimeError(f"viser {viser.__version__} serves in a way that nothing here guards")
    return server


def stop_server(server: viser.ViserServer) -> None:
    """Stop viser's server without a word."""
    with redirect_stdout(io.StringIO()):
        server.stop()
