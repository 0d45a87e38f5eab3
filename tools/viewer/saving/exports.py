"""Write what is shown as Gaussians: one file, one file a frame, or a scene that the other commands take."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dataset.scenes.scene_files import write_scene
from gaussians.files.splats.ply import write_ply
from gaussians.files.splats.splat_formats import splat_sequence
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError
from tools.viewer.scene.layers import Layer, Stage


def free_path(folder: Path, name: str, suffix: str = "") -> Path:
    """Return a path in ``folder`` that nothing has, named ``name`` or with a number after it."""
    safe = "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in name).strip(". ") or "export"
    path, number = folder / f"{safe}{suffix}", 1
    while path.exists():
        number += 1
        path = folder / f"{safe}_{number}{suffix}"
    return path


def export_ply(stage: Stage, time: float, path: Path) -> str:
    """Write the Gaussians that are drawn at a time, seconds, as one PLY in the axes of what is shown.

    Raises:
        InputError: nothing is drawn, a file is damaged or cannot be written.
    """
    gaussians = _drawn(stage, time)
    write_ply(path, gaussians, up=stage.up)
    return f"{path}: {len(gaussians):,} Gaussians"


def export_sequence(stage: Stage, folder: Path) -> Generator[float, None, str]:
    """Write the Gaussians that are drawn at each frame, ``0000.ply`` and so on; the folder appears when it is whole.

    Yields:
        Which share is done, after each file.

    Returns:
        What was written.

    Raises:
        InputError: nothing is drawn, a file is damaged or cannot be written.
    """
    count, step = stage.duration
    with splat_sequence(folder, "ply") as write:
        for k in range(count):
            write(k, _drawn(stage, k * step))
            yield (k + 1) / count
    return f"{folder}: {count} PLY files"


def _drawn(stage: Stage, time: float) -> Gaussians:
    gaussians = stage.gaussians(stage.frames(time))
    if not len(gaussians):
        raise InputError("nothing is shown that could be written")
    return gaussians


def save_scene(stage: Stage, layer: Layer, time: float, folder: Path) -> str:
    """Write a layer as a scene: its Gaussians where a person has put them, with what is known of its objects.

    ``dataset.gs_simulation_scene`` and ``videogen.eval`` take it. Hidden objects and deleted Gaussians are left out.

    Args:
        time: of the frame that is written, seconds.

    Raises:
        InputError: nothing is left, the scene does not have z up, or the directory cannot be written.
    """
    if stage.up != "z":
        raise InputError(f"a scene has z up, this has {stage.up}: export a PLY instead")
    source = layer.source
    frame = source.frame(source.at(time), ("rot",))
    cuts = replace(stage.cuts, sh_degree=source.sh_degree)
    parts: list[Gaussians] = []
    entries: list[dict[str, Any]] = []
    rest: list[Gaussians] = []
    for part in layer.parts:
        gaussians = part.gaussians(frame, cuts, part.pose) if part.visible else None
        if gaussians is None or not len(gaussians):
            continue
        known = source.described.get(part.name)
        if known is None and part.name == "rest":
            rest.append(_labelled(gaussians, -1))
            continue
        entry = {} if known is None else known.model_dump(exclude_none=True)
        label = len(entries)
        name = part.name if known is None else known.name
        entries.append(entry | {"label": label, "name": name, "count": len(gaussians)})
        parts.append(_labelled(gaussians, label))
    if not parts:
        raise InputError("no object is shown that could be saved")
    joined = Gaussians.cat([*parts, *rest])
    write_scene(folder, joined, entries)
    return f"{folder}: a scene of {len(entries)} objects, {len(joined):,} Gaussians"


def _labelled(gaussians: Gaussians, label: int) -> Gaussians:
    return replace(gaussians, labels=torch.full((len(gaussians),), label, dtype=torch.int32))
