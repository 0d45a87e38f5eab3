"""Write videos of a scene as it was simulated and as models predict it, side by side.

Keypoints are drawn as small Gaussians in the colours that their objects have there, lit from above, over a grid on the
floor with cells of 0.5 m. Where a trajectory holds no colours, each object gets one of its own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from dynamic_models.data.scene_state import equal_shares
from dynamic_models.data.windows import SimulatedScene
from dynamic_models.models.building_blocks.body_frame import centers
from gaussians.cameras import Cameras, Orbit
from gaussians.captions import gravity_caption
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.files.video import VideoWriter, to_uint8
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh, sh_to_rgb

# Okabe and Ito's palette, which colour-blind people can tell apart.
_LABEL_COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#777777")
_AZIMUTH, _ELEVATION = 30.0, 22.0  # degrees
_DISTANCE = 3.4  # radii of the sphere around all motion, which then fills the picture
_CELL = 0.5  # metres
_SPOTS = 10  # Gaussians in a cell's side
_INK, _PAPER = 0.72, 1.0
_FLOOR_GAP = 2e-3  # metres between floor and shadow
_SPREAD = 0.5  # standard deviation of a keypoint's Gaussian over the distance to its nearest neighbour
_LIGHT = torch.nn.functional.normalize(torch.tensor([0.5, -0.3, 0.8]), dim=0)  # where it comes from
_SHADE = 0.6  # how much darker it is on the far side
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
        InputError: the file cannot be written, or the colours in the scene's trajectory are damaged.
    """
    camera = _camera(scene, frames, resolution)
    ground = _grid(scene).to(device)
    colors = _colors(scene)
    drawn = [(tile, _balls(scene, colors, tile.positions.shape[2])) for tile in tiles]
    gravity = gravity_caption(scene.world.gravity)
    with VideoWriter(path, max(1, round(1 / scene.frame_dt))) as writer:
        for k in range(frames):
            pictures = []
            for tile, balls in drawn:
                picture = _draw(tile.positions[k], balls, ground, scene, camera, device)
                pictures.append(_captioned(picture, tile.title, tile.subtitle))
            below = f"{scene.name}   {gravity}   {k * scene.frame_dt:.2f} s"
            writer.write(_with_text_below(np.concatenate(pictures, 1), below))


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


def _colors(scene: SimulatedScene) -> torch.Tensor:
    """Return the colours (O, P, 3) of keypoints without light."""
    mask, rows = scene.clip.mask, scene.clip.rows.clamp_min(0)
    if scene.trajectory is not None and (scene.trajectory / "shs.h5").is_file():
        sh = TrajectoryReader(scene.trajectory).sh[rows][..., :1, :]
        colors = sh_to_rgb(sh, torch.zeros(3)).clamp_max(1)
        if bool((colors[mask].amax(0) > colors[mask].amin(0)).any()):  # all of one colour are hard to tell apart
            return colors
    of_object = [[int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)] for color in _LABEL_COLORS]
    labels = torch.arange(len(mask)) % len(_LABEL_COLORS)
    # Darker where there was no light in frame 0, so that one sees objects of one colour turn.
    return torch.tensor(of_object)[labels, None] * _lit(scene.clip.positions[0], mask)[..., None]


def _lit(positions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return how bright keypoints (O, P, 3) are, (O, P), as if each lay on a ball about its object's centre."""
    middles = centers(positions, equal_shares(mask))
    normals = torch.nn.functional.normalize(positions - middles[:, None], dim=-1)
    return 1 - _SHADE * (1 - normals @ _LIGHT) / 2


class _Balls(NamedTuple):
    """A ``_Balls`` is what the first P keypoints of each object look like.

    Attributes:
        mask: (O, P), which of them exist, M in all.
        colors: (O, P, 3), without light.
        sizes: (M,), standard deviations, metres.
    """

    mask: torch.Tensor
    colors: torch.Tensor
    sizes: torch.Tensor


def _balls(scene: SimulatedScene, colors: torch.Tensor, count: int) -> _Balls:
    mask = scene.clip.mask[:, :count]
    sizes = []
    for start, own in zip(scene.clip.positions[0, :, :count], mask, strict=True):
        distances = torch.cdist(start[own], start[own]).fill_diagonal_(torch.inf).amin(1)
        sizes.append(distances.clamp(2e-3, 0.05).median().expand(len(distances)) * _SPREAD)
    return _Balls(mask, colors[:, :count], torch.cat(sizes))


def _draw(
    positions: torch.Tensor,
    balls: _Balls,
    ground: Gaussians,
    scene: SimulatedScene,
    camera: Cameras,
    device: torch.device,
) -> np.ndarray:
    """Draw keypoints (O, P, 3), metres, over the ground: (H, W, 3) uint8."""
    points = positions[balls.mask]
    colors = (balls.colors * _lit(positions, balls.mask)[..., None])[balls.mask]
    shape = torch.zeros(len(points), 6)
    shape[:, [0, 3, 5]] = balls.sizes[:, None] ** 2
    objects = Gaussians(points, torch.full((len(points),), 0.95), rgb_to_sh(colors), covariances=shape)
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


def _with_text_below(picture: np.ndarray, text: str) -> np.ndarray:
    image = Image.fromarray(picture)
    size = max(8, round(len(picture) / _CAPTION * 0.7))
    ImageDraw.Draw(image).text(
        (size // 2, len(picture) - 1.7 * size), text, font=ImageFont.load_default(size), fill="#555555"
    )
    return np.asarray(image)
