"""Say which messages of a page may reach viser.

They are the pose of its camera, a value given to a control of the panel that this control can have, a drag or click of
what was made to be dragged or clicked, a click in the scene, and a picture that was asked for.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Self

import msgspec
import viser
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

_LARGEST_MESSAGE = 2**16  # bytes; a pose or a control's value takes a few hundred
LARGEST_PICTURE = 2**26
"""Bytes of a message with a picture: a PNG of a screen takes a few million."""

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Vector = Annotated[list[_Number], Field(min_length=3, max_length=3)]
_Quaternion = Annotated[list[_Number], Field(min_length=4, max_length=4)]
_Place = Annotated[list[_Number], Field(min_length=2, max_length=2)]
_Pixels = Annotated[int, Field(ge=0, le=2**16)]
_Modifier = Annotated[str, Field(max_length=50)] | None
_Owner = Annotated[str, Field(max_length=100)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _CameraPose(_Message):
    """The pose of a page's camera, as viser's page sends it."""

    type: Literal["ViewerCameraMessage"]
    wxyz: _Quaternion
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

    value: bool | int | _Number | Annotated[str, Field(max_length=1000)] | Annotated[list[_Number], Field(max_length=4)]


class _ControlUpdate(_Message):
    """A value for a control, as viser's page sends it."""

    type: Literal["GuiUpdateMessage"]
    uuid: str
    updates: _ControlValues


class _GizmoUpdate(_Message):
    """The pose that a person has dragged a gizmo to."""

    type: Literal["TransformControlsUpdateMessage"]
    name: str
    wxyz: _Quaternion
    position: _Vector
    owner: _Owner


class _GizmoGrip(_Message):
    """A drag of a gizmo that begins or ends."""

    type: Literal["TransformControlsDragStartMessage", "TransformControlsDragEndMessage"]
    name: str
    owner: _Owner


class _NodeClick(_Message):
    """A click on something in the scene, such as a camera."""

    type: Literal["SceneNodeClickMessage"]
    name: str
    instance_index: Annotated[int, Field(ge=0)] | None
    ray_origin: _Vector
    ray_direction: _Vector
    screen_pos: _Place
    modifier: _Modifier
    owner: _Owner


class _NodeDrag(_Message):
    """A drag of something in the scene."""

    type: Literal["SceneNodeDragMessage"]
    phase: Literal["start", "update", "end"]
    name: str
    instance_index: Annotated[int, Field(ge=0)] | None
    start_position: _Vector
    start_screen_pos: _Place
    end_position: _Vector
    end_screen_pos: _Place
    button: Literal["left", "middle", "right"]
    modifier: _Modifier
    owner: _Owner


class _SceneClick(_Message):
    """A click anywhere in the scene, or a rectangle drawn there."""

    type: Literal["ScenePointerMessage"]
    event_type: Literal["click", "rect-select"]
    ray_origin: _Vector | None
    ray_direction: _Vector | None
    screen_pos: Annotated[list[_Place], Field(min_length=1, max_length=2)]
    modifier: _Modifier

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.event_type == "click" and None in (self.ray_origin, self.ray_direction):
            raise ValueError("expected a ray")
        if self.event_type == "rect-select" and len(self.screen_pos) != 2:
            raise ValueError("expected two corners")
        return self


class _Picture(_Message):
    """A picture of what the page shows, as an image file."""

    type: Literal["GetRenderResponseMessage"]
    payload: bytes
    render_uuid: str


_MESSAGE: TypeAdapter[
    _CameraPose | _ControlUpdate | _GizmoUpdate | _GizmoGrip | _NodeClick | _NodeDrag | _SceneClick | _Picture
] = TypeAdapter(
    Annotated[
        _CameraPose | _ControlUpdate | _GizmoUpdate | _GizmoGrip | _NodeClick | _NodeDrag | _SceneClick | _Picture,
        Field(discriminator="type"),
    ]
)


class Controls:
    """What pages may change: the values that each control of the panel can have, and the scene's nodes and clicks."""

    def __init__(self) -> None:
        self._controls: dict[str, tuple[Any, Callable[[Any], bool]]] = {}
        self._nodes: set[str] = set()
        self._pictures = 0
        self.scene_clicks = False
        """Whether clicks in the scene are taken."""

    def add(self, handle: Any) -> None:
        """Let pages change a control: a slider within its range, a dropdown to its options, all else to a bool."""
        allows: Callable[[Any], bool]
        if isinstance(handle, viser.GuiSliderHandle):
            allows = _allows_range(handle.min, handle.max, whole=isinstance(handle.value, int))
        elif isinstance(handle, viser.GuiMultiSliderHandle):
            allows = _allows_ascending(handle.min, handle.max, len(handle.value))
        elif isinstance(handle, viser.GuiDropdownHandle):
            allows = tuple(handle.options).__contains__
        elif isinstance(handle, viser.GuiRgbHandle):
            allows = _is_color
        else:
            allows = _is_bool
        self._controls[handle._impl.uuid] = handle, allows

    def forget_removed(self) -> None:
        """Let pages no longer change controls that were removed from the panel, and let go of what these called."""
        for uuid, (handle, _) in list(self._controls.items()):
            if handle._impl.removed:
                del self._controls[uuid]
                # It and what it calls hold each other, and with them all that was shown, until Python looks for such
                # circles among all objects, which is seldom.
                handle._impl.update_cb.clear()

    def add_node(self, name: str) -> None:
        """Let pages click or drag a node of the scene, such as a gizmo."""
        self._nodes.add(name)

    def forget_node(self, name: str) -> None:
        """Let pages no longer click or drag a node of the scene."""
        self._nodes.discard(name)

    @contextmanager
    def picture(self) -> Iterator[None]:
        """Let a page send a picture within the block."""
        self._pictures += 1
        try:
            yield
        finally:
            self._pictures -= 1

    def accept(self, message: bytes | str) -> bool:
        """Return whether a page's message may reach viser."""
        if isinstance(message, str) or len(message) > (LARGEST_PICTURE if self._pictures else _LARGEST_MESSAGE):
            return False
        try:
            found = _MESSAGE.validate_python(msgspec.msgpack.decode(message))
        except (msgspec.DecodeError, ValidationError, ValueError, RecursionError):
            return False
        match found:
            case _CameraPose():
                return True
            case _ControlUpdate():
                known = self._controls.get(found.uuid)
                return known is not None and known[1](found.updates.value)
            case _GizmoUpdate() | _GizmoGrip() | _NodeClick() | _NodeDrag():
                return found.name in self._nodes
            case _SceneClick():
                return self.scene_clicks
            case _Picture():
                return self._pictures > 0


def _allows_ascending(low: float, high: float, count: int) -> Callable[[Any], bool]:
    number = _allows_range(low, high, whole=False)

    def allows(value: Any) -> bool:
        return isinstance(value, list) and len(value) == count and all(map(number, value)) and value == sorted(value)

    return allows


def _is_color(value: Any) -> bool:
    channel = _allows_range(0, 255, whole=True)
    return isinstance(value, list) and len(value) == 3 and all(map(channel, value))


def _allows_range(low: float, high: float, whole: bool) -> Callable[[Any], bool]:
    def allows(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return False
        return not whole or value == int(value)

    return allows


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)
