"""Let a network generate whole objects from pictures of them, and bring these to where the objects were seen."""

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from scipy.ndimage import binary_erosion, laplace
from torch.nn.functional import interpolate
from tqdm import tqdm

from externals.weights import expect_checkpoint, find_checkpoint
from gaussians.cameras import Cameras
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from videogen.reconstruction.completion.point_pairs import (
    PointPairs,
    SeenCrop,
    pairs_by_matching,
    pairs_of_conditioning,
)
from videogen.reconstruction.completion.registration import Registration, register
from videogen.reconstruction.completion.silhouettes import Silhouettes
from videogen.reconstruction.object_clouds import hold_together
from videogen.reconstruction.plane_sweep import unproject
from videogen.reconstruction.settings import SdVersion

if TYPE_CHECKING:  # their libraries are optional
    from externals.diffsplat import DiffSplatObject
    from externals.feature_matching import Matcher

_CANDIDATES = 2  # pictures that an object is generated from, if the first one fits badly
_BORDER = 2  # pixels: a mask nearer to the picture's border may go on outside
_CUT_OFF = 0.1  # weight of pictures where it does
_AROUND = 4  # pixels around a mask that are cut out with it
_OPAQUE = 0.5
_TAIL = 0.01  # share of Gaussians beyond either end of an extent
_CUBES = 64  # along an object's extent, with a Gaussian in each, whose silhouettes are compared
_FEWEST = 30  # pixels of a mask that an object is generated from


_WEIGHTS: dict[SdVersion, str] = {"sd15": "diffsplat_sd15", "sd35m": "diffsplat_sd35"}


class Generator(Protocol):
    """A ``Generator`` makes whole objects of pictures of one side, such as a ``DiffSplat``."""

    def complete(
        self, image: torch.Tensor, mask: torch.Tensor, text: str, elevation: float | None = None, seed: int = 0
    ) -> "DiffSplatObject":
        """Return the object that a picture (H, W, 3) uint8 shows inside a mask (H, W) bool."""


class Enlarger(Protocol):
    """An ``Enlarger`` makes small pictures larger, such as a ``SuperResolution``."""

    def enlarge(self, image: torch.Tensor, prompt: str = "") -> torch.Tensor:
        """Return a picture (h, w, 3) uint8 of what a picture (H, W, 3) uint8 shows."""


@dataclass(frozen=True)
class SeenScene:
    """A ``SeenScene`` is a reconstruction with the pictures that it was made from.

    Attributes:
        gaussians: labelled, in the world.
        cameras: V cameras in the world.
        images: (V, H, W, 3) uint8.
        labels: (V, H, W), which object each pixel shows, 1 to K, 0 for none.
        names: V names of the pictures.
    """

    gaussians: Gaussians
    cameras: Cameras
    images: torch.Tensor
    labels: torch.Tensor
    names: Sequence[str]


@dataclass(frozen=True)
class GeneratedObject:
    """A ``GeneratedObject`` is a whole object where the scene has it, or the reason why there is none.

    Attributes:
        gaussians: opaque ones, in the world; None where what was generated does not fit what was seen.
        note: a sentence for the user.
    """

    gaussians: Gaussians | None
    note: str


def generate_objects(
    scene: SeenScene,
    texts: Sequence[str],
    generator: Generator,
    enlarger: Enlarger,
    matcher: "Matcher",
    seed: int = 0,
) -> list[GeneratedObject]:
    """Return each object as a network completes it.

    It is generated from the picture that shows most of it and shows it sharpest, with the elevation of that picture's
    camera. Its pixels say where its points were seen; where that does not fit, features of pictures all around it say,
    and then the next picture is tried.

    Args:
        texts: what the objects 1 to K are.
        matcher: finds the same points in two pictures.
        seed: of what the network draws, and of the registration.
    """
    return [
        _generate(scene, label, text, generator, enlarger, matcher, seed)
        for label, text in enumerate(tqdm(texts, desc="complete", unit="object", leave=False))
    ]


def _generate(
    scene: SeenScene,
    label: int,
    text: str,
    generator: Generator,
    enlarger: Enlarger,
    matcher: "Matcher",
    seed: int,
) -> GeneratedObject:
    assert scene.gaussians.labels is not None
    own = scene.gaussians[scene.gaussians.labels == label]
    masks = scene.labels == label + 1
    silhouettes = Silhouettes(scene.cameras, masks, (scene.labels > 0) & ~masks)
    reason = "no picture shows enough of it"
    for view in best_views(scene.images, masks)[:_CANDIDATES]:
        image, crop, mask = _cut_out(scene, own, masks[view], view, enlarger, text)
        elevation = elevation_above(scene.cameras[view : view + 1], own.means)
        completed = generator.complete(image.to(own.device), mask.to(own.device), text, elevation, seed)
        opaque = _body(completed.gaussians)
        if not len(opaque):
            reason = "what was generated is empty"
            continue
        found, how = _registered(opaque, pairs_of_conditioning(completed, crop), own, silhouettes, seed), "its pixels"
        if found is None or found.doubts:
            pairs = pairs_by_matching(matcher, image.to(own.device), crop, opaque)
            second = _registered(opaque, pairs, own, silhouettes, seed)
            if second is not None and (found is None or (second.overlap or 0) > (found.overlap or 0)):
                found, how = second, "matched features"
        if found is None:
            reason = "hardly any of its points agree on where it goes"
        elif found.doubts:
            reason = found.doubts[0]
        else:
            share = 100 * float(found.inliers.double().mean())
            note = (
                f"{text}: generated from picture {scene.names[view]}, placed by {how}: {share:.0f} % of the pairs agree"
            )
            return GeneratedObject(
                found.similarity.gaussians(opaque), f"{note}, silhouettes overlap by {100 * (found.overlap or 0):.0f} %"
            )
    return GeneratedObject(None, f"{text}: what was generated is not taken: {reason}")


