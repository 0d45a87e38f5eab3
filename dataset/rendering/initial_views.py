"""This module writes views of a trajectory's first frame from all around, with depth, masks and prompts."""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dataset.rendering.clip_writer import Outputs
from dataset.rendering.picture_stack import picture_stack
from dataset.rendering.prompts import object_prompts
from dataset.rendering.scene_renderer import SceneRenderer, cameras_at, write_clip
from dataset.rendering.views import ORBIT_VIEWS, View
from gaussians.cameras import write_cameras
from gaussians.files.prompts import write_prompts
from gaussians.representation import Gaussians
from gaussians.stage.threads import core_count

_VIEWS_AT_ONCE = 25


def write_initial_views(
    renderer: SceneRenderer,
    gaussians: Gaussians,
    texts: Sequence[str],
    video: Path,
    fps: float,
    outputs: Outputs,
) -> None:
    """Write the orbit's 100 views as a video, and beside it cameras.json, prompts.json and, if asked for, masks.

    The video is written last: where it is there, the other files are, too.

    Args:
        gaussians: the first frame, with labels if ``texts`` are given.
        texts: the prompt of each label; without any no prompts.json is written.
        video: path of the video.
        fps: frames per second of the video.
        outputs: which files to write.
    """
    cameras = renderer.orbit.cameras(range(ORBIT_VIEWS), renderer.resolution)
    if texts:
        first = renderer.masks(gaussians, cameras[:1], len(texts))[0].cpu().numpy()
        write_prompts(video.parent / "prompts.json", object_prompts(gaussians, cameras, list(texts), first))
    write_cameras(video.parent / "cameras.json", cameras)
    # The camera goes round while nothing moves.
    still = itertools.repeat(gaussians.to(renderer.device), ORBIT_VIEWS)
    write_clip(renderer, still, ORBIT_VIEWS, [(View("circle360"), video)], fps, outputs, len(texts))


def write_depth(renderer: SceneRenderer, gaussians: Gaussians, views: Sequence[View], path: Path) -> None:
    """Write accumulated depth of one moment at ``views``, scaled to uint16, as depth.h5 and depth/<view>.png.

    Args:
        path: the directory of the files.
    """
    depths: list[torch.Tensor] = []
    gaussians = gaussians.to(renderer.device)
    for first in tqdm(range(0, len(views), _VIEWS_AT_ONCE), desc="depth", unit="view", unit_scale=_VIEWS_AT_ONCE):
        some = views[first : first + _VIEWS_AT_ONCE]
        cameras = cameras_at([renderer.cameras(view, 1) for view in some], 0)
        depths.extend(renderer.draw(gaussians, cameras, accumulated_depth=True).depth)
    depth_max = max(float(depth.max()) for depth in depths)
    scale = 65535 / depth_max if depth_max > 0 else 0.0
    scalars = {"depth_max": np.array(depth_max, np.float32)}
    with (
        picture_stack(path / "depth.h5", "depth", path / "depth", _depth_names(views), scalars) as write,
        ThreadPoolExecutor(core_count()) as pool,
    ):
        levels = (np.rint(depth.cpu().numpy() * scale).astype(np.uint16) for depth in depths)
        for written in [pool.submit(write, index, level) for index, level in enumerate(levels)]:
            written.result()


def depth_files(path: Path) -> list[Path]:
    """Return the paths of what ``write_depth`` writes below ``path``."""
    return [path / "depth.h5", path / "depth"]


def _depth_names(views: Sequence[View]) -> list[str]:
    return [f"{view.name}.png" for view in views]
