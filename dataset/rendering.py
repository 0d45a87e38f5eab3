"""Drawing clips: Gaussians in motion before a background, from several views, streamed to files."""

from argparse import Namespace
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as imageio
import torch
from tqdm import tqdm

from dataset.background import ground_plane, load_background
from dataset.views import View, cameras_at, chosen_views, parse_views
from gaussians.cameras import Cameras, Orbit
from gaussians.command_line import ArgumentParser
from gaussians.errors import InputError
from gaussians.files import atomic_path
from gaussians.rasterization import Rendered, rasterize
from gaussians.representation import Gaussians
from gaussians.video import VideoWriter, to_uint8


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
        moving = gaussians.to(self.device)
        moving = moving.with_sh_degree(min(self.sh_degree, moving.sh_degree))
        scene = moving if self.background is None else Gaussians.cat([moving, self.background])
        return rasterize(
            scene,
            cameras.to(self.device),
            background=torch.full((3,), float(self.white), device=self.device),
            depth="accumulated" if accumulated_depth else "expected",
        )


def add_picture_arguments(parser: ArgumentParser) -> None:
    """The flags that say what pictures look like and from where: of every command that renders scenes."""
    parser.add_argument("--config", type=Path, required=True, help="JSON of settings, e.g. config/dynamic_config.json")
    parser.add_argument("--background_path", type=Path, help="background directory or PLY; none: a checkered ground")
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
        InputError: there is no such view.
    """
    return parse_views(args.views) if args.views else chosen_views(args.fixed_view)


def renderer_for(args: Namespace, orbit: Orbit, device: torch.device) -> SceneRenderer:
    """What the flags of ``add_picture_arguments`` ask for.

    Raises:
        InputError: the background is missing or damaged, or the resolution too small.
    """
    if args.resolution < 2:
        raise InputError(f"--resolution: expected at least 2 pixels, found {args.resolution}")
    background = load_background(args.background_path) if args.background_path else ground_plane()
    return SceneRenderer(orbit, args.resolution, background, args.white_bg, args.shs_degree, device)


def write_clip(
    renderer: SceneRenderer,
    frames: Iterable[Gaussians],
    num_frames: int,
    outputs: Sequence[tuple[View, Path]],
    fps: float,
    images: bool = False,
    video: bool = True,
) -> None:
    """Draw ``frames`` once for all views and stream each view to its files.

    Args:
        frames: the moving Gaussians, ``num_frames`` of them.
        outputs: each view with its video's path; images go to a folder ``rgb`` beside it, as 0000.png and so on.
        fps: frames per second of the videos.
        images: write every frame as a PNG.
        video: write the videos.
    """
    paths = [view.cameras(renderer.orbit, renderer.resolution, num_frames) for view, _ in outputs]
    with ExitStack() as stack:
        writers = [stack.enter_context(VideoWriter(path, fps)) for _, path in outputs if video]
        folders = [stack.enter_context(atomic_path(path.parent / "rgb")) for _, path in outputs if images]
        for folder in folders:
            folder.mkdir()
        progress = tqdm(frames, total=num_frames, desc=f"render {outputs[0][1].stem}", unit="frame")
        for k, gaussians in enumerate(progress):
            pictures = to_uint8(renderer.draw(gaussians, cameras_at(paths, k)).rgb)
            for writer, picture in zip(writers, pictures, strict=bool(writers)):
                writer.write(picture)
            for folder, picture in zip(folders, pictures, strict=bool(folders)):
                imageio.imwrite(folder / f"{k:04d}.png", picture)
