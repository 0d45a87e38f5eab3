"""Check that objects, backgrounds, scenes and reconstructions are what docs/formats.md says."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.catalog import object_by_name
from dataset.layout import MADE_FROM, POINT_CLOUD, Layout, find_point_cloud
from dataset.rendering.background import load_background
from dataset.scenes.scene_names import objects_in_name
from dataset.scenes.scene_objects import IndistinctObjectsError, SceneObject, scene_labels, scene_objects
from gaussians.cameras import read_cameras
from gaussians.files.labels import read_labels
from gaussians.files.splats.ply import read_ply
from tools.checks.findings import Findings


@dataclass(frozen=True)
class SceneCloud:
    """A ``SceneCloud`` is a scene's Gaussians as far as other files of the scene are compared with them.

    Attributes:
        path: the scene's PLY.
        count: its Gaussians.
        labels: (count,), -1 or 0 to K-1; None where nothing tells its objects apart.
        objects: K of them.
    """

    path: Path
    count: int
    labels: np.ndarray | None
    objects: list[SceneObject]


def check_object(path: Path, layout: Layout, findings: Findings) -> None:
    """Check an object: its point cloud and, unless the catalogue has the object, ``object.json``."""
    findings.look_over(
        path, r"point_cloud|object\.json|made_from\.json|cameras\.json|input\.ply|cfg_args|exposure\.json"
    )
    findings.check_records(path, MADE_FROM)
    with findings.reading():
        read_ply(find_point_cloud(path))
    with findings.reading():
        object_by_name(path.name, layout)


def check_background(path: Path, findings: Findings) -> None:
    """Check a background: its cloud, and what places it in the world."""
    known = r"gaussians_(feedforward|postopt)\.ply|camera_2999\.pt|placement\.json|made_from\.json|point_cloud"
    findings.look_over(path, known)
    findings.check_records(path, MADE_FROM)
    with findings.reading():
        load_background(path)


def check_scene(path: Path, layout: Layout, findings: Findings) -> SceneCloud | None:
    """Check a scene's Gaussians, labels, objects and cameras.

    Returns:
        What was read; None where the point cloud, or what labels it, is damaged.
    """
    files = r"point_cloud|segmentation\.npy|objects\.json|cameras\.json|made_from\.json"
    findings.look_over(path, rf"{files}|input\.ply|cfg_args|exposure\.json")
    findings.check_records(path, MADE_FROM)
    if (path / "cameras.json").is_file():
        with findings.reading():
            read_cameras(path / "cameras.json")
    with findings.reading():
        cloud = find_point_cloud(path)
        count = len(read_ply(cloud))
        objects = scene_objects(path, layout)
        labels = _labels(path, objects, count)
        _check_counts(path, objects, labels, findings)
        _check_name(path, objects, findings)
        return SceneCloud(cloud, count, labels, objects)
    return None


def _labels(path: Path, objects: list[SceneObject], count: int) -> np.ndarray | None:
    """Labels of the rows; published scenes need not come with any."""
    try:
        return scene_labels(path, objects, count).numpy()
    except IndistinctObjectsError:
        if (path / "objects.json").is_file():
            raise
        return None


def _check_counts(path: Path, objects: list[SceneObject], labels: np.ndarray | None, findings: Findings) -> None:
    if labels is None or not (path / "objects.json").is_file():
        return
    for entry in objects:
        found = int((labels == entry.label).sum())
        if entry.count is not None and entry.count != found:
            text = f"{entry.label}.count: expected {found}, as many as segmentation.npy labels so, found {entry.count}"
            findings.defect(path / "objects.json", text)


def _check_name(path: Path, objects: list[SceneObject], findings: Findings) -> None:
    """Check that a scene of the dataset is called ``<number>_<object>_<object>`` after its objects."""
    named, expected = objects_in_name(path.name), tuple(entry.name for entry in objects)
    if named and named != expected:
        findings.defect(path, f"expected the name <number>_{'_'.join(expected)}, after its objects")


def check_reconstruction(path: Path, findings: Findings) -> None:
    """Check ``reconstruct/<group>/<scene>/<background>``: up to three clouds with their labels and cameras."""
    findings.look_over(path, "sim|sim_refine|bg")
    for part in sorted(folder for folder in path.iterdir() if folder.name in ("sim", "sim_refine", "bg")):
        findings.look_over(part, r"point_cloud|segmentation\.npy|cameras\.json|objects\.json")
        with findings.reading():
            count = len(read_ply(find_point_cloud(part)))
            segmentation = part / "segmentation.npy"
            if segmentation.is_file() and len(read_labels(segmentation)) != count:
                findings.defect(segmentation, f"expected {count} labels, one for each row of {POINT_CLOUD}")
        if (part / "cameras.json").is_file():
            with findings.reading():
                read_cameras(part / "cameras.json")
