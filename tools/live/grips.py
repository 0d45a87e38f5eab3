"""Let people take objects with the mouse: what is dragged becomes an arrow, which pushes when it is let go.

Splats themselves cannot be taken. So each object has a grip around it: an ellipsoid that is not seen.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import trimesh
import viser
from trimesh.visual.material import PBRMaterial

from tools.live.palette import Box
from tools.viewer.serving.panel import Panel

_ARROW = "/push"
_COLORS = {"push": (220, 60, 20), "twist": (120, 40, 200)}
_ROOM = 1.05  # a grip's size over that of its object's keypoints
_TOLERANCE = 0.1  # of a grip's size

Drag = Callable[[str, int, torch.Tensor, torch.Tensor], None]
"""Is called with "push" or "twist", the label of the object, where it was taken (3,), and the arrow (3,), metres."""


class Grips:
    """A ``Grips`` is the grips of all objects, and the arrow that is drawn while one is dragged.

    Args:
        panel: on whose server's page they are.
        chosen: is called with the label of an object that is clicked on or taken.
        dragged: is called when an arrow is let go.
    """

    def __init__(self, panel: Panel, chosen: Callable[[int], None], dragged: Drag) -> None:
        self._panel, self._chosen, self._dragged = panel, chosen, dragged
        self._nodes: dict[int, viser.GlbHandle] = {}
        self._arrow: viser.ArrowsHandle | None = None

    def follow(self, boxes: dict[int, Box]) -> None:
        """Put the grips where the objects are, (3,) corners, metres."""
        for label in [label for label in self._nodes if label not in boxes]:
            self._remove(label)
        for label, (low, high) in boxes.items():
            node = self._nodes.get(label) or self._add(label)
            node.position = ((low + high) / 2).numpy()
            size = ((high - low) / 2 * _ROOM).clamp_min(0.02)
            # A page builds a node anew for another size, not for another place.
            if ((size / torch.tensor(node.scale) - 1).abs() > _TOLERANCE).any():
                x, y, z = size.tolist()
                node.scale = (x, y, z)

    def clear(self) -> None:
        """Remove all of them."""
        for label in list(self._nodes):
            self._remove(label)
        self._draw("push", None, None)

    def _add(self, label: int) -> viser.GlbHandle:
        node = self._nodes[label] = self._panel.server.scene.add_mesh_trimesh(
            f"/grips/{label}", _unseen_sphere(), cast_shadow=False, receive_shadow=False
        )
        self._panel.controls.add_node(node.name)

        # Asynchronous functions are called in the order of what happens.
        async def push(event: viser.SceneNodeDragEvent[Any]) -> None:
            self._panel.ask(partial(self._drag, "push", label, event))

        async def twist(event: viser.SceneNodeDragEvent[Any]) -> None:
            self._panel.ask(partial(self._drag, "twist", label, event))

        node.on_drag("left")(push)
        node.on_drag("left", modifier="shift")(twist)
        node.on_click(lambda _: self._panel.ask(partial(self._chosen, label)))
        return node

    def _remove(self, label: int) -> None:
        node = self._nodes.pop(label)
        self._panel.controls.forget_node(node.name)
        node.remove()

    def _drag(self, kind: str, label: int, event: viser.SceneNodeDragEvent[Any]) -> None:
        if label not in self._nodes:
            return
        start, end = (torch.tensor(place, dtype=torch.float32) for place in (event.start_position, event.end_position))
        if event.phase == "start":
            self._chosen(label)
        if event.phase == "end":
            self._draw(kind, None, None)
            self._dragged(kind, label, start, end - start)
        else:
            self._draw(kind, start, end)

    def _draw(self, kind: str, start: torch.Tensor | None, end: torch.Tensor | None) -> None:
        if self._arrow is not None:
            self._arrow.remove()
            self._arrow = None
        if start is None or end is None or float((end - start).norm()) < 1e-3:
            return
        points = torch.stack([start, end])[None].numpy()
        self._arrow = self._panel.server.scene.add_arrows(
            _ARROW, points, np.array(_COLORS[kind]), shaft_radius=0.012, head_radius=0.03, head_length=0.08
        )


def _unseen_sphere() -> trimesh.Trimesh:
    """Return a sphere of radius 1 m that is not drawn and, other than viser's own with no opacity, hides nothing."""
    sphere = trimesh.creation.icosphere(subdivisions=2, radius=1.0)
    material = PBRMaterial(baseColorFactor=[0, 0, 0, 0], alphaMode="BLEND")
    sphere.visual = trimesh.visual.TextureVisuals(material=material)
    return sphere
