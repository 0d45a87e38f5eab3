"""This module reads and writes scenes: directories of Gaussians at rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset.layout import MADE_FROM, POINT_CLOUD, Layout, find_point_cloud
from dataset.scenes.scene_objects import SceneObject, scene_labels, scene_objects
from gaussians.cameras import Cameras, write_cameras
from gaussians.files.ply import read_ply, write_ply
from gaussians.representation import Gaussians
from gaussians.stage.atomic_files import atomic_path
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
        path: the directory or PLY file that they were read from, None for a scene in memory.
    """

    gaussians: Gaussians
    objects: tuple[SceneObject, ...]
    path: Path | None = None

    @staticmethod
    def of(gaussians: Gaussians) -> "Scene":
        """Return Gaussians in memory as a scene: an object for each label, or a single one if they have no labels."""
        labels = gaussians.labels
        if labels is None:
            labels = torch.zeros(len(gaussians), dtype=torch.int32, device=gaussians.device)
        count = int(labels.max()) + 1 if len(labels) else 0
        objects = [SceneObject(label=label, name=f"object{label}") for label in range(count)]
        return Scene(replace(gaussians, labels=labels), tuple(objects))


def read_scene(path: str | Path, layout: Layout | None = None, objects: Sequence[SceneObject] | None = None) -> Scene:
    """Read the Gaussians and the objects of a scene.

    Args:
        path: scene directory or PLY file.
        layout: where objects that people added are described.
        objects: the scene's objects where ``scene_objects`` has found them already.

    Raises:
        IndistinctObjectsError: nothing tells the scene's objects apart.
        InputError: a file is missing or damaged.
    """
    path = Path(path)
    gaussians = read_ply(find_point_cloud(path))
    objects = scene_objects(path, layout) if objects is None else objects
    labels = scene_labels(path, objects, len(gaussians))
    return Scene(replace(gaussians, labels=labels), tuple(objects), path)


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
