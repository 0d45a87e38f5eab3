"""Order the stages that make Gaussians of objects and their background from pictures of a scene.

Frames and cameras, masks, Gaussians optimised to look like the pictures, the world that they are simulated in, objects,
background: every stage keeps what it found (``stage_results``), and the report says how well it went.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from dataset.scenes.scene_objects import SceneObject
from gaussians.cameras import Cameras
from gaussians.files.prompts import Prompts, read_prompts
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.stage.atomic_files import file_hash
from gaussians.stage.claims import sole_claim
from gaussians.stage.command_line import resolve_device
from gaussians.stage.errors import InputError
from videogen.reconstruction.alignment import Similarity
from videogen.reconstruction.feed_forward import NAME as PI3_SPLAT
from videogen.reconstruction.feed_forward import (
    NetworkDepth,
    choose_backend,
    find_network,
    pose_with_network,
    see_depth,
)
from videogen.reconstruction.object_clouds import described_objects, without_floaters
from videogen.reconstruction.optimization import OptimizationSettings, initial_gaussians, optimize
from videogen.reconstruction.photometric_loss import SMALLEST, psnr, ssim
from videogen.reconstruction.placement import free_place, place_on_ground, placement_problems, stand_on_floor
from videogen.reconstruction.plane_sweep import depth_range, sweep
from videogen.reconstruction.posing.camera_files import find_cameras, pose_pictures, read_camera_file
from videogen.reconstruction.posing.pictures import FEWEST, photograph_files, picture_source, read_pictures
from videogen.reconstruction.posing.posed_pictures import PosedPictures
from videogen.reconstruction.posing.structure_from_motion import estimate_cameras
from videogen.reconstruction.report import Report, write_report
from videogen.reconstruction.scene_outputs import SceneOutputs
from videogen.reconstruction.segmentation.given_masks import read_masks
from videogen.reconstruction.segmentation.label_voting import refine_masks
from videogen.reconstruction.segmentation.prompted_tracking import find_sam2
from videogen.reconstruction.segmentation.segmenters import (
    SegmentationInput,
    choose_segmenter,
    mask_changes,
    segment,
)
from videogen.reconstruction.settings import HOLD_OUT, ReconstructionSettings, SceneInput
from videogen.reconstruction.stage_results import StageResults, Tensors
from videogen.reconstruction.visualization import write_visualization

STAGES = "stages"
_ALL_IS_BACKGROUND = "no prompts.json, --bbox or masks/ says where objects are: all is background"
_TOLD_APART = {
    "masks": "masks/ tells the objects apart",
    "sam2": "SAM 2.1 told the objects apart",
    "grabcut": "GrabCut told the objects apart (with its weights, docs/weights.md, SAM 2.1 would)",
}
_SOLID = 0.3  # opacity
_ON_A_CPU, _ON_A_GPU = 128, 448  # pixels
_AFTER_NETWORK = 1000  # iterations: Pi3_splat's depth is a better start than a plane sweep's


def reconstruct_scene(scene: SceneInput, settings: ReconstructionSettings) -> str:
    """Reconstruct a scene, write it and its report, and return a line that says so.

    Written to ``save_folder``: sim/ (the objects), sim_refine/ (the same, completed, if asked for) and bg/ (all else),
    each a scene's directory with cameras.json, visualization/ if asked for, report.json and report.md, and the stages'
    results in stages/.

    Raises:
        InputError: pictures, cameras or prompts are missing or damaged or do not fit each other, or an object is lost.
    """
    folder = scene.save_folder
    with sole_claim(folder):
        stages = StageResults(folder / STAGES, settings.overwrite)
        device = resolve_device(settings.device)
        source = picture_source(scene.data_path)
        settings = replace(settings, backend=choose_backend(settings.backend, settings.weights, device))
        posed, held_out, depth, facts, pose_hash = _posed(source, settings, device, stages)
        if posed.in_world and settings.scale is not None:
            raise InputError("--scale: the cameras are in metres already")
        rows = [row for row in range(len(posed)) if row not in held_out]
        seen = posed[rows].to(device)
        texts, labels, truth, told, mask_hash = _masks(source, seen, facts, pose_hash, rows, settings, stages)
        depth = None if depth is None else depth[rows].to(device)
        gaussians, labels, found, digest = _optimized(seen, labels.to(device), depth, mask_hash, settings, stages)
        with stages.timed("objects"):
            gaussians = without_floaters(gaussians)
            assert gaussians.labels is not None
            _check_found(gaussians.labels, texts)
            placed, notes = _in_world(gaussians, posed, settings)
            world = placed.gaussians(gaussians)
            assert world.labels is not None
            described = described_objects(texts, world.labels)
            solid = world.opacities > _SOLID
            names = [entry.name for entry in described]
            problems = placement_problems(world.means[solid], world.labels[solid], names)
            cameras = placed.cameras(posed.cameras)
        outputs = SceneOutputs(folder, world, described, cameras, rows, digest, stages)
        counts = outputs.write_background()  # refuses what was placed otherwise, before anything is replaced
        outputs.write_objects()
        notes.append(
            f"of the background, {counts['removed']} Gaussians were left out that float or that one picture alone "
            f"shows, and {counts['added']} close the ground under the objects"
        )
        refined = outputs.write_refined(settings.refine)
        with stages.timed("report"):
            held = posed[held_out].to(device) if held_out else None
            pairs = [_similarity_to(gaussians, part) for part in (seen, held) if part is not None]
            overlaps = mask_overlaps(labels, truth, len(described)) if truth is not None else []
            report = Report(
                pictures=len(seen),
                resolution=(posed.cameras.width, posed.cameras.height),
                held_out=held.names if held is not None else (),
                held_out_psnr=pairs[1][0] if held is not None else None,
                held_out_ssim=pairs[1][1] if held is not None else None,
                seen_psnr=pairs[0][0],
                mask_iou=sum(overlaps) / len(overlaps) if overlaps else None,
                alignment=_alignment(placed),
                objects=[_object_row(world, entry, overlaps) for entry in described],
                refined=refined,
                background_count=counts["count"],
                problems=problems,
                notes=[*posed.notes, *told, *found, *notes],
                seconds={},
            )
        if settings.visualize:
            with stages.timed("visualization"):
                write_visualization(folder / "visualization", seen, held, labels, gaussians, world, cameras, names)
        write_report(folder, replace(report, seconds=stages.seconds))
    quality = f", {report.held_out_psnr:.1f} dB in held-out views" if report.held_out_psnr is not None else ""
    return f"wrote {len(described)} objects and the background{quality} to {folder} (report.md)"


def _posed(
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
        made_from["weights"] = _weights_of(settings)

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
        None,
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


def _weights_of(settings: ReconstructionSettings) -> str | None:
    """Return what a record says of the network's weights."""
    path = find_network(settings.weights)
    return None if path is None else f"{path.parent.name}/{path.name}"


