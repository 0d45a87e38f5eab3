"""Check that trajectories are what docs/formats.md says and belong to their scenes, and check keypoint files."""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from gaussians.files.hdf5 import dataset_of, open_hdf5
from gaussians.files.labels import read_labels
from gaussians.files.storage_options import FIELDS
from gaussians.files.trajectory_format import Frame
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.atomic_files import file_hash
from tools.checks.findings import Findings
from tools.checks.scene_checks import SceneCloud

_FILES = r"\d{4,}\.h5|(opacity|shs)\.h5|(labels|source_index|segmentation)\.npy|meta\.json"
_PUBLISHED_FIELDS = ("pos", "cov3D", "rot")
# This admits rotations that went through float16, whose spacing at 1 is 1e-3.
_ROTATION_TOLERANCE = 0.01


def check_trajectory(path: Path, cloud: SceneCloud | None, quick: bool, findings: Findings) -> int | None:
    """Check the trajectory in ``path``.

    Args:
        cloud: the scene that was simulated; None where it is not there or damaged.
        quick: whether to read the first and the last frame only.

    Returns:
        The number of its frames; None where that cannot be told.
    """
    findings.look_over(path, _FILES)
    with findings.reading():
        reader = TrajectoryReader(path)
        _check_constants(reader, findings)
        _check_rows(reader, cloud, findings)
        numbers = range(reader.num_frames)
        for k in numbers if not quick else sorted({numbers[0], numbers[-1]}):
            with findings.reading():
                _check_frame(reader, k, findings)
        _note_later_frames(reader, findings)
        return reader.num_frames
    return None


def _check_constants(reader: TrajectoryReader, findings: Findings) -> None:
    """Check opacities and colours."""
    low, high = reader.opacities.min().item(), reader.opacities.max().item()
    if low < 0 or high > 1:
        findings.defect(reader.path / "opacity.h5", f"opacity: expected 0 to 1, found {low:g} to {high:g}")
    with findings.reading():
        _ = reader.sh


def _check_rows(reader: TrajectoryReader, cloud: SceneCloud | None, findings: Findings) -> None:
    """Check which object and which Gaussian of the scene each row is."""
    _check_labels(reader, findings)
    if cloud is None:
        return
    meta, file = reader.meta, reader.path / "source_index.npy"
    expected_hash = meta.hashes.get("point_cloud") if meta else None
    if expected_hash is not None and expected_hash != file_hash(cloud.path):
        findings.defect(reader.path / "meta.json", f"hashes: simulated from another file than {cloud.path} is now")
        return
    if not file.is_file():
        if meta is None and reader.count > cloud.count:
            found = f"found {reader.count}"
            findings.defect(reader.path, f"expected at most the {cloud.count} Gaussians of {cloud.path}, {found}")
        return
    with findings.reading():
        rows = read_labels(file).numpy()
        kept = rows[rows >= 0]
        if len(rows) != reader.count:
            findings.defect(file, f"expected {reader.count} rows, found {len(rows)}")
        elif rows.min() < -1 or rows.max() >= cloud.count:
            found = f"found {rows.min()} to {rows.max()}"
            findings.defect(file, f"expected rows of {cloud.path}, 0 to {cloud.count - 1}, or -1, {found}")
        elif len(np.unique(kept)) < len(kept):
            findings.defect(file, "expected every row of the scene once at most")
        elif reader.labels is not None and cloud.labels is not None:
            wrong = np.flatnonzero(cloud.labels[kept] != reader.labels.numpy()[rows >= 0])
            if len(wrong):
                findings.defect(reader.path / "labels.npy", f"{len(wrong)} labels differ from those of {cloud.path}")


def _check_labels(reader: TrajectoryReader, findings: Findings) -> None:
    if reader.labels is None or reader.meta is None:
        return
    labels, file = reader.labels.numpy(), reader.path / "labels.npy"
    known = {entry.label: entry for entry in reader.meta.objects}
    strange = sorted(set(np.unique(labels).tolist()) - set(known) - {-1})
    if strange:
        findings.defect(file, f"expected labels {sorted(known)} of meta.json, or -1, found {strange}")
    for label, entry in known.items():
        count = int((labels == label).sum())
        if not count:
            findings.defect(file, f"no Gaussian of label {label}, {entry.name}")


def _check_frame(reader: TrajectoryReader, k: int, findings: Findings) -> None:
    path = reader.path / f"{k:04d}.h5"
    _check_datasets(reader, path, findings)
    frame = reader.frame(k)
    _check_values(path, frame, reader.meta is not None, findings)


def _check_datasets(reader: TrajectoryReader, path: Path, findings: Findings) -> None:
    """Check the names and types of a frame's datasets."""
    published = reader.meta is None
    expected = _PUBLISHED_FIELDS if reader.meta is None else reader.meta.settings.get("save_fields", FIELDS)
    with open_hdf5(path) as file:
        missing = [name for name in expected if name not in file]
        if missing:
            findings.defect(path, f"no dataset {', '.join(missing)}: expected {', '.join(expected)}")
        for name in sorted(set(expected) & set(file)):
            kind = dataset_of(path, name, file).dtype
            allowed = ("float32",) if name == "cov3D" and not published else ("float32", "float16")
            if kind not in allowed:
                findings.defect(path, f"{name}: expected {' or '.join(allowed)}, found {kind}")
        unknown = sorted(set(file) - set(FIELDS))
        if unknown:
            findings.unknown.append(f"{path}: datasets {', '.join(unknown)}")


def _check_values(path: Path, frame: Frame, strict: bool, findings: Findings) -> None:
    """Check that covariances have no negative variance and, if ``strict``, that rotations are proper ones."""
    if frame.covariances is not None and not (frame.covariances[:, (0, 3, 5)] >= 0).all():
        findings.defect(path, "cov3D: expected variances xx, yy, zz of 0 or more")
    if strict and frame.rotations is not None:
        R = frame.rotations
        error = (R @ R.mT - torch.eye(3)).abs().amax((1, 2))
        bad = (error > _ROTATION_TOLERANCE) | (torch.linalg.cross(R[:, 0], R[:, 1]) * R[:, 2]).sum(1).lt(0)
        if bad.any():
            row = int(bad.nonzero()[0, 0])
            findings.defect(path, f"rot: expected rotations, found {int(bad.sum())} others, the first in row {row}")


def _note_later_frames(reader: TrajectoryReader, findings: Findings) -> None:
    for file in sorted(reader.path.glob("[0-9]*.h5")):
        if file.stem.isdecimal() and int(file.stem) >= reader.num_frames:
            findings.leftovers.append(f"{file}: past the {reader.num_frames} frames, of a longer run before")


def check_keypoints(path: Path, findings: Findings) -> None:
    """Check ``keypoints/<group>/<scene>_<number>.safetensors``, a cache, which is no defect where it is damaged."""
    problem = _keypoint_problem(path)
    if problem:
        findings.leftovers.append(f"{path}: a cache that will be made again: {problem}")


def _keypoint_problem(path: Path) -> str | None:
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError) as error:
        return f"not a readable safetensors file: {error}"
    missing = [name for name in ("positions", "rows", "labels") if name not in tensors]
    if missing:
        return f"no tensor {', '.join(missing)}"
    positions, rows = tensors["positions"], tensors["rows"]
    if positions.ndim != 4 or positions.shape[1:3] != rows.shape or positions.shape[3] != 3:
        return f"expected positions (T, O, P, 3) and rows (O, P), found {tuple(positions.shape)}, {tuple(rows.shape)}"
    return None
