"""This module draws Gaussians in motion before a background from several views, and streams them to files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from tqdm import tqdm

from dataset.rendering.background import ground_plane, load_background
from dataset.rendering.clip_writer import ClipWriter, Outputs, encoder_threads
from dataset.rendering.settings import PictureSettings
from dataset.rendering.shadows import FLOOR_THICKNESS, floor_light
from dataset.rendering.views import View
from gaussians.cameras import Cameras, Orbit, look_at
from gaussians.rasterization import Rendered, instance_masks, rasterize
from gaussians.representation import Gaussians
from gaussians.stage.memory import check_memory

_JITTER = 0.01
_JITTER_KEYFRAMES = 10


_BYTES_OF_A_PIXEL = 44  # of a view: the picture, its depth and opacity, and three frames on their way to files


@dataclass(frozen=True)
class SceneRenderer:
    """Draws scenes; holds what stays the same from picture to picture.

    Attributes:
        orbit: the orbit on which cameras stand.
        resolution: width and height of the pictures, pixels.
        background: static Gaussians drawn with every frame, or None.
        white: whether the backdrop is white instead of black.
        sh_degree: the degree at which colours are cut off.
        device: where to draw.
        shadows: whether objects cast shadows onto the floor.
    """

    orbit: Orbit
    resolution: int
    background: Gaussians | None = None
    white: bool = False
    sh_degree: int = 2
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    shadows: bool = False

    def __post_init__(self) -> None:
        if self.background is not None:
            # Concatenating covariances every frame is cheaper than computing them every frame.
            placed = self.background.with_covariances().to(self.device)
            object.__setattr__(self, "background", placed.with_sh_degree(min(self.sh_degree, placed.sh_degree)))

    def cameras(self, view: View, num_frames: int) -> Cameras:
        """Return one camera a frame on the renderer's device, see ``view_cameras``."""
        return view_cameras(view, self.orbit, self.resolution, num_frames).to(self.device)

    def draw(self, gaussians: Gaussians, cameras: Cameras, accumulated_depth: bool = False) -> Rendered:
        """Return images and depth of ``gaussians`` before the background at all ``cameras``."""
        return rasterize(
            self._scene(gaussians, self.shadows),
            cameras.to(self.device),
            background=torch.full((3,), float(self.white), device=self.device),
            depth="accumulated" if accumulated_depth else "expected",
        )

    def masks(self, gaussians: Gaussians, cameras: Cameras, num_objects: int) -> torch.Tensor:
        """Return which object each pixel shows, (C, H, W) uint8: the label + 1, 0 for none."""
        return instance_masks(self._scene(gaussians), cameras.to(self.device), num_objects)

    def _scene(self, gaussians: Gaussians, shadows: bool = False) -> Gaussians:
        moving = gaussians.to(self.device)
        parts = [moving.with_sh_degree(min(self.sh_degree, moving.sh_degree))]
        if shadows:
            light = floor_light(moving)
            parts.append(light.sheet())
        if self.background is not None:
            parts.append(self.background)
        if shadows and self.background is not None:
            near = ((self.background.means[:, 2] - light.floor).abs() < FLOOR_THICKNESS).nonzero().squeeze(1)
            sh = self.background.sh.index_copy(0, near, light.darkened(self.background[near]))
            parts[-1] = replace(self.background, sh=sh)
        return Gaussians.cat(parts) if len(parts) > 1 else parts[0]


def create_renderer(
    settings: PictureSettings, orbit: Orbit, device: torch.device, background: Path | None
) -> SceneRenderer:
    """Return a renderer of pictures as ``settings`` ask for them.

    Args:
        background: the one of the settings' backgrounds that is to be drawn; None: a checkered ground.

    Raises:
        InputError: the background is missing or damaged.
    """
    placed = load_background(background) if background else ground_plane()
    look = settings.white, settings.sh_degree, device, settings.shadows
    return SceneRenderer(orbit, settings.resolution, placed, *look)


def check_pictures(settings: PictureSettings) -> None:
    """Refuse pictures that do not fit into memory, before any work is done.

    Raises:
        InputError: those of one frame take more than there is.
    """
    views, side = len(settings.views), settings.resolution
    what = f"--resolution {side}" + (f" of {views} views" if views > 1 else "")
    check_memory(_BYTES_OF_A_PIXEL * views * side**2, what)


def view_cameras(view: View, orbit: Orbit, resolution: int, num_frames: int, seed: int = 0) -> Cameras:
    """Return one camera a frame, ``num_frames`` in all.

    A moving camera is at view k of the orbit at frame k. With jitter its positions are shaken by 1 % of the mean
    distance, drawn at ten keyframes and linear between them.

    Args:
        resolution: width and height of the pictures, pixels.
        seed: of the jitter.
    """
    if view.number is not None:
        return orbit.cameras([view.number] * num_frames, resolution)
    cameras = orbit.cameras(range(num_frames), resolution)
    if view.name == "circle360":
        return cameras
    center = torch.tensor(orbit.center)
    positions = cameras.positions
    amplitude = _JITTER * (positions - center).norm(dim=1).mean()
    generator = torch.Generator().manual_seed(seed)
    keyframes = amplitude * torch.randn(1, 3, _JITTER_KEYFRAMES, generator=generator)
    shake = torch.nn.functional.interpolate(keyframes, num_frames, mode="linear", align_corners=True)
    return look_at(positions + shake[0].T, center, resolution, resolution, 1.5 * resolution)


def cameras_at(paths: Sequence[Cameras], frame: int) -> Cameras:
    """Return the cameras of several views at one frame, as one batch."""
    rows = slice(frame, frame + 1)
    viewmats = torch.cat([path.viewmats[rows] for path in paths])
    return Cameras(viewmats, torch.cat([path.Ks[rows] for path in paths]), paths[0].width, paths[0].height)


def write_clip(
    renderer: SceneRenderer,
    frames: Iterable[Gaussians],
    num_frames: int,
    views: Sequence[tuple[View, Path]],
    fps: float,
    outputs: Outputs = Outputs(),  # noqa: B008  it is frozen
    num_objects: int = 0,
    num_encoders: int | None = None,
) -> None:
    """Draw ``frames`` once for all views and stream each view to its files.

    Args:
        frames: the moving Gaussians, ``num_frames`` of them, with labels if masks are asked for.
        views: the views, each with its video's path.
        fps: frames per second of the videos.
        outputs: which files to write of each view.
        num_objects: number of objects that the masks tell apart.
        num_encoders: number of videos among which to share the machine's cores, None for that of ``views``. The
            number of an encoder's threads decides bits of what it writes.
    """
    cameras = [renderer.cameras(view, num_frames) for view, _ in views]
    paths, threads = [path for _, path in views], encoder_threads(num_encoders or len(views))
    progress = tqdm(frames, total=num_frames, desc=f"render {paths[0].stem}", unit="frame", leave=False)
    with ClipWriter(paths, num_frames, fps, outputs, renderer.device, threads) as writer:
        for k, gaussians in enumerate(progress):
            at_once = cameras_at(cameras, k)
            masks = renderer.masks(gaussians, at_once, num_objects) if outputs.masks else None
            writer.write(renderer.draw(gaussians, at_once).rgb, masks)
