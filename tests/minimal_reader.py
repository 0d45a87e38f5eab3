"""Reads a dataset by docs/formats.md alone: nothing of the project is imported here, so that the page is the test."""

import json
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  the page says: needed for compressed files
import numpy as np

PLY = "point_cloud/iteration_30000/point_cloud.ply"


def read_ply(path: Path) -> dict[str, np.ndarray]:
    """Activated Gaussians: means, sh, opacities, scales, quaternions."""
    contents = path.read_bytes()
    end = contents.index(b"end_header\n") + len(b"end_header\n")
    lines = contents[:end].decode("ascii").splitlines()
    assert lines[0] == "ply"
    assert "format binary_little_endian 1.0" in lines
    count = int(next(line for line in lines if line.startswith("element vertex")).split()[2])
    names = [line.split()[2] for line in lines if line.startswith("property float")]
    table = np.frombuffer(contents, "<f4", count * len(names), end).reshape(count, len(names))
    column = dict(zip(names, table.T, strict=True))
    rest = [name for name in names if name.startswith("f_rest_")]
    dc = np.stack([column[f"f_dc_{c}"] for c in range(3)], -1)[:, None]
    higher = np.stack([column[f"f_rest_{i}"] for i in range(len(rest))], -1) if rest else np.zeros((count, 0))
    higher = higher.reshape(count, 3, -1).transpose(0, 2, 1)  # red, green, blue
    quaternions = np.stack([column[f"rot_{i}"] for i in range(4)], -1)
    return {
        "means": np.stack([column[axis] for axis in "xyz"], -1),
        "sh": np.concatenate([dc, higher], 1),
        "opacities": 1 / (1 + np.exp(-column["opacity"])),
        "scales": np.exp(np.stack([column[f"scale_{i}"] for i in range(3)], -1)),
        "quaternions": quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True),
    }


class Trajectory:
    """A directory of frames, made here or published."""

    def __init__(self, path: Path) -> None:
        self.path = path
        meta = path / "meta.json"
        self.meta = json.loads(meta.read_text(encoding="utf-8")) if meta.is_file() else None
        if self.meta is not None:
            assert self.meta["format_version"] == 1
            assert self.meta["complete"], "not a finished trajectory"
        self.frame_dt = self.meta["frame_dt"] if self.meta else 0.02
        frames = sorted(file for file in path.glob("*.h5") if file.stem.isdecimal())
        self.num_frames = self.meta["frame_count"] if self.meta else len(frames)
        with h5py.File(path / "opacity.h5") as file:
            self.opacities = file["opacity"][:].astype(np.float32).reshape(-1)
        with h5py.File(path / "shs.h5") as file:
            self.sh = file["shs"][:].astype(np.float32)
        labels = path / "labels.npy"
        self.labels = np.load(labels) if labels.is_file() else None
        source = path / "source_index.npy"
        self.source_index = np.load(source) if source.is_file() else None

    def frame(self, k: int) -> dict[str, np.ndarray]:
        """What frame k holds, rotations for all rows and from frame 0 to this one."""
        with h5py.File(self.path / f"{k:04d}.h5") as file:
            arrays = {name: file[name][:].astype(np.float32) for name in file}
        if "rot" in arrays:
            still = np.broadcast_to(np.eye(3, dtype=np.float32), (len(arrays["pos"]) - len(arrays["rot"]), 3, 3))
            arrays["rot"] = np.concatenate([arrays["rot"].transpose(0, 2, 1), still])
        return arrays


def read_labels(path: Path) -> np.ndarray:
    """A label file with labels by rank, -1 for none."""
    labels = np.load(path)
    used = np.unique(labels[labels >= 0])
    if len(used) and used[-1] >= len(used):
        labels = np.where(labels >= 0, np.searchsorted(used, labels), -1)
    return labels


def read_depth(path: Path) -> np.ndarray:
    """(V, H, W), metres."""
    with h5py.File(path) as file:
        return file["depth"][:] / 65535 * file["depth_max"][()]


def read_masks(path: Path) -> np.ndarray:
    """(T, H, W), the label of the object that each pixel shows, -1 for none."""
    with h5py.File(path) as file:
        return file["mask"][:].astype(int) - 1


def read_prompts(path: Path) -> dict[str, list]:
    prompts = json.loads(path.read_text(encoding="utf-8"))
    return {
        "point": prompts.get("point", prompts.get("center_point")),
        "bbox": prompts["bbox"],
        "text": prompts["text"],
    }


def project(camera: dict, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2) and depths (N,) of world points (N, 3) in an entry of cameras.json."""
    rotation, position = np.array(camera["rotation"]), np.array(camera["position"])
    local = (points - position) @ rotation  # camera to world, transposed for rows, and back
    u = camera["fx"] * local[:, 0] / local[:, 2] + camera["width"] / 2
    v = camera["fy"] * local[:, 1] / local[:, 2] + camera["height"] / 2
    return np.stack([u, v], -1), local[:, 2]
