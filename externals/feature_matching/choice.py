"""Choose a matcher by name, or the best of those whose files and libraries are there."""

import importlib.util
from pathlib import Path

import torch

from externals.feature_matching.light_glue import LightGlue
from externals.feature_matching.matcher import Matcher
from externals.feature_matching.sift import Sift
from externals.feature_matching.super_glue import SuperGlue
from externals.weights import expect_checkpoint, find_checkpoint
from gaussians.stage.errors import InputError

MATCHERS = ("auto", "lightglue_aliked", "lightglue_disk", "superglue", "sift")


def choose_matcher(name: str, root: str | Path, device: torch.device | str) -> tuple[str, Matcher]:
    """Return a matcher, and its name.

    Args:
        name: one of ``MATCHERS``. "auto" takes LightGlue if kornia and the weights are there, with ALIKED before DISK,
            and SIFT otherwise; never SuperGlue, whose weights not everybody may use.
        root: the folder below which checkpoints are, see ``externals.weights.find_checkpoint``.

    Raises:
        InputError: there is no matcher of that name, or its weights or library are missing.
    """
    if name not in MATCHERS:
        raise InputError(f"matcher: expected {', '.join(MATCHERS)}, found {name!r}")
    if name == "auto":
        kornia = importlib.util.find_spec("kornia") is not None
        there = [other for other in ("lightglue_aliked", "lightglue_disk") if kornia and find_checkpoint(other, root)]
        name = there[0] if there else "sift"
    if name == "sift":
        return name, Sift()
    folder = expect_checkpoint(name, root)
    if name == "superglue":
        return name, SuperGlue.from_checkpoint(folder, device)
    return name, LightGlue.from_checkpoint(folder, device, "aliked" if name == "lightglue_aliked" else "disk")
