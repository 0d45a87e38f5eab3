"""Carry the objects' masks from frame to frame of a video whose cameras are unknown, by optical flow."""

import cv2
import numpy as np
from tqdm import tqdm

from videogen.reconstruction.segmentation.grab_cut import ColorModels, core_colors

_SAMPLE_FRAMES = 4  # the first one and the latest ones, whose colours an object may have
_BAND = 0.06  # of an object's size (the root of its area): how far its edge may be from where the flow carries it
_WORKING_SIDE = 480  # pixels, at which frames are cut
_AROUND = 4  # bands beyond the edge, whose colours are those around the object


def carry_through_frames(images: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the label pictures (N, H, W) uint8 of N frames from that of the first one.

    Dense inverse search (Kroeger et al. 2016) finds the motion of each pixel back to the frame before; GrabCut then
    decides, with the colours of the first and the latest frames, within a band about the edges that the motion carries.

    Args:
        images: (N, H, W, 3) uint8, RGB.
        first: (H, W) uint8, the label picture of the first frame.
    """
    height, width = first.shape
    scale = min(1.0, _WORKING_SIDE / min(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    frames = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    labels = [cv2.resize(first, size, interpolation=cv2.INTER_NEAREST)]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    rows, columns = np.mgrid[: size[1], : size[0]].astype(np.float32)
    for frame in tqdm(range(1, len(frames)), desc="masks", unit="frame", leave=False):
        back = flow.calc(grey[frame], grey[frame - 1], np.zeros((*size[::-1], 2), np.float32))
        x, y = columns + back[..., 0], rows + back[..., 1]
        carried = cv2.remap(labels[-1], x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        seen = [0, *range(max(1, frame - _SAMPLE_FRAMES + 1), frame)]
        labels.append(_refined(frames, labels, seen, frame, carried))
    found = (cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST) for label in labels[1:])
    return np.stack([first, *found])


def _refined(
    frames: list[np.ndarray], labels: list[np.ndarray], seen: list[int], frame: int, carried: np.ndarray
) -> np.ndarray:
    """Return the label picture of a frame, cut anew about the edges of the carried one."""
    refined = np.zeros_like(carried)
    for label in range(1, int(labels[0].max()) + 1):
        mask = carried == label
        if not mask.any():
            continue
        band = max(2, round(_BAND * np.sqrt(mask.sum())))
        inside, outside = (
            cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5) for part in (mask, ~mask)
        )
        foreground = np.concatenate([core_colors(frames[k], labels[k] == label) for k in seen])
        background = frames[frame][(outside > band) & (outside <= _AROUND * band)]
        if len(foreground) == 0 or len(background) == 0:
            refined[mask] = label
            continue
        others = (carried > 0) & ~mask
        models = ColorModels.learn(foreground, background)
        cut = models.cut(frames[frame], (outside <= band) & ~others, certain=inside > band)
        refined[cut] = label
    return refined
