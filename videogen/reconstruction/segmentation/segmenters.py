"""Choose who tells the objects apart, and check what it found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from gaussians.cameras import Cameras
from gaussians.files.prompts import Prompts
from gaussians.stage.errors import InputError
from gaussians.stage.shape_checks import check_shape
from videogen.reconstruction.segmentation.grab_cut import boxes_of_points, labels_from_boxes
from videogen.reconstruction.segmentation.optical_flow import carry_through_frames
from videogen.reconstruction.segmentation.through_views import carry_through_views

PromptKind = Literal["bbox", "point"]
AUTO = "auto"


@dataclass(frozen=True)
class SegmentationInput:
    """A ``SegmentationInput`` holds what a segmenter may use.

    Attributes:
        images: (N, H, W, 3) uint8, RGB.
        prompts: where the objects are in the first of them, in its pixels; needed without masks.
        prompt_kind: whether boxes or points count where there are both.
        cameras: N cameras, or None where they are unknown: then the pictures are frames of a video.
        depth_limits: with cameras, the least and the greatest depth in the first picture at which objects are looked
            for (``plane_sweep.depth_range``).
        masks: (N, H, W) uint8, label pictures that the user gives, or None.
    """

    images: torch.Tensor
    prompts: Prompts | None = None
    prompt_kind: PromptKind = "bbox"
    cameras: Cameras | None = None
    depth_limits: tuple[float, float] | None = None
    masks: torch.Tensor | None = None

    def __post_init__(self) -> None:
        check_shape("images", self.images, "N", "H", "W", 3)
        shape = tuple(self.images.shape[:3])
        if self.masks is not None:
            check_shape("masks", self.masks, *shape)
        if self.cameras is not None and (len(self.cameras), self.cameras.height, self.cameras.width) != shape:
            raise ValueError(f"cameras: expected those of {shape[0]} pictures of {shape[2]} x {shape[1]} pixels")
        if self.cameras is not None and self.depth_limits is None:
            raise ValueError("depth_limits: missing: expected them with cameras")


Segmenter = Callable[[SegmentationInput], torch.Tensor]
"""Returns the label pictures (N, H, W) uint8: 0 where no object shows, else the object's number in the prompts."""


def segment(inputs: SegmentationInput, segmenter: str = AUTO) -> torch.Tensor:
    """Return which object each pixel of N pictures shows: (N, H, W) uint8, 0 for none, 1 to K in the prompts' order.

    Args:
        segmenter: one of ``SEGMENTERS``, or "auto": given masks if there are any, else GrabCut.

    Raises:
        InputError: what the segmenter needs is missing, a prompt is outside of the picture, no object shows anywhere,
            or one shows in no picture after the first.
    """
    chosen = choose_segmenter(segmenter, inputs)
    labels = SEGMENTERS[chosen](inputs)
    count = len(inputs.prompts) if inputs.prompts is not None else int(labels.max())
    if int(labels.max()) > count:
        raise InputError(f"masks: expected {count} objects as the prompts name, found {int(labels.max())}")
    check_visible(labels, inputs.prompts.names if inputs.prompts else [f"object {k}" for k in range(1, count + 1)])
    return labels


def choose_segmenter(name: str, inputs: SegmentationInput) -> str:
    """Return the segmenter that ``name`` stands for: itself, or of "auto" the best one that has what it needs.

    Raises:
        InputError: there is none of that name.
    """
    if name == AUTO:
        return "masks" if inputs.masks is not None else "grabcut"
    if name not in SEGMENTERS:
        raise InputError(f"--segmenter: expected one of {', '.join([AUTO, *SEGMENTERS])}, found {name!r}")
    return name


def check_visible(labels: torch.Tensor, names: Sequence[str]) -> None:
    """Check that each object shows in a picture after the first, too.

    Args:
        labels: (N, H, W) label pictures.
        names: what the objects 1 to K are.

    Raises:
        InputError: no object shows anywhere, or one shows in the first picture at most.
    """
    if not labels.any():
        raise InputError("masks: all of them are empty: expected an object in some picture")
    for label, name in enumerate(names, 1):
        if not (labels[1:] == label).any():
            raise InputError(f"masks: object {label} ({name}) shows in no picture after the first")


def cut_out(inputs: SegmentationInput) -> torch.Tensor:
    """Segment with GrabCut in the first picture, carried to the others through the geometry or by optical flow.

    Raises:
        InputError: there are no prompts, or one is outside of the picture.
    """
    images = np.ascontiguousarray(inputs.images.cpu().numpy())
    prompts = inputs.prompts
    if prompts is None:
        raise InputError("prompts.json: missing: expected it beside the pictures, or --bbox u0,v0,u1,v1, or masks")
    height, width = images.shape[1:3]
    if problems := prompts.outside(width, height):
        raise InputError(f"prompts: {problems[0]}")
    first = labels_from_boxes(images[0], _boxes(prompts, inputs.prompt_kind, images[0]))
    for label, name in enumerate(prompts.names, 1):
        if not (first == label).any():
            raise InputError(f"prompts: object {label} ({name}) lies inside the others' boxes: nothing of it is left")
    if inputs.cameras is None or inputs.depth_limits is None:
        return torch.from_numpy(carry_through_frames(images, first))
    cameras = inputs.cameras.to("cpu")
    return torch.from_numpy(carry_through_views(images, cameras, first, inputs.depth_limits))


def _boxes(prompts: Prompts, kind: PromptKind, image: np.ndarray) -> Sequence[tuple[float, float, float, float]]:
    if kind == "bbox" and prompts.boxes is None:
        raise InputError("--prompt_type: prompts.json has points alone: expected point")
    if kind == "point" and prompts.points is None:
        raise InputError("--prompt_type: prompts.json has boxes alone: expected bbox")
    boxes = prompts.boxes if kind == "bbox" else boxes_of_points(image, prompts.points or ())
    last_u, last_v = image.shape[1] - 1.0, image.shape[0] - 1.0
    return [(u0, v0, min(u1, last_u), min(v1, last_v)) for u0, v0, u1, v1 in boxes or ()]


def _given(inputs: SegmentationInput) -> torch.Tensor:
    if inputs.masks is None:
        raise InputError("--segmenter masks: expected a folder masks beside the pictures")
    return inputs.masks


SEGMENTERS: dict[str, Segmenter] = {"grabcut": cut_out, "masks": _given}
"""Who tells objects apart, by name."""
