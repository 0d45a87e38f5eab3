"""Follow prompted objects through the pictures with SAM 2.1, where its weights are there."""

import importlib.util
from pathlib import Path

import torch

from externals.sam2 import ObjectPrompt, Sam2
from externals.weights import expect_checkpoint, find_checkpoint
from gaussians.files.prompts import Prompts

LIBRARY = "transformers"
_SIZES = ("sam2", "sam2_base_plus", "sam2_small", "sam2_tiny")


def find_sam2(root: Path, device: torch.device) -> Path | None:
    """Return the weights of SAM 2.1 that are below ``root`` in full, or None; of several sizes the one for the device.

    On a GPU that is the largest. On a CPU, where that takes half a minute for each picture, it is the smallest.
    """
    sizes = _SIZES if device.type == "cuda" else _SIZES[::-1]
    return next((path for size in sizes if (path := find_checkpoint(size, root)) is not None), None)


def sam2_is_installed() -> bool:
    """Return whether the library is there that runs SAM 2.1."""
    return importlib.util.find_spec(LIBRARY) is not None


def follow_prompts(images: torch.Tensor, prompts: Prompts, kind: str, root: Path, device: torch.device) -> torch.Tensor:
    """Return the label pictures (N, H, W) uint8 of prompted objects in pictures (N, H, W, 3) uint8.

    Args:
        prompts: with ``views``, rows of ``images``; None for the first.
        kind: "bbox" or "point", which of them count; the prompts have them.
        root: directory below which SAM 2.1's weights are.

    Raises:
        InputError: the weights or the library are missing, the weights are damaged, or the GPU has too little memory.
    """
    views = prompts.views or (0,) * len(prompts)
    if kind == "bbox":
        shown = [ObjectPrompt(view, box=box) for view, box in zip(views, prompts.boxes or (), strict=True)]
    else:
        shown = [ObjectPrompt(view, points=(point,)) for view, point in zip(views, prompts.points or (), strict=True)]
    path = find_sam2(root, device) or expect_checkpoint(_SIZES[0], root)
    labels = Sam2.from_checkpoint(path, device).segment(images, shown).cpu()
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what comes next needs the memory
    return labels
