"""Draw the cameras of cameras.json as frustums; a click on one looks through it."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import viser

from gaussians.cameras import Cameras
from gaussians.rotations import matrix_to_quaternion
from tools.viewer.serving.allowed_messages import Controls

_COLOR = (40, 110, 180)


class CameraFrustums:
    """A ``CameraFrustums`` is a frustum for each of C cameras.

    Args:
        scene: where they are drawn.
        controls: what lets pages click on them.
        cameras: what is drawn.
        size: diagonal of what is shown, metres.
        clicked: is called, in a thread of the server's, with the number of a camera and the browser.
    """

    def __init__(
        self,
        scene: viser.SceneApi,
        controls: Controls,
        cameras: Cameras,
        size: float,
        clicked: Callable[[int, viser.ClientHandle], None],
    ) -> None:
        self.cameras = cameras
        self._parent = scene.add_frame("/cameras", show_axes=False)
        rotations = matrix_to_quaternion(cameras.viewmats[:, :3, :3].mT).numpy()
        for number, (wxyz, position) in enumerate(zip(rotations, cameras.positions.numpy(), strict=True)):
            node = scene.add_camera_frustum(
                f"/cameras/{number}",
                fov=field_of_view(cameras, number),
                aspect=cameras.width / cameras.height,
                scale=size / 15,
                thickness=1.5,
                thickness_units="screen",
                color=_COLOR,
                wxyz=wxyz,
                position=position,
            )
            controls.add_node(node.name)
            node.on_click(partial(_pass_on, clicked, number))

    def show(self, visible: bool) -> None:
        """Show or hide all of them."""
        self._parent.visible = visible

    def look_through(self, number: int, client: viser.ClientHandle) -> None:
        """Put a browser's camera where a camera is."""
        viewmat = self.cameras.viewmats[number]
        position = self.cameras.positions[number]
        rotation = viewmat[:3, :3].T
        distance = float(np.linalg.norm(np.asarray(client.camera.look_at) - client.camera.position))
        with client.atomic():
            client.camera.fov = field_of_view(self.cameras, number)
            client.camera.wxyz = matrix_to_quaternion(rotation).numpy()
            client.camera.position = position.numpy()
            client.camera.look_at = (position + rotation @ torch.tensor([0.0, 0.0, max(distance, 1e-3)])).numpy()
            client.camera.up_direction = (-rotation[:, 1]).numpy()


def _pass_on(
    clicked: Callable[[int, viser.ClientHandle], None], number: int, event: viser.SceneNodePointerEvent[Any]
) -> None:
    clicked(number, event.client)


def field_of_view(cameras: Cameras, number: int) -> float:
    """Return a camera's vertical field of view, radians."""
    return 2 * math.atan(cameras.height / (2 * float(cameras.Ks[number, 1, 1])))
