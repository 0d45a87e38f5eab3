"""Read pictures and find their cameras, and tell the objects in them apart: the stages that know no Gaussians yet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gaussians.cameras import Cameras
from gaussians.files.prompts import Prompts, read_prompts
from gaussians.stage.atomic_files import file_hash
from gaussians.stage.errors import InputError
from videogen.reconstruction.feed_forward import NAME as PI3_SPLAT
from videogen.reconstruction.feed_forward import (
    NetworkDepth,
    find_network,
    pose_with_network,
)
from videogen.reconstruction.photometric_loss import SMALLEST
from videogen.reconstruction.plane_sweep import depth_range
from videogen.reconstruction.posing.camera_files import find_cameras, pose_pictures, read_camera_file
from videogen.reconstruction.posing.pictures import FEWEST, photograph_files, read_pictures
from videogen.reconstruction.posing.posed_pictures import PosedPictures
from videogen.reconstruction.posing.structure_from_motion import estimate_cameras
from videogen.reconstruction.segmentation.given_masks import read_masks
from videogen.reconstruction.segmentation.prompted_tracking import find_sam2
from videogen.reconstruction.segmentation.segmenters import (
    SegmentationInput,
    choose_segmenter,
    mask_changes,
    segment,
)
from videogen.reconstruction.settings import HOLD_OUT, ReconstructionSettings
from videogen.reconstruction.stage_results import StageResults, Tensors

_ALL_IS_BACKGROUND = "no prompts.json, --bbox or masks/ says where objects are: all is background"
_TOLD_APART = {
    "masks": "masks/ tells the objects apart",
    "sam2": "SAM 2.1 told the objects apart",
    "grabcut": "GrabCut told the objects apart (with its weights, docs/weights.md, SAM 2.1 would)",
}
_ON_A_CPU, _ON_A_GPU = 128, 448  # pixels


def posed_pictures(
    source: Path, settings: ReconstructionSettings, device: torch.device, stages: StageResults
) -> tuple[PosedPictures, list[int], NetworkDepth | None, dict[str, Any], str]:
    """Return posed pictures, the rows of those held out, depth where a network saw it, the stage's facts and hash."""
    photographs = source.is_dir()
    interval = settings.interval or (1 if photographs or settings.real_world else 4)
    side = settings.max_side or (_ON_A_GPU if device.type == "cuda" else _ON_A_CPU)
    cameras = find_cameras(source)
    made_from = {
        "pictures": {file.name: file_hash(file) for file in (photograph_files(source) if photographs else [source])},
        "cameras": _hash_of(cameras) if cameras is not None else None,
        "interval": interval,
        "views": settings.views,
        "max_side": side,
    }
    by_network = cameras is None and settings.backend == PI3_SPLAT
    if by_network:
        made_from["weights"] = weights_of(settings)

    def make() -> tuple[Tensors, dict[str, Any]]:
        # Cameras are estimated from larger pictures than Gaussians are: features need detail.
        pictures = read_pictures(source, interval, settings.views, None if cameras is None else side)
        depth = None
        if by_network:
            posed, depth = pose_with_network(pictures, settings.weights, device)
        else:
            lenses = read_camera_file(cameras, pictures) if cameras is not None else estimate_cameras(pictures)
            posed = pose_pictures(pictures, lenses)
        posed = posed.within(side)
        if min(posed.cameras.width, posed.cameras.height) < SMALLEST:
            size = f"{posed.cameras.width} x {posed.cameras.height}"
            raise InputError(f"--max_side: expected pictures of at least {SMALLEST} pixels a side, found {size}")
        tensors = {"images": posed.images, "viewmats": posed.cameras.viewmats, "Ks": posed.cameras.Ks}
        if posed.points is not None:
            tensors["points"] = posed.points
        if depth is not None:
            tensors |= {"depth": depth.depth, "confident": depth.confident}
        names = {"names": posed.names, "indices": posed.indices, "in_world": posed.in_world, "notes": posed.notes}
        return tensors, {**names, "source_size": pictures.source_size, "source_count": pictures.source_count}

    tensors, facts, digest = stages.get("pictures", made_from, make)
    height, width = tensors["images"].shape[1:3]
    posed = PosedPictures(
        tensors["images"],
        Cameras(tensors["viewmats"], tensors["Ks"], width, height),
        tuple(facts["names"]),
        tuple(facts["indices"]),
        tensors.get("points"),
        facts["in_world"],
        tuple(facts["notes"]),
    )
    every = settings.held_out
    if every is None:
        every = 0 if photographs or settings.real_world else HOLD_OUT
    held_out = [row for row in range(len(posed)) if every and row % every == every - 1]
    left = len(posed) - len(held_out)
    if left < FEWEST:
        raise InputError(f"--held_out: expected at least {FEWEST} of {len(posed)} pictures to be left, found {left}")
    depth = None
    if "depth" in tensors:
        rows, columns = tensors["depth"].shape[1:]
        depth = NetworkDepth(posed.cameras.resized(columns, rows), tensors["depth"], tensors["confident"])
    return posed, held_out, depth, facts, digest


