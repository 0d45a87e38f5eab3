"""Write videos of a scene as it was simulated and as models predict it, side by side.

Keypoints are drawn as small Gaussians in the colour of their object, over a grid on the floor with cells of 0.5 m.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from dynamic_models.data.windows import SimulatedScene
from gaussians.cameras import Cameras, Orbit
from gaussians.files.video import VideoWriter, to_uint8
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh

# Okabe and Ito's palette, which colour-blind people can tell apart.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#777777")
_AZIMUTH, _ELEVATION = 30.0, 22.0  # degrees
_DISTANCE = 3.4  # radii of the sphere around all motion, which then fills the picture
_CELL = 0.5  # metres
_SPOTS = 10  # Gaussians in a cell's side
_INK, _PAPER = 0.72, 1.0
_FLOOR_GAP = 2e-3  # metres between floor and shadow
_SPREAD = 0.5  # standard deviation of a keypoint's Gaussian over the distance to its nearest neighbour
_CAPTION = 14  # lines of text in the height of a picture


class Tile(NamedTuple):
    """A ``Tile`` is one column of a video.

    Attributes:
        title, subtitle: text at its top.
        positions: (T, O, P, 3), metres, any number of each object's first keypoints.
    """

    title: str
    subtitle: str
    positions: torch.Tensor


def write_comparison(
    path: Path, scene: SimulatedScene, tiles: Sequence[Tile], frames: int, resolution: int, device: torch.device
) -> None:
    """Write ``tiles`` next to each other as an .mp4 that plays in real time.

    Args:
        path: the .mp4 to write.
        scene: what all tiles show; the camera keeps its simulated motion in view.
        frames: how many to draw.
        resolution: width and height of a tile, pixels.
        device: where to draw.

    Raises:
        InputError: the file cannot be written.
    """
    camera = _camera(scene, frames, resolution)
    ground = _grid(scene).to(device)
    drawn = [(tile, _balls(scene, tile.positions.shape[2])) for tile in tiles]
    with VideoWriter(path, max(1, round(1 / scene.frame_dt))) as writer:
        for k in range(frames):
            pictures = []
            for tile, balls in drawn:
                points = tile.positions[k][scene.clip.mask[:, : tile.positions.shape[2]]]
                picture = _draw(points, balls, ground, scene, camera, device)
                pictures.append(_captioned(picture, tile.title, tile.subtitle))
            writer.write(_with_time(np.concatenate(pictures, 1), f"{scene.name}   {k * scene.frame_dt:.2f} s"))


def _camera(scene: SimulatedScene, frames: int, resolution: int) -> Cameras:
    """Return a camera that sees all of the simulated motion."""
    seen = scene.clip.positions[:frames, scene.clip.mask]
    low, high = seen.amin((0, 1)), seen.amax((0, 1))
    center = ((low + high) / 2).tolist()
    radius = _DISTANCE * max(float((high - low).norm()) / 2, 0.05)
    return Orbit((center[0], center[1], center[2]), _AZIMUTH, _ELEVATION, radius).cameras([0], resolution)


def _grid(scene: SimulatedScene) -> Gaussians:
    """Return lines on the floor, as wide as the box, or as 4 m around the origin where there are no walls."""
    x_min, x_max, y_min, y_max, floor = scene.world.walls
    reach = min(2.0, *map(abs, (x_min, x_max, y_min, y_max)))
    places = torch.arange(-reach, reach + 1e-6, _CELL / _SPOTS)
    lines = torch.arange(-reach, reach + 1e-6, _CELL)
    along, across = (grid.flatten() for grid in torch.meshgrid(places, lines, indexing="ij"))
    level = torch.full_like(along, floor)
    means = torch.cat([torch.stack([along, across, level], -1), torch.stack([across, along, level], -1)])
    long, thin, flat = (_CELL / _SPOTS) ** 2 / 4, 4e-3**2, 1e-3**2
    shape = torch.tensor([[long, 0, 0, thin, 0, flat], [thin, 0, 0, long, 0, flat]]).repeat_interleave(len(along), 0)
    opacities = torch.full((len(means),), 0.0 if floor < -1e3 else 0.6)
    return Gaussians(means, opacities, rgb_to_sh(torch.full((len(means), 3), _INK)), covariances=shape)


class _Balls(NamedTuple):
    colors: torch.Tensor  # (M, 3)
    sizes: torch.Tensor  # (M,), metres


def _balls(scene: SimulatedScene, count: int) -> _Balls:
    """Return the looks of the first ``count`` keypoints, lit from above in frame 0, so that one sees them turn."""
    mask = scene.clip.mask[:, :count]
    start = scene.clip.positions[0, :, :count]
    colors, sizes = [], []
    for i, own in enumerate(mask):
        points = start[i, own]
        distances = torch.cdist(points, points).fill_diagonal_(torch.inf).amin(1)
        sizes.append(distances.clamp(2e-3, 0.05).median().expand(len(points)) * _SPREAD)
        arms = torch.nn.functional.normalize(points - points.mean(0), dim=-1)
        light = 0.7 + 0.3 * arms @ torch.nn.functional.normalize(torch.tensor([0.5, -0.3, 0.8]), dim=0)
        color = torch.tensor([int(_COLORS[i % len(_COLORS)][k : k + 2], 16) / 255 for k in (1, 3, 5)])
        colors.append(light[:, None] * color)
    return _Balls(torch.cat(colors), torch.cat(sizes))


def _draw(
    points: torch.Tensor, balls: _Balls, ground: Gaussians, scene: SimulatedScene, camera: Cameras, device: torch.device
) -> np.ndarray:
    """Draw keypoints (M, 3), metres, over the ground: (H, W, 3) uint8."""
    shape = torch.zeros(len(points), 6)
    shape[:, [0, 3, 5]] = balls.sizes[:, None] ** 2
    objects = Gaussians(points, torch.full((len(points),), 0.95), rgb_to_sh(balls.colors), covariances=shape)
    parts = [ground, objects.to(device)]
    floor = scene.world.walls[4]
    if floor > -1e3:
        below = torch.cat([points[:, :2], torch.full_like(points[:, :1], floor + _FLOOR_GAP)], 1)
        flat = shape.clone() * 4
        flat[:, 5] = 1e-6
        # So opaque that the shadows of all points together are grey, however many points there are.
        dark = torch.full((len(points),), min(0.9, 12 / len(points) + 0.03))
        shadow = Gaussians(below, dark, rgb_to_sh(torch.full((len(points), 3), 0.35)), covariances=flat)
        parts.append(shadow.to(device))
    image = rasterize(Gaussians.cat(parts), camera, background=torch.full((3,), _PAPER)).rgb[0]
    return to_uint8(image).cpu().numpy()


def _captioned(picture: np.ndarray, title: str, subtitle: str) -> np.ndarray:
    image = Image.fromarray(picture)
    size, draw = max(9, len(picture) // _CAPTION), ImageDraw.Draw(image)
    draw.text((size // 2, size // 3), title, font=ImageFont.load_default(size), fill="black")
    small = ImageFont.load_default(max(8, round(size * 0.7)))
    draw.text((size // 2, size // 3 + 1.2 * size), subtitle, font=small, fill="#555555")
    return np.asarray(image)


def _with_time(picture: np.ndarray, text: str) -> np.ndarray:
    image = Image.fromarray(picture)
    size = max(8, round(len(picture) / _CAPTION * 0.7))
    ImageDraw.Draw(image).text(
        (size // 2, len(picture) - 1.7 * size), text, font=ImageFont.load_default(size), fill="#555555"
    )
    return np.asarray(image)