def _masks(
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


def _prompts(folder: Path, settings: ReconstructionSettings) -> Prompts | None:
    if settings.boxes is not None:
        return settings.boxes
    file = next(
        (place / "prompts.json" for place in (folder, folder.parent) if (place / "prompts.json").is_file()), None
    )
    return read_prompts(file) if file is not None else None


def _optimized(
    seen: PosedPictures,
    labels: torch.Tensor,
    depth: NetworkDepth | None,
    mask_hash: str,
    settings: ReconstructionSettings,
    stages: StageResults,
) -> tuple[Gaussians, torch.Tensor, list[str], str]:
    """Return labelled Gaussians in the cameras' frame, label pictures that agree with them, notes, and their hash."""
    device = labels.device
    chosen = OptimizationSettings.suited_to(device)
    by_network = settings.backend == PI3_SPLAT
    if settings.iterations is not None:
        chosen = replace(chosen, iterations=settings.iterations)
    elif by_network:
        chosen = replace(chosen, iterations=_AFTER_NETWORK)
    made_from = {"masks": mask_hash, **asdict(chosen), "seed": settings.seed, "backend": settings.backend}
    if by_network:
        made_from["weights"] = _weights_of(settings)

    def make() -> tuple[Tensors, dict[str, Any]]:
        notes = []
        if by_network:
            found = depth if depth is not None else see_depth(seen.images, settings.weights, device)
            swept, note = found.for_pictures(seen)
            notes.append(note)
        else:
            swept = sweep(seen, labels)
        initial = initial_gaussians(swept, labels, chosen.count, chosen.sh_degree, settings.seed)
        optimized = optimize(seen, initial, chosen, labels, "optimise", settings.seed)
        refined, voted = labels, optimized.labels
        if labels.any():
            refined, voted = refine_masks(optimized, seen.cameras, labels)
        assert optimized.scales is not None
        assert optimized.quaternions is not None
        assert voted is not None
        tensors = {
            "means": optimized.means,
            "opacities": optimized.opacities,
            "sh": optimized.sh,
            "scales": optimized.scales,
            "quaternions": torch.nn.functional.normalize(optimized.quaternions, dim=1),
            "labels": voted,
            "label_pictures": refined,
        }
        return tensors, {"notes": notes}

    tensors, facts, digest = stages.get("gaussians", made_from, make)
    refined = tensors.pop("label_pictures")
    gaussians = Gaussians(**{name: tensor.to(device) for name, tensor in tensors.items()})
    return gaussians, refined.to(device), facts["notes"], digest


def _check_found(labels: torch.Tensor, texts: Sequence[str]) -> None:
    """Refuse scenes of which an object has been lost."""
    found = set(labels.tolist())
    for label, text in enumerate(texts):
        if label not in found:
            raise InputError(
                f"object {label + 1} ({text}): no Gaussians are left of it: give masks/ or larger pictures"
            )


def _in_world(
    gaussians: Gaussians, posed: PosedPictures, settings: ReconstructionSettings
) -> tuple[Similarity, list[str]]:
    """Return what takes Gaussians from the cameras' frame to the simulation's world, and sentences on it."""
    assert gaussians.labels is not None
    solid = gaussians.opacities > _SOLID
    objects = gaussians.means[solid & (gaussians.labels >= 0)]
    if posed.in_world:
        placed = Similarity.identity()
        notes = []
    else:
        background = gaussians.means[solid & (gaussians.labels < 0)]
        if not len(objects):
            objects = free_place(background, posed.cameras).to(background)
        ground = place_on_ground(objects, background, posed.cameras, settings.scale, settings.seed)
        placed, notes = ground.similarity, list(ground.notes)
    if settings.real_world and (gaussians.labels >= 0).any():
        placed = stand_on_floor(placed.points(objects.double())) @ placed
    return placed, notes


@torch.no_grad()
def _similarity_to(gaussians: Gaussians, pictures: PosedPictures) -> tuple[float, float]:
    """Return the mean PSNR, decibels, and SSIM of Gaussians seen from pictures' cameras."""
    found = []
    for row in range(len(pictures)):
        drawn = rasterize(gaussians, pictures.cameras[row : row + 1]).rgb[0].clamp(0, 1)
        picture = pictures.images[row].float() / 255
        found.append((psnr(drawn, picture), ssim(drawn.movedim(-1, 0), picture.movedim(-1, 0)).item()))
    psnrs, similarities = zip(*found, strict=True)
    return sum(psnrs) / len(psnrs), sum(similarities) / len(similarities)


def mask_overlaps(labels: torch.Tensor, truth: torch.Tensor, count: int) -> list[float]:
    """Return the mean intersection over union of each object's masks with given ones, over pictures that show it.

    Args:
        labels, truth: (N, H, W), label pictures, 1 to ``count``.
    """
    overlaps = []
    for label in range(1, count + 1):
        ours, given = labels.cpu() == label, truth == label
        union = (ours | given).sum((1, 2))
        shares = (ours & given).sum((1, 2))[union > 0] / union[union > 0]
        overlaps.append(shares.mean().item() if len(shares) else 1.0)
    return overlaps


def _alignment(placed: Similarity) -> dict[str, Any]:
    return {
        "scale": placed.scale,
        "rotation": placed.rotation.tolist(),
        "translation": placed.translation.tolist(),
    }


def _object_row(world: Gaussians, entry: SceneObject, overlaps: Sequence[float]) -> dict[str, Any]:
    means = world.means[world.labels == entry.label]
    low, high = means.quantile(0.01, dim=0), means.quantile(0.99, dim=0)
    overlap = overlaps[entry.label] if overlaps else None
    return {"name": entry.name, "count": len(means), "extent": (high - low).tolist(), "mask_iou": overlap}


def _hash_of(path: Path) -> str | dict[str, str]:
    """Return the SHA-256 of a file, or of each file in a folder, by its path there."""
    if path.is_file():
        return file_hash(path)
    return {file.relative_to(path).as_posix(): file_hash(file) for file in sorted(path.rglob("*")) if file.is_file()}


def reconstruct_all(scenes: Sequence[SceneInput], settings: ReconstructionSettings) -> None:
    """Reconstruct scenes, each with a line on how it ended; one that fails does not stop the others.

    Raises:
        InputError: a scene failed; after the others, if there are some.
    """
    failures = []
    for scene in scenes:
        try:
            print(reconstruct_scene(scene, settings), flush=True)
        except InputError as error:
            if len(scenes) == 1:
                raise
            print(f"{scene.data_path}: {error}", file=sys.stderr, flush=True)
            failures.append(str(error))
    if failures:
        raise InputError(f"{len(failures)} of {len(scenes)} scenes failed, the first of them: {failures[0]}")
