"""Choose who tells the objects apart, and check what it found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from gaussians.cameras import Cameras
from gaussians.files.prompts import Prompts
from gaussians.stage.errors import InputError
from gaussians.stage.shape_checks import check_shape
from videogen.reconstruction.segmentation.grab_cut import boxes_of_points, labels_from_boxes
from videogen.reconstruction.segmentation.optical_flow import carry_through_frames
from videogen.reconstruction.segmentation.prompted_tracking import find_sam2, follow_prompts, sam2_is_installed
from videogen.reconstruction.segmentation.through_views import carry_through_views

PromptKind = Literal["bbox", "point"]
AUTO = "auto"
_JUMP = 3.0  # times the area of a mask: more of a change from one picture to the next is said
_SHOWN = 3  # names of pictures in a sentence


@dataclass(frozen=True)
class SegmentationInput:
    """A ``SegmentationInput`` holds what a segmenter may use.

    Attributes:
        images: (N, H, W, 3) uint8, RGB.
        prompts: where the objects are in them, in their pixels; needed without masks. Their ``views`` are rows of
            ``images``.
        prompt_kind: whether boxes or points count where there are both.
        cameras: N cameras, or None where they are unknown: then the pictures are frames of a video.
        depth_limits: with cameras, the least and the greatest depth in the first picture at which objects are looked
            for (``plane_sweep.depth_range``).
        masks: (N, H, W) uint8, label pictures that the user gives, or None.
        checkpoints: directory below which the weights of perception models are.
        device: where these models run.
    """

    images: torch.Tensor
    prompts: Prompts | None = None
    prompt_kind: PromptKind = "bbox"
    cameras: Cameras | None = None
    depth_limits: tuple[float, float] | None = None
    masks: torch.Tensor | None = None
    checkpoints: Path = Path()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

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
        segmenter: one of ``SEGMENTERS``, or "auto": see ``choose_segmenter``.

    Raises:
        InputError: what the segmenter needs is missing, a prompt is outside of the picture, no object shows anywhere,
            or one shows in fewer than two pictures.
    """
    chosen = choose_segmenter(segmenter, inputs.masks is not None, inputs.checkpoints, inputs.device)
    labels = SEGMENTERS[chosen](inputs)
    count = len(inputs.prompts) if inputs.prompts is not None else int(labels.max())
    if int(labels.max()) > count:
        raise InputError(f"masks: expected {count} objects as the prompts name, found {int(labels.max())}")
    check_visible(labels, inputs.prompts.names if inputs.prompts else [f"object {k}" for k in range(1, count + 1)])
    return labels


def choose_segmenter(name: str, has_masks: bool, checkpoints: Path, device: torch.device) -> str:
    """Return the segmenter that ``name`` stands for: itself, or of "auto" the best one that has what it needs.

    That is given masks if there are any, else SAM 2.1 where its weights and its library are there, else GrabCut.

    Args:
        has_masks: whether there are given masks.
        checkpoints, device: as of ``SegmentationInput``.

    Raises:
        InputError: there is none of that name.
    """
    if name == AUTO:
        if has_masks:
            return "masks"
        return "sam2" if find_sam2(checkpoints, device) is not None and sam2_is_installed() else "grabcut"
    if name not in SEGMENTERS:
        raise InputError(f"--segmenter: expected one of {', '.join([AUTO, *SEGMENTERS])}, found {name!r}")
    return name


def check_visible(labels: torch.Tensor, names: Sequence[str]) -> None:
    """Check that each object shows in two pictures at least.

    Args:
        labels: (N, H, W) label pictures.
        names: what the objects 1 to K are.

    Raises:
        InputError: no object shows anywhere, or one shows in fewer than two pictures.
    """
    if not labels.any():
        raise InputError("masks: all of them are empty: expected an object in some picture")
    for label, name in enumerate(names, 1):
        if (count := int((labels == label).flatten(1).any(1).sum())) < 2:
            shows = "no picture" if count == 0 else "one picture alone"
            raise InputError(f"masks: object {label} ({name}) shows in {shows}")