def weights_of(settings: ReconstructionSettings) -> str | None:
    """Return what a record says of the network's weights."""
    path = find_network(settings.weights)
    return None if path is None else f"{path.parent.name}/{path.name}"


def object_masks(
    source: Path,
    seen: PosedPictures,
    posed: dict[str, Any],
    pose_hash: str,
    rows: list[int],
    settings: ReconstructionSettings,
    stages: StageResults,
) -> tuple[list[str], torch.Tensor, torch.Tensor | None, list[str], str]:
    """Return what the objects are, label pictures (N, H, W) uint8, given ones, notes, and the hash of the result."""
    folder = source if source.is_dir() else source.parent
    given = next((place / "masks" for place in (folder, folder.parent) if (place / "masks").is_dir()), None)
    prompts = _prompts(folder, settings)
    names = seen.names, seen.indices
    device = seen.images.device
    chosen = choose_segmenter(settings.segmenter, given is not None, settings.weights, device)
    weights = find_sam2(settings.weights, device) if chosen == "sam2" else None
    made_from = {
        "pictures": pose_hash,
        "rows": rows,
        "segmenter": chosen if weights is None else weights.name,
        "prompts": None if prompts is None else prompts.model_dump(mode="json"),
        "prompt_type": settings.prompt_kind,
        "masks": None if given is None else _hash_of(given),
    }

    def make() -> tuple[Tensors, dict[str, Any]]:
        width, height = seen.cameras.width, seen.cameras.height
        masks = None
        if given is not None:
            masks = read_masks(given, *names, posed["source_count"], width, height)
        scaled = None
        if prompts is not None:
            size, told_by = tuple(posed["source_size"]), "--bbox" if settings.boxes is not None else "prompts.json"
            if outside := prompts.outside(*size):
                raise InputError(f"{told_by}: {outside[0]}")
            scaled = prompts.scaled(size, (width, height))
            if chosen != "masks":
                scaled = scaled.model_copy(update={"views": _rows_of_views(prompts, seen.indices, told_by)})
        cameras, limits = seen.cameras.to("cpu"), depth_range(seen)
        inputs = SegmentationInput(
            seen.images.cpu(), scaled, settings.prompt_kind, cameras, limits, masks, settings.weights, device
        )
        if prompts is None and masks is None:
            return {"labels": torch.zeros(seen.images.shape[:3], dtype=torch.uint8)}, {
                "texts": [],
                "notes": [_ALL_IS_BACKGROUND],
            }
        labels = segment(inputs, chosen)
        texts = list(prompts.names) if prompts is not None else []
        texts += [f"object {k}" for k in range(len(texts) + 1, int(labels.max()) + 1)]
        tensors = {"labels": labels} | ({"given": masks} if masks is not None and chosen != "masks" else {})
        return tensors, {"texts": texts, "notes": [_TOLD_APART[chosen], *mask_changes(labels, texts, seen.names)]}

    tensors, facts, digest = stages.get("masks", made_from, make)
    return facts["texts"], tensors["labels"], tensors.get("given"), facts["notes"], digest


def _prompts(folder: Path, settings: ReconstructionSettings) -> Prompts | None:
    if settings.boxes is not None:
        return settings.boxes
    file = next(
        (place / "prompts.json" for place in (folder, folder.parent) if (place / "prompts.json").is_file()), None
    )
    return read_prompts(file) if file is not None else None


def _rows_of_views(prompts: Prompts, indices: Sequence[int], told_by: str) -> tuple[int, ...]:
    """Return which of the pictures taken, whose numbers among all are ``indices``, each object is prompted in.

    Raises:
        InputError: a prompt is for none of them.
    """
    for number, view in enumerate(prompts.views or ()):
        if view not in indices:
            taken = ", ".join(str(index) for index in indices)
            raise InputError(
                f"{told_by}: view.{number}: picture {view} is not taken, or has no camera: taken are {taken}"
            )
    if prompts.views is None and indices[0] != 0:
        raise InputError(f"{told_by}: is for the first picture, which has no camera: give masks/")
    return tuple(indices.index(view) for view in prompts.views or (0,) * len(prompts))


def _hash_of(path: Path) -> str | dict[str, str]:
    """Return the SHA-256 of a file, or of each file in a folder, by its path there."""
    if path.is_file():
        return file_hash(path)
    return {file.relative_to(path).as_posix(): file_hash(file) for file in sorted(path.rglob("*")) if file.is_file()}
