"""This module draws a picture of many scenes, each with its first and its last frame."""

import math
import random
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from dataset.config import Config
from dataset.rendering.background import ground_plane
from dataset.rendering.scene_renderer import SceneRenderer
from dataset.summary.contents import SceneSummary, Statistics
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.files.video import read_video, to_uint8
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError

_CAPTION, _MARGIN, _GAP = 24, 8, 2
_VIEW, _SH_DEGREE = 0, 2
_LARGEST_SHEET = 65_500  # pixels, the largest side of a JPEG


@torch.inference_mode()
def write_contact_sheet(
    path: Path, statistics: Statistics, number: int, seed: int, side: int, device: torch.device
) -> int:
    """Write a picture of scenes chosen at random, or remove an earlier one where there is nothing to show.

    Args:
        number: greatest number of scenes.
        side: width and height of a frame, pixels.
        device: where to draw.

    Returns:
        How many scenes it shows.

    Raises:
        InputError: a video or trajectory is damaged, or the file cannot be written.
    """
    chosen = choose(statistics.scenes, number, seed)
    if not chosen:
        path.unlink(missing_ok=True)
        return 0
    sheet = Image.fromarray(contact_sheet(chosen, statistics.root, side, device))
    if max(sheet.size) > _LARGEST_SHEET:
        raise InputError(f"--num_scenes {number}: too many for one picture at --resolution {side}")
    with atomic_path(path) as temporary:
        sheet.save(temporary, quality=90)
    return len(chosen)


def choose(scenes: Sequence[SceneSummary], number: int, seed: int) -> list[SceneSummary]:
    """Choose at random at most ``number`` of the scenes that can be shown, in the order of ``scenes``."""
    shown = [index for index, scene in enumerate(scenes) if scene.videos or scene.drawable]
    chosen = random.Random(seed).sample(shown, min(number, len(shown)))
    return [scenes[index] for index in sorted(chosen)]


def contact_sheet(scenes: Sequence[SceneSummary], root: Path, side: int, device: torch.device) -> np.ndarray:
    """Return the first and last frames of ``scenes``, each pair under its caption, (H, W, 3) uint8.

    Frames come from a scene's first video, or are drawn from its trajectory on a checkered ground.

    Args:
        root: root directory of the dataset.
        side: width and height of a frame, pixels.
        device: where to draw.

    Raises:
        InputError: a video or a trajectory is damaged.
    """
    columns = max(1, round(math.sqrt(len(scenes) / 2)))
    rows = math.ceil(len(scenes) / columns)
    width, height = 2 * side + _GAP + _MARGIN, side + _CAPTION + _MARGIN
    sheet = Image.new("RGB", (columns * width + _MARGIN, rows * height + _MARGIN), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_CAPTION * 0.6)
    renderer = None
    for index, scene in enumerate(tqdm(scenes, desc="contact sheet", unit="scene")):
        x, y = _MARGIN + index % columns * width, _MARGIN + index // columns * height
        draw.text((x, y + _CAPTION // 5), _caption(scene), fill="black", font=font)
        if not scene.videos and renderer is None:
            renderer = SceneRenderer(Config().orbit(), side, ground_plane(), True, _SH_DEGREE, device)
        frames = _video_ends(scene.videos[0]) if scene.videos else _drawn_ends(scene, root, renderer)
        for place, frame in enumerate(frames):
            picture = Image.fromarray(frame).resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(picture, (x + place * (side + _GAP), y + _CAPTION))
    return np.asarray(sheet)


def _caption(scene: SceneSummary) -> str:
    shown = "/".join(scene.videos[0].parts[-3:-1]) if scene.videos else "trajectory"
    return f"{scene.group}/{scene.name} ({shown})"


def _video_ends(path: Path) -> list[np.ndarray]:
    frames = read_video(path)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{path}: expected at least one frame")
    last = deque(frames, maxlen=1)
    return [first, last[0] if last else first]


def _drawn_ends(scene: SceneSummary, root: Path, renderer: SceneRenderer | None) -> list[np.ndarray]:
    assert renderer is not None
    reader = TrajectoryReader(root / "mpm" / scene.group / scene.name)
    camera = renderer.orbit.cameras([_VIEW], renderer.resolution)
    ends = [reader.gaussians(k, _SH_DEGREE) for k in (0, reader.num_frames - 1)]
    return [to_uint8(renderer.draw(gaussians, camera).rgb)[0].cpu().numpy() for gaussians in ends]