def mask_changes(labels: torch.Tensor, names: Sequence[str], pictures: Sequence[str]) -> list[str]:
    """Return sentences on objects that pictures lose, or whose masks grow or shrink at once.

    Args:
        labels: (N, H, W) label pictures, in an order in which neighbours look alike.
        names: what the objects 1 to K are.
        pictures: N names.
    """
    notes = []
    for label, name in enumerate(names, 1):
        areas = (labels == label).flatten(1).sum(1).tolist()
        if lost := [picture for picture, area in zip(pictures, areas, strict=True) if area == 0]:
            shown = ", ".join(lost[:_SHOWN]) + (", ..." if len(lost) > _SHOWN else "")
            notes.append(
                f"object {label} ({name}) shows in {len(areas) - len(lost)} of {len(areas)} pictures: not {shown}"
            )
        seen = [(picture, area) for picture, area in zip(pictures, areas, strict=True) if area > 0]
        changes = [(max(a, b) / min(a, b), first, second) for (first, a), (second, b) in pairwise(seen)]
        largest, first, second = max(changes, default=(1.0, "", ""))
        if largest > _JUMP:
            notes.append(
                f"the mask of object {label} ({name}) differs by a factor of {largest:.1f} in {first} and {second}"
            )
    return notes


def cut_out(inputs: SegmentationInput) -> torch.Tensor:
    """Segment with GrabCut in the first picture, carried to the others through the geometry or by optical flow.

    Raises:
        InputError: there are no prompts, or one is outside of the picture, or of another one than the first.
    """
    images = np.ascontiguousarray(inputs.images.cpu().numpy())
    prompts = _checked_prompts(inputs)
    if any(prompts.views or ()):
        raise InputError("prompts: view: GrabCut takes prompts in the first picture alone: expected 0, or SAM 2.1")
    first = labels_from_boxes(images[0], _boxes(prompts, inputs.prompt_kind, images[0]))
    for label, name in enumerate(prompts.names, 1):
        if not (first == label).any():
            raise InputError(f"prompts: object {label} ({name}) lies inside the others' boxes: nothing of it is left")
    if inputs.cameras is None or inputs.depth_limits is None:
        return torch.from_numpy(carry_through_frames(images, first))
    cameras = inputs.cameras.to("cpu")
    return torch.from_numpy(carry_through_views(images, cameras, first, inputs.depth_limits))


def track(inputs: SegmentationInput) -> torch.Tensor:
    """Segment with SAM 2.1, from prompts in any of the pictures, which it takes for frames of a video.

    Raises:
        InputError: there are no prompts, or one is outside of the picture; or see ``follow_prompts``.
    """
    prompts = _checked_prompts(inputs)
    return follow_prompts(inputs.images, prompts, inputs.prompt_kind, inputs.checkpoints, inputs.device)


def _checked_prompts(inputs: SegmentationInput) -> Prompts:
    """Return the prompts.

    Raises:
        InputError: there are none, one is outside of the picture, or none is of the kind that counts.
    """
    prompts = inputs.prompts
    if prompts is None:
        raise InputError("prompts.json: missing: expected it beside the pictures, or --bbox u0,v0,u1,v1, or masks")
    height, width = inputs.images.shape[1:3]
    if problems := prompts.outside(width, height):
        raise InputError(f"prompts: {problems[0]}")
    if inputs.prompt_kind == "bbox" and prompts.boxes is None:
        raise InputError("--prompt_type: prompts.json has points alone: expected point")
    if inputs.prompt_kind == "point" and prompts.points is None:
        raise InputError("--prompt_type: prompts.json has boxes alone: expected bbox")
    return prompts


def _boxes(prompts: Prompts, kind: PromptKind, image: np.ndarray) -> Sequence[tuple[float, float, float, float]]:
    boxes = prompts.boxes if kind == "bbox" else boxes_of_points(image, prompts.points or ())
    last_u, last_v = image.shape[1] - 1.0, image.shape[0] - 1.0
    return [(u0, v0, min(u1, last_u), min(v1, last_v)) for u0, v0, u1, v1 in boxes or ()]


def _given(inputs: SegmentationInput) -> torch.Tensor:
    if inputs.masks is None:
        raise InputError("--segmenter masks: expected a folder masks beside the pictures")
    return inputs.masks


SEGMENTERS: dict[str, Segmenter] = {"grabcut": cut_out, "sam2": track, "masks": _given}
"""Who tells objects apart, by name."""