def _body(gaussians: Gaussians) -> Gaussians:
    """Return the opaque Gaussians of a generated object without those that float apart from it."""
    opaque = gaussians[gaussians.opacities > _OPAQUE]
    if not len(opaque):
        return opaque
    # Views overlap: where many Gaussians are says little.
    _, cells = _cubes(opaque.means, _extent(opaque.means) / _CUBES)
    counts = torch.bincount(cells)
    means = torch.zeros(len(counts), 3).to(opaque.means).index_add(0, cells, opaque.means) / counts[:, None]
    kept = hold_together(means.double().cpu().numpy())
    return opaque[torch.from_numpy(kept).to(cells.device)[cells]]


def _extent(points: torch.Tensor) -> float:
    """Return the largest extent of points (N, 3), without their tails."""
    low, high = np.quantile(points.double().cpu().numpy(), (_TAIL, 1 - _TAIL), axis=0)
    return max(float((high - low).max()), 1e-6)


def _cubes(points: torch.Tensor, side: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first of the points (N, 3) in each cube of a lattice, and the number of each point's cube (N,)."""
    _, numbers = torch.unique(torch.floor(points / side).long(), dim=0, return_inverse=True)
    first = torch.full((int(numbers.max()) + 1,), len(points), device=numbers.device)
    return first.scatter_reduce(0, numbers, torch.arange(len(points), device=numbers.device), "amin"), numbers


def _registered(
    opaque: Gaussians, pairs: PointPairs, own: Gaussians, silhouettes: Silhouettes, seed: int
) -> Registration | None:
    solid = own.means[own.opacities > _OPAQUE]
    return register(
        thinned(opaque, _extent(opaque.means) / _CUBES), pairs, solid if len(solid) else own.means, silhouettes, seed
    )


def best_views(images: torch.Tensor, masks: torch.Tensor) -> list[int]:
    """Return the pictures that show an object, the best to complete it from first: large, sharp and whole.

    Args:
        images: (V, H, W, 3) uint8.
        masks: (V, H, W) bool, the object.
    """
    scores = {}
    for view in masks.flatten(1).any(1).nonzero().flatten().tolist():
        mask = masks[view].cpu().numpy()
        if mask.sum() < _FEWEST:
            continue
        grey = images[view].cpu().numpy().mean(-1)
        sharpness = np.abs(laplace(grey))[mask].mean()
        inner = mask[_BORDER:-_BORDER, _BORDER:-_BORDER].sum()
        scores[view] = mask.sum() * np.sqrt(sharpness + 1) * (1.0 if inner == mask.sum() else _CUT_OFF)
    return sorted(scores, key=lambda view: -scores[view])


def elevation_above(camera: Cameras, means: torch.Tensor) -> float:
    """Return how many degrees a camera stands above the middle of points (N, 3) of the world."""
    x, y, z = (camera.positions[0] - means.median(0).values).tolist()
    return math.degrees(math.atan2(z, math.hypot(x, y)))


def _cut_out(
    scene: SeenScene, own: Gaussians, mask: torch.Tensor, view: int, enlarger: Enlarger, text: str
) -> tuple[torch.Tensor, SeenCrop, torch.Tensor]:
    """Return the enlarged part of a picture that shows an object, where its pixels are in the world, and its mask."""
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    height, width = mask.shape
    x0, y0 = (max(0, int(line[0]) - _AROUND) for line in (columns, rows))
    x1, y1 = (min(size, int(line[-1]) + 1 + _AROUND) for line, size in ((columns, width), (rows, height)))
    image = enlarger.enlarge(scene.images[view, y0:y1, x0:x1].cpu(), text)
    size = image.shape[:2]
    enlarged = interpolate(mask[None, None, y0:y1, x0:x1].float(), size, mode="bilinear")[0, 0] > 0.5
    camera = scene.cameras[view : view + 1]
    drawn = rasterize(own, camera)
    points = unproject(camera, drawn.depth)[0]
    inner = torch.from_numpy(binary_erosion(mask.cpu().numpy())).to(mask.device)
    crop = SeenCrop(points, inner & (drawn.alpha[0] > _OPAQUE), (x0, y0, x1, y1), (size[1], size[0]))
    return image, crop, enlarged


def thinned(gaussians: Gaussians, spacing: float) -> Gaussians:
    """Return round Gaussians, one of those in each cube of ``spacing``, metres, and as large as it."""
    kept = gaussians[_cubes(gaussians.means, spacing)[0]]
    quaternions = torch.tensor([1.0, 0, 0, 0]).to(kept.means).repeat(len(kept), 1)
    scales = torch.full_like(kept.means, 0.5 * spacing)
    return replace(kept, scales=scales, quaternions=quaternions, covariances=None)


def load_generator(root: Path, version: SdVersion, device: torch.device) -> Generator:
    """Read DiffSplat's checkpoint from below ``root``.

    Raises:
        InputError: it is missing or damaged, a library is missing, or the device has too little memory.
    """
    from externals.diffsplat import DiffSplat

    return DiffSplat.from_checkpoint(expect_checkpoint(_WEIGHTS[version], root), device, version)


def choose_completion(name: str, root: Path, version: SdVersion, device: torch.device) -> str:
    """Return what ``--completion`` stands for: itself, or of "auto" DiffSplat where its weights and a GPU are there."""
    if name != "auto":
        return name
    there = find_checkpoint(_WEIGHTS[version], root) is not None and importlib.util.find_spec("diffusers") is not None
    return "diffsplat" if there and device.type == "cuda" else "hull"
