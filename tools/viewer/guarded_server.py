"""Start viser's web server so that only its own page can use it, and only in ways that the panel offers.

Any web page that a person has open may send requests to this machine, and may have its own name resolve to this
machine's address (DNS rebinding). So a request is answered only if it asks for this server by a name of this server
(``Host``), and comes from this server's own page where it says what it comes from (``Origin``).

Of a page's messages only two kinds reach viser: the pose of its camera, and a value given to a control of the panel
that this control can have. Others are dropped, those that ask for a public address of this server among them.
"""

import http
import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
import viser
import websockets.asyncio.server
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

_LARGEST_MESSAGE = 2**16  # bytes; a pose or a control's value takes a few hundred
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


_Number = Annotated[float, Field(allow_inf_nan=False)]
_Vector = Annotated[list[_Number], Field(min_length=3, max_length=3)]
_Pixels = Annotated[int, Field(ge=0, le=2**16)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _CameraPose(_Message):
    """The pose of a page's camera, as viser's page sends it."""

    type: Literal["ViewerCameraMessage"]
    wxyz: Annotated[list[_Number], Field(min_length=4, max_length=4)]
    position: _Vector
    fov: _Number
    near: _Number
    far: _Number
    image_height: _Pixels
    image_width: _Pixels
    look_at: _Vector
    up_direction: _Vector


class _ControlValues(_Message):
    """What a person has given a control."""

    value: bool | int | _Number | Annotated[str, Field(max_length=1000)]


class _ControlUpdate(_Message):
    """A value for a control, as viser's page sends it."""

    type: Literal["GuiUpdateMessage"]
    uuid: str
    updates: _ControlValues


_MESSAGE: TypeAdapter[_CameraPose | _ControlUpdate] = TypeAdapter(
    Annotated[_CameraPose | _ControlUpdate, Field(discriminator="type")]
)


class Controls:
    """The values that each control of the panel can have."""

    def __init__(self) -> None:
        self._allows: dict[str, Callable[[Any], bool]] = {}

    def add(self, handle: Any) -> None:
        """Let pages change a control: a slider within its range, a dropdown to its options, all else to a bool."""
        if isinstance(handle, viser.GuiSliderHandle):
            allows = _allows_range(handle.min, handle.max, whole=isinstance(handle.value, int))
        elif isinstance(handle, viser.GuiDropdownHandle):
            allows = tuple(handle.options).__contains__
        else:
            allows = _is_bool
        self._allows[handle._impl.uuid] = allows

    def accept(self, message: bytes | str) -> bool:
        """Return whether a page's message may reach viser."""
        if isinstance(message, str):
            return False
        try:
            found = _MESSAGE.validate_python(msgspec.msgpack.decode(message))
        except (msgspec.DecodeError, ValidationError, ValueError, RecursionError):
            return False
        if isinstance(found, _CameraPose):
            return True
        allows = self._allows.get(found.uuid)
        return allows is not None and allows(found.updates.value)


def _allows_range(low: float, high: float, whole: bool) -> Callable[[Any], bool]:
    def allows(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return False
        return not whole or value == int(value)

    return allows


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


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
            return process_request(connection, request) if process_request else None

        guarded.append(True)
        settings |= {"max_size": _LARGEST_MESSAGE, "create_connection": Connection, "process_request": process}
        return serve(handler, *arguments, **settings)

    module: Any = websockets.asyncio.server
    module.serve = guarded_serve
    try:
        server = viser.ViserServer(host=host, port=port, label=label, verbose=False)
    finally:
        module.serve = serve
    if not guarded:
        server.stop()
        raise RuntimeError(f"viser {viser.__version__} serves in a way that nothing here guards")
    return server
