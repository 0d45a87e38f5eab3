"""This module reads and writes scenes: directories of Gaussians at rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset.layout import MADE_FROM, POINT_CLOUD, Layout, find_point_cloud
from dataset.scenes.capture_settings import CaptureSettings
from dataset.scenes.captures import capture_object, placed_capture
from dataset.scenes.scene_objects import SceneObject, is_described, scene_labels, scene_objects
from gaussians.cameras import Cameras, write_cameras
from gaussians.files.splats.ply import write_ply
from gaussians.files.splats.splat_formats import read_splats
from gaussians.representation import Gaussians
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import write_json
from gaussians.stage.provenance import Provenance

SCENE_FILES = (str(POINT_CLOUD), "segmentation.npy", "objects.json", "cameras.json")
"""The files of a scene that ``dataset.generate_scene`` writes, from the scene's directory."""


@dataclass(frozen=True)
class Scene:
    """Holds Gaussians at rest and the objects that they belong to.

    Attributes:
        gaussians: N Gaussians, whose labels are the numbers of their objects, -1 for none.
        objects: the K objects, by label.
        path: the directory or file that they were read from, None for a scene in memory.
        rows: (N,) int64, the row of its file that each Gaussian stood in; None: all, in their order.
        captured: whether it is a capture, which nothing describes, placed in the world.
        notes: sentences for the user on how the file was read.
    """

    gaussians: Gaussians
    objects: tuple[SceneObject, ...]
    path: Path | None = None
    rows: torch.Tensor | None = None
    captured: bool = False
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(gaussians: Gaussians) -> "Scene":
        """Return Gaussians in memory as a scene: an object for each label, or a single one if they have no labels."""
        labels = gaussians.labels
        if labels is None:
            labels = torch.zeros(len(gaussians), dtype=torch.int32, device=gaussians.device)
        count = int(labels.max()) + 1 if len(labels) else 0
        objects = [SceneObject(label=label, name=f"object{label}") for label in range(count)]
        return Scene(replace(gaussians, labels=labels), tuple(objects))


def read_scene(
    path: str | Path,
    layout: Layout | None = None,
    objects: Sequence[SceneObject] | None = None,
    capture: CaptureSettings | None = None,
) -> Scene:
    """Read the Gaussians and the objects of a scene.

    Args:
        path: scene directory or file of Gaussians.
        layout: where objects that people added are described.
        objects: the scene's objects where ``scene_objects`` or ``objects_of`` has found them already.
        capture: how a file of another program, which nothing describes, is placed in the world; None: it stays in its
            own axes and units.

    Raises:
        IndistinctObjectsError: nothing tells the scene's objects apart.
        InputError: a file is missing or damaged.
    """
    path = Path(path)
    cloud, described = find_point_cloud(path), is_described(path, layout)
    if objects is None:
        objects = scene_objects(path, layout) if capture is None else objects_of(path, capture, layout)
    if capture is not None and not described:
        placed = placed_capture(cloud, capture)
        labels = torch.zeros(len(placed.gaussians), dtype=torch.int32)
        return Scene(replace(placed.gaussians, labels=labels), tuple(objects), path, placed.rows, True, placed.notes)
    splats = read_splats(cloud, keep_rows=described)
    labels = scene_labels(path, objects, len(splats.gaussians))
    return Scene(replace(splats.gaussians, labels=labels), tuple(objects), path, splats.rows, notes=splats.notes)


def objects_of(path: Path, capture: CaptureSettings, layout: Layout | None = None) -> list[SceneObject]:
    """Return the objects of a scene, by label, or the single one of a capture.

    Args:
        path: scene directory or file of Gaussians.
        capture: how it is placed if it is a capture.
        layout: where objects that people added are described.

    Raises:
        InputError: a file is damaged, or the path is no capture, for which ``capture`` would have no effect.
    """
    if not is_described(path, layout):
        return [capture_object(path)]
    if capture != CaptureSettings():
        raise InputError(
            f"--up, --scale: {path} is no capture, but a scene whose objects are known, z up and in metres: "
            "expected neither"
        )
    return scene_objects(path, layout)


def write_scene(
    path: Path,
    gaussians: Gaussians,
    objects: Sequence[Mapping[str, Any]],
    cameras: Cameras | None = None,
    made_from: Mapping[str, Any] | None = None,
) -> None:
    """Write a scene's directory: point cloud, segmentation.npy, objects.json and, if given, cameras.json and a record.

    The directory appears when it is whole.

    Args:
        gaussians: the scene's, with labels.
        objects: the content of objects.json.
        cameras: the content of cameras.json.
        made_from: what the scene is made from, for its record made_from.json.

    Raises:
        InputError: the directory cannot be written.
    """
    if gaussians.labels is None:
        raise ValueError("gaussians: expected labels")
    with atomic_path(path) as folder:
        write_ply(folder / POINT_CLOUD, gaussians)
        if cameras is not None:
            write_cameras(folder / "cameras.json", cameras)
        np.save(folder / "segmentation.npy", gaussians.labels.numpy())
        write_json(folder / "objects.json", objects)
        if made_from is not None:
            files = (file for file in SCENE_FILES if (folder / file).is_file())
            Provenance(folder / MADE_FROM, made_from).write(folder / file for file in files)
