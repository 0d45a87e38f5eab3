"""Draw the ground, the axes and the simulation box, which say where up is and how large things are."""

import math

import numpy as np
import torch
import viser

from gaussians.files.splats.splat_rows import UPRIGHT
from gaussians.files.trajectory_format import Walls
from tools.viewer.scene.layers import Stage

_BOX_TOP = 1.0
_BOX_COLOR = (110, 110, 110)
_GRID_PLANES = {"x": "yz", "y": "xz", "z": "xy"}
_VIEW_FROM = (0.6, -0.7, 0.4)  # from the middle, with z up
_GAP = 1.2  # in a row, widths of what is shown from one source to the next
_STRAY = (0.02, 0.98)  # quantiles: what lies outside may be stray Gaussians far away


class Guides:
    """A ``Guides`` is the ground's grid, the axes and the box of a scene, each of which can be hidden.

    Args:
        scene: where they are drawn.
        stage: what they are drawn for.

    Attributes:
        size: diagonal of what is shown, metres.
        center: (3,), the middle of it, metres.
        low, high: (3,), its corners, metres.
        sideways: (3,), what takes a copy of it to the right of it in a new page's view, metres.
    """

    def __init__(self, scene: viser.SceneApi, stage: Stage) -> None:
        points = visited_points(stage)
        low, high = self.low, self.high = extent(points)
        self.center = (low + high) / 2
        self.sideways = _sideways(points, stage.up)
        self.size = max(float(np.linalg.norm(high - low)), 1e-3)
        walls = next((layer.source.walls for layer in stage.layers if layer.source.walls), None)
        axis, sign = stage.up[-1], -1.0 if stage.up.startswith("-") else 1.0
        index = "xyz".index(axis)
        place = np.zeros(3)
        if walls is not None and stage.up == "z":
            place[2], width, cell = walls.floor, walls.x[1] - walls.x[0], 0.2
        else:
            # Under the lowest Gaussians, in round cells of about a tenth of the scene.
            cell = 10.0 ** round(math.log10(self.size / 10))
            width = 2 * math.ceil(self.size / cell) * cell
            place = np.round(self.center / cell) * cell
            place[index] = low[index] if sign > 0 else high[index]
        self.grid = scene.add_grid(
            "/grid",
            width,
            width,
            plane=_GRID_PLANES[axis],  # type: ignore[arg-type]
            cell_size=cell,
            section_size=5 * cell,
            shadow_opacity=0.0,
            position=place,
            visible=stage.background is None,  # which has a ground of its own
        )
        self.axes = scene.add_frame(
            "/axes", axes_length=self.size / 4, axes_radius=self.size / 400, origin_radius=self.size / 200
        )
        self.box: viser.LineSegmentsHandle | None = None
        if walls is not None:
            segments = box_segments(walls)
            self.box = scene.add_line_segments("/box", segments, _BOX_COLOR, thickness=0.01)


def visited_points(stage: Stage) -> np.ndarray:
    """Return the means (N, 3) of all layers at their first, middle and last frame, metres."""
    return torch.cat(
        [
            layer.source.frame(number, ()).means
            for layer in stage.layers
            for number in sorted({0, layer.source.frame_count // 2, layer.source.frame_count - 1})
        ]
    ).numpy()


def extent(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper corner (3,) of points (N, 3), but for strays."""
    low, high = np.quantile(points, _STRAY, axis=0)
    return low, high


def _sideways(points: np.ndarray, up: str) -> torch.Tensor:
    """Return the vector (3,) along the right of a new page's view by more than what points (N, 3) take up there."""
    right = np.cross(_VIEW_FROM, (0, 0, -1.0))
    right = UPRIGHT[up].numpy().T @ (right / np.linalg.norm(right))
    low, high = np.quantile(points @ right, _STRAY)
    return torch.from_numpy(_GAP * (high - low) * right).float()


def look_at(server: viser.ViserServer, guides: Guides, up: str, copies: int = 1) -> None:
    """Show all pages, also those to come, all that there is, a little from above.

    Args:
        copies: how many copies of it stand in a row.
    """
    # Far enough for a row of two to end left of the panel in a window of 1280 by 800 pixels.
    distance = 1.2 * guides.size + 0.8 * (copies - 1) * float(guides.sideways.norm())
    position = guides.center + distance * UPRIGHT[up].numpy().T @ np.array(_VIEW_FROM)
    new = server.initial_camera
    new.near, new.position, new.look_at = guides.size / 100, position, guides.center
    for client in server.get_clients().values():
        client.camera.position = position  # which moves what is looked at, too
        client.camera.look_at = guides.center


def box_segments(walls: Walls) -> np.ndarray:
    """Return the edges (12, 2, 3) of the simulation box, drawn up to 1 m though it is open above."""
    return cuboid_segments(
        np.array([walls.x[0], walls.y[0], walls.floor]), np.array([walls.x[1], walls.y[1], _BOX_TOP])
    )


def cuboid_segments(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the edges (12, 2, 3) of the cuboid between two corners (3,)."""
    bits = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    corners = np.where(bits == 1, high, low)
    pairs = [(i, j) for i in range(8) for j in range(i + 1, 8) if (i ^ j).bit_count() == 1]
    return corners[pairs]
