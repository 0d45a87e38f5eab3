"""Order the stages that make Gaussians of objects and their background from pictures of a scene.

Frames and cameras, masks, Gaussians optimised to look like the pictures, the world that they are simulated in, objects,
background: every stage keeps what it found (``stage_results``), and the report says how well it went.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch

from dataset.scenes.scene_objects import SceneObject
from externals.feature_matching import choose_matcher
from externals.super_resolution import SuperResolution, choose_super_resolution
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.stage.claims import sole_claim
from gaussians.stage.command_line import resolve_device
from gaussians.stage.errors import InputError
from gaussians.stage.failures import reporting
from videogen.reconstruction.alignment import Similarity
from videogen.reconstruction.completion.generated_objects import (
    GeneratedObject,
    SeenScene,
    choose_completion,
    generate_objects,
    load_generator,
)
from videogen.reconstruction.feed_forward import NAME as PI3_SPLAT
from videogen.reconstruction.feed_forward import (
    NetworkDepth,
    choose_backend,
    see_depth,
)
from videogen.reconstruction.object_clouds import described_objects, strays, without_floaters
from videogen.reconstruction.optimization import OptimizationSettings, initial_gaussians, optimize
from videogen.reconstruction.photometric_loss import psnr, ssim
from videogen.reconstruction.picture_stages import object_masks, posed_pictures, weights_of
from videogen.reconstruction.placement import free_place, place_on_ground, placement_problems, stand_on_floor
from videogen.reconstruction.plane_sweep import sweep
from videogen.reconstruction.posing.pictures import picture_source
from videogen.reconstruction.posing.posed_pictures import PosedPictures
from videogen.reconstruction.report import Report, write_report
from videogen.reconstruction.scene_outputs import SceneOutputs
from videogen.reconstruction.segmentation.label_voting import refine_masks
from videogen.reconstruction.settings import ReconstructionSettings, SceneInput
from videogen.reconstruction.stage_results import StageResults, Tensors
from videogen.reconstruction.visualization import write_visualization

STAGES = "stages"
_SOLID = 0.3  # opacity
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
        posed, held_out, depth, facts, pose_hash = posed_pictures(source, settings, device, stages)
        if posed.in_world and settings.scale is not None:
            raise InputError("--scale: the cameras are in metres already")
        rows = [row for row in range(len(posed)) if row not in held_out]
        seen = posed[rows].to(device)
        texts, labels, truth, told, mask_hash = object_masks(source, seen, facts, pose_hash, rows, settings, stages)
        depth = None if depth is None else depth[rows].to(device)
        gaussians, labels, found, digest = _optimized(seen, labels.to(device), depth, mask_hash, settings, stages)
        with stages.timed("objects"):
            gaussians = without_floaters(gaussians)
            assert gaussians.labels is not None
            _check_found(gaussians.labels, texts)
            placed, notes = _in_world(gaussians, posed, settings)
            cameras = placed.cameras(posed.cameras)
            world = placed.gaussians(gaussians)
            seen_by = cameras[torch.tensor(rows)].to(device)
            stray = strays(world, seen_by, len(texts))
            gaussians, world = gaussians[~stray], world[~stray]
            if stray.any():
                notes.append(f"of the objects, {int(stray.sum())} Gaussians were left out that pictures see past")
            assert world.labels is not None
            described = described_objects(texts, world.labels)
            solid = world.opacities > _SOLID
            names = [entry.name for entry in described]
            problems = placement_problems(world.means[solid], world.labels[solid], names)
        outputs = SceneOutputs(folder, world, described, cameras, seen_by, rows, digest, stages)
        counts = outputs.write_background()  # refuses what was placed otherwise, before anything is replaced
        outputs.write_objects()
        notes.append(
            f"of the background, {counts['removed']} Gaussians were left out that float or that one picture alone "
            f"shows, and {counts['added']} close the ground under the objects"
        )
        completion = choose_completion(settings.completion, settings.weights, settings.sd_version, device)
        pictured = SeenScene(world, seen_by, seen.images, labels, seen.names)
        generate = partial(_generated, pictured, texts, settings) if completion == "diffsplat" else None
        refined, completed = outputs.write_refined(settings.refine, _completed_by(completion, settings), generate)
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
                notes=[*posed.notes, *told, *found, *notes, *completed],
                seconds={},
            )
        if settings.visualize:
            with stages.timed("visualization"):
                write_visualization(folder / "visualization", seen, held, labels, gaussians, world, cameras, names)
        write_report(folder, replace(report, seconds=stages.seconds))
    quality = f", {report.held_out_psnr:.1f} dB in held-out views" if report.held_out_psnr is not None else ""
    return f"wrote {len(described)} objects and the background{quality} to {folder} (report.md)"


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
        made_from["weights"] = weights_of(settings)

    def make() -> tuple[Tensors, dict[str, Any]]:
        notes = []
        if by_network:
            found = depth if depth is not None else see_depth(seen.images, settings.weights, device)
            swept, note = found.for_pictures(seen, labels)
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


def _completed_by(completion: str, settings: ReconstructionSettings) -> dict[str, Any]:
    """Return what a record says of how objects were completed."""
    if completion == "hull":
        return {"completion": completion}
    enlarged_by = choose_super_resolution(settings.super_resolution, settings.weights)
    return {"completion": f"{completion} {settings.sd_version}", "super_resolution": enlarged_by, "seed": settings.seed}


def _generated(scene: SeenScene, texts: Sequence[str], settings: ReconstructionSettings) -> list[GeneratedObject]:
    """Return whole objects as DiffSplat sees them."""
    device = scene.gaussians.device
    generator = load_generator(settings.weights, settings.sd_version, device)
    enlarger = SuperResolution(settings.super_resolution, settings.weights, device)
    _, matcher = choose_matcher("auto", settings.weights, device)
    generated = generate_objects(scene, texts, generator, enlarger, matcher, settings.seed)
    del generator, enlarger
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what comes next needs the memory
    return generated


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


def reconstruct_all(scenes: Sequence[SceneInput], settings: ReconstructionSettings) -> None:
    """Reconstruct scenes, each with a line on how it ended; one that fails does not stop the others.

    Raises:
        InputError: a scene failed; after the others, if there are some.
    """
    if len(scenes) == 1:
        print(reconstruct_scene(scenes[0], settings), flush=True)
        return
    failures: list[str] = []
    for scene in scenes:
        with reporting(failures, f"{scene.data_path}"):
            print(reconstruct_scene(scene, settings), flush=True)
    if failures:
        raise InputError(f"{len(failures)} of {len(scenes)} scenes failed, the first of them: {failures[0]}")
