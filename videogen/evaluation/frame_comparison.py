"""Draw a simulated scene and predictions of it frame by frame, and measure how far they are from each other."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from dataset.rendering.scene_renderer import SceneRenderer
from dataset.rendering.views import View
from gaussians.captions import gravity_caption
from gaussians.files.video import VideoWriter, to_uint8
from gaussians.numbers import Vector
from gaussians.representation import Gaussians
from videogen.evaluation.picture_measures import MassCenters, mask_centers, mask_iou
from videogen.evaluation.scene_result import STILL, key_of
from videogen.reconstruction.photometric_loss import psnr, ssim
from videogen.videos.video_row import titled

_SIMULATED = "simulated"


class MovingScene(NamedTuple):
    """A ``MovingScene`` is a scene in motion, and how it is drawn.

    Attributes:
        rest: its Gaussians at the start, with labels.
        frames: its Gaussians in every frame, with labels, in the order of ``rest``.
        renderers: what draws them, by kind of pictures.
    """

    rest: Gaussians
    frames: Iterator[Gaussians]
    renderers: Mapping[str, SceneRenderer]


class _Picture(NamedTuple):
    """A ``_Picture`` is what one camera sees: colours (H, W, 3), 0 to 1, and masks (H, W) uint8."""

    rgb: torch.Tensor
    masks: torch.Tensor


@dataclass(frozen=True)
class FrameComparison:
    """A ``FrameComparison`` measures predictions of a scene.

    Attributes:
        views: from where pictures of each kind are taken.
        num_frames: how many frames are compared, T.
        num_objects: number of objects, K.
        videos: where to write a video of each kind, the simulation and predictions side by side.
        fps: frames per second of the videos.
        gravity: m/s^2, for the videos' titles.
    """

    views: Mapping[str, View]
    num_frames: int
    num_objects: int
    videos: Mapping[str, Path]
    fps: float
    gravity: Vector

    @torch.inference_mode()
    def measure(
        self, truth: MovingScene, predictions: Mapping[str, MovingScene], title: str
    ) -> dict[str, torch.Tensor]:
        """Return the tensors of a ``SceneResult``.

        Args:
            predictions: all of ``PREDICTIONS`` but ``STILL``, by name.
            title: of a progress bar.

        Raises:
            InputError: a frame is damaged, a prediction breaks down, or a video cannot be written.
        """
        scenes = [truth, *predictions.values()]
        centers = [MassCenters(scene.rest, self.num_objects) for scene in scenes]
        series: dict[str, list[torch.Tensor]] = defaultdict(list)
        start: dict[str, _Picture] = {}
        start_centers = torch.empty(0)
        titles = (f"{_SIMULATED}\n{gravity_caption(self.gravity)}", *predictions)
        with ExitStack() as stack:
            writers = {kind: stack.enter_context(VideoWriter(path, self.fps)) for kind, path in self.videos.items()}
            moments = islice(zip(*(scene.frames for scene in scenes), strict=False), self.num_frames)
            for k, moment in enumerate(tqdm(moments, title, self.num_frames, leave=False, unit="frame")):
                true, *ours = (center.of(frame.means) for center, frame in zip(centers, moment, strict=True))
                start_centers = true if k == 0 else start_centers
                for name, found in zip((*predictions, STILL), (*ours, start_centers), strict=True):
                    series[key_of(name, "", "metres")].append((found - true).norm(dim=1))
                for kind in self.views:
                    pictures = [self._picture(scene, kind, frame) for scene, frame in zip(scenes, moment, strict=True)]
                    start.setdefault(kind, pictures[0])
                    for name, picture in zip((*predictions, STILL), (*pictures[1:], start[kind]), strict=True):
                        for measure, value in self._compare(picture, pictures[0]).items():
                            series[key_of(name, kind, measure)].append(value)
                    if kind in writers:
                        writers[kind].write(_row(pictures, titles))
        return {key: torch.stack(values) for key, values in series.items()}

    def _picture(self, scene: MovingScene, kind: str, gaussians: Gaussians) -> _Picture:
        renderer = scene.renderers[kind]
        cameras = renderer.cameras(self.views[kind], 1)
        rgb = renderer.draw(gaussians, cameras).rgb[0].clamp(0, 1)
        return _Picture(rgb, renderer.masks(gaussians, cameras, self.num_objects)[0])

    def _compare(self, picture: _Picture, truth: _Picture) -> dict[str, torch.Tensor]:
        offsets = mask_centers(picture.masks, self.num_objects) - mask_centers(truth.masks, self.num_objects)
        return {
            "psnr": torch.tensor(psnr(picture.rgb, truth.rgb), dtype=torch.float64),
            "ssim": ssim(picture.rgb.movedim(-1, 0), truth.rgb.movedim(-1, 0)).double().cpu(),
            "iou": mask_iou(picture.masks, truth.masks, self.num_objects),
            "pixels": offsets.norm(dim=1),
        }


def _row(pictures: list[_Picture], titles: tuple[str, ...]) -> np.ndarray:
    """Return pictures side by side, each under its title."""
    return np.concatenate(
        [
            titled(to_uint8(picture.rgb).cpu().numpy(), title.replace("_", " "))
            for picture, title in zip(pictures, titles, strict=True)
        ],
        axis=1,
    )
