"""Drawing clips: Gaussians in motion before a background, from several views, streamed to files."""

from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from dataset.rendering.background import ground_plane, load_background
from dataset.rendering.clip_writer import ClipWriter, Outputs, encoder_threads
from dataset.rendering.views import View, cameras_at, chosen_views, parse_views
from gaussians.cameras import Cameras, Orbit
from gaussians.rasterization import Rendered, instance_masks, rasterize
from gaussians.representation import Gaussians
from gaussians.stage.command_line import ArgumentParser
from gaussians.stage.errors import InputError


@dataclass(frozen=True)
class SceneRenderer:
    """What stays the same from picture to picture.

    Attributes:
        orbit: the cameras' orbit.
        resolution: width and height, pixels.
        background: static Gaussians drawn with every frame, or None.
        white: a white backdrop instead of a black one.
        sh_degree: colours are cut off at this degree.
        device: where to draw.
    """

    orbit: Orbit
    resolution: int
    background: Gaussians | None
    white: bool
    sh_degree: int
    device: torch.device

    def __post_init__(self) -> None:
        if self.background is not None:
            # Concatenating covariances every frame is cheaper than computing them every frame.
            placed = self.background.with_covariances().to(self.device)
            object.__setattr__(self, "background", placed.with_sh_degree(min(self.sh_degree, placed.sh_degree)))

    def draw(self, gaussians: Gaussians, cameras: Cameras, accumulated_depth: bool = False) -> Rendered:
        """Images of ``gaussians`` before the background at all ``cameras``."""
        return rasterize(
            self._scene(gaussians),
            cameras.to(self.device),
            background=torch.full((3,), float(self.white), device=self.device),
            depth="accumulated" if accumulated_depth else "expected",
        )

    def masks(self, gaussians: Gaussians, cameras: Cameras, num_objects: int) -> torch.Tensor:
        """Which object each pixel shows, (C, H, W) uint8: label + 1 of the labelled ``gaussians``, 0 for none."""
        return instance_masks(self._scene(gaussians), cameras.to(self.device), num_objects)

    def _scene(self, gaussians: Gaussians) -> Gaussians:
        moving = gaussians.to(self.device)
        moving = moving.with_sh_degree(min(self.sh_degree, moving.sh_degree))
        return moving if self.background is None else Gaussians.cat([moving, self.background])


def add_picture_arguments(parser: ArgumentParser, several_backgrounds: bool = False) -> None:
    """The flags that say what pictures look like and from where: of every command that renders scenes."""
    parser.add_argument("--config", type=Path, required=True, help="JSON of settings, e.g. config/dynamic_config.json")
    if several_backgrounds:
        parser.add_argument(
            "--background_path",
            type=Path,
            nargs="+",
            help="background directories, PLY files, or directories of backgrounds; none: a checkered ground",
        )
    else:
        parser.add_argument(
            "--background_path", type=Path, help="background directory or PLY; none: a checkered ground"
        )
    parser.add_argument("--white_bg", action="store_true", help="a white backdrop instead of a black one")
    view = parser.add_mutually_exclusive_group()
    view.add_argument(
        "--fixed_view",
        "--single_view",
        type=int,
        metavar="K",
        help="one view of the orbit (0 to 99), or -1 for every fourth (25 views); none: a moving camera",
    )
    view.add_argument("--views", help="any of numbers, circle360 and circle360_jitter, with commas")
    parser.add_argument("--resolution", type=int, default=1280, help="width and height of the pictures, pixels")
    parser.add_argument("--shs_degree", type=int, default=2, choices=range(4), help="degree of the colours")


def chosen_by(args: Namespace) -> list[View]:
    """The views that ``--views`` or ``--fixed_view`` asks for.

    Raises:
        InputError: there is no such view, or the resolution is too small for a picture.
    """
    if args.resolution < 2:
        raise InputError(f"--resolution: expected at least 2 pixels, found {args.resolution}")
    return parse_views(args.views) if args.views else chosen_views(args.fixed_view)


def renderer_for(
    args: Namespace, orbit: Orbit, device: torch.device, background_path: Path | None = None
) -> SceneRenderer:
    """What the flags of ``add_picture_arguments`` ask for.

    Args:
        background_path: the one of several backgrounds; by default the only one.

    Raises:
        InputError: the background is missing or damaged.
    """
    path = background_path or args.background_path
    background = load_background(path) if path else ground_plane()
    return SceneRenderer(orbit, args.resolution, background, args.white_bg, args.shs_degree, device)


def write_clip(
    renderer: SceneRenderer,
    frames: Iterable[Gaussians],
    num_frames: int,
    views: Sequence[tuple[View, Path]],
    fps: float,
    outputs: Outputs,
    num_objects: int = 0,
    num_encoders: int | None = None,
) -> None:
    """Draw ``frames`` once for all views and stream each view to its files.

    Args:
        frames: the moving Gaussians, ``num_frames`` of them, with labels if masks are asked for.
        views: each with its video's path.
        fps: frames per second of the videos.
        outputs: what to write of each view.
        num_objects: how many the masks know.
        num_encoders: how many videos to share the machine's cores among, if not those of ``views``: how many threads
            an encoder has decides bits of what it writes.
    """
    cameras = [view.cameras(renderer.orbit, renderer.resolution, num_frames).to(renderer.device) for view, _ in views]
    paths, threads = [path for _, path in views], encoder_threads(num_encoders or len(views))
    progress = tqdm(frames, total=num_frames, desc=f"render {paths[0].stem}", unit="frame", leave=False)
    with ClipWriter(paths, num_frames, fps, outputs, renderer.device, threads) as writer:
        for k, gaussians in enumerate(progress):
            at_once = cameras_at(cameras, k)
            masks = renderer.masks(gaussians, at_once, num_objects) if outputs.masks else None
            writer.write(renderer.draw(gaussians, at_once).rgb, masks)
