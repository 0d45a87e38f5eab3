"""Read the cameras, images and points that COLMAP estimates (Schönberger & Frahm 2016), as text or binary files.

COLMAP's documentation, "Output Format", describes the files.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gaussians.lenses import Lens
from gaussians.rotations import quaternion_to_matrix
from gaussians.stage.errors import InputError

# The models by their number in binary files, with the names of their parameters.
_MODELS = (
    ("SIMPLE_PINHOLE", "f cx cy"),
    ("PINHOLE", "fx fy cx cy"),
    ("SIMPLE_RADIAL", "f cx cy k1"),
    ("RADIAL", "f cx cy k1 k2"),
    ("OPENCV", "fx fy cx cy k1 k2 p1 p2"),
    ("OPENCV_FISHEYE", "fx fy cx cy k1 k2 k3 k4"),
    ("FULL_OPENCV", "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6"),
    ("FOV", "fx fy cx cy omega"),
    ("SIMPLE_RADIAL_FISHEYE", "f cx cy k1"),
    ("RADIAL_FISHEYE", "f cx cy k1 k2"),
    ("THIN_PRISM_FISHEYE", "fx fy cx cy k1 k2 p1 p2 k3 k4 sx1 sy1"),
)
_FILES = ("cameras", "images", "points3D")


@dataclass(frozen=True)
class ColmapModel:
    """A ``ColmapModel`` holds C cameras' poses and P points in a frame of their own.

    Attributes:
        names: of the images, as paths below the folder of images.
        viewmats: (C, 4, 4) float64, world to camera.
        lenses: one for each image.
        points: (P, 3) float32.
        colors: (P, 3) float32, 0 to 1.
    """

    names: tuple[str, ...]
    viewmats: torch.Tensor
    lenses: tuple[Lens, ...]
    points: torch.Tensor
    colors: torch.Tensor


def is_colmap_model(folder: Path) -> bool:
    """Return whether a folder holds a model, text or binary."""
    return any(all((folder / f"{name}{suffix}").is_file() for name in _FILES) for suffix in (".bin", ".txt"))


def read_colmap_model(folder: Path) -> ColmapModel:
    """Read a model from its three files, the binary ones if both are there.

    Raises:
        InputError: a file is missing, damaged, or has cameras of a model that cannot be undistorted.
    """
    suffix = ".bin" if (folder / "cameras.bin").is_file() else ".txt"
    read = _read_binary if suffix == ".bin" else _read_text
    cameras, images, points = read(folder)
    lenses = {}
    for number, (model, width, height, parameters) in cameras.items():
        lenses[number] = _lens(folder / f"cameras{suffix}", model, width, height, parameters)
    path = folder / f"images{suffix}"
    if not images:
        raise InputError(f"{path}: expected images, found none")
    for name, _, camera in images:
        if camera not in lenses:
            raise InputError(f"{path}: {name}: no camera {camera} in {folder / f'cameras{suffix}'}")
    poses = torch.tensor([pose for _, pose, _ in images], dtype=torch.float64)
    if not (poses.isfinite().all() and (poses[:, :4].norm(dim=1) > 1e-6).all()):
        raise InputError(f"{path}: expected finite positions and quaternions that are not zero")
    viewmats = torch.eye(4, dtype=torch.float64).repeat(len(images), 1, 1)
    viewmats[:, :3, :3] = quaternion_to_matrix(poses[:, :4])
    viewmats[:, :3, 3] = poses[:, 4:]
    table = np.array(points, np.float64).reshape(-1, 6)
    table = table[np.isfinite(table).all(1)]
    return ColmapModel(
        tuple(name for name, _, _ in images),
        viewmats,
        tuple(lenses[camera] for _, _, camera in images),
        torch.from_numpy(table[:, :3]).float(),
        torch.from_numpy(table[:, 3:] / 255).float(),
    )


_Camera = tuple[str, int, int, Sequence[float]]  # model, width, height, parameters
_Image = tuple[str, tuple[float, ...], int]  # name, quaternion and translation, camera
_Model = tuple[dict[int, _Camera], list[_Image], list[tuple[float, ...]]]  # and position and colour of points


def _lens(path: Path, model: str, width: int, height: int, parameters: Sequence[float]) -> Lens:
    names = dict(_MODELS)[model].split()
    if len(parameters) != len(names):
        raise InputError(f"{path}: {model}: expected {len(names)} parameters, found {len(parameters)}")
    value = dict(zip(names, parameters, strict=True))
    fx, fy = value.get("fx", value.get("f", 0.0)), value.get("fy", value.get("f", 0.0))
    if not (all(map(math.isfinite, parameters)) and fx > 0 and fy > 0 and width > 0 and height > 0):
        raise InputError(f"{path}: {model}: expected positive sizes and focal lengths, and finite parameters")
    if model in ("FOV", "THIN_PRISM_FISHEYE"):
        raise InputError(
            f"{path}: cameras of the model {model} are not read: undistort with COLMAP's image_undistorter"
        )
    fisheye = "FISHEYE" in model
    order = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    distortion = tuple(value.get(name, 0.0) for name in order)
    return Lens(width, height, fx, fy, value["cx"], value["cy"], "fisheye" if fisheye else "perspective", distortion)


class _Bytes:
    """A ``_Bytes`` takes numbers from a binary file one after the other, and no more than are there."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.place = path, _contents(path), 0

    def take(self, layout: str) -> tuple:
        size = struct.calcsize("<" + layout)
        values = struct.unpack_from("<" + layout, self.data, self.place) if self._has(size) else ()
        self.place += size
        return values

    def text(self) -> str:
        end = self.data.find(b"\0", self.place)
        self._has(end - self.place if end >= 0 else len(self.data) + 1)
        start, self.place = self.place, end + 1
        return self.data[start:end].decode("utf-8", "replace")

    def skip(self, size: int) -> None:
        self._has(size)
        self.place += size

    def rows(self) -> Iterator[int]:
        """Yield the number of each of the rows that the file says it has."""
        yield from range(self.take("Q")[0])
        if self.place != len(self.data):
            raise InputError(f"{self.path}: {len(self.data) - self.place} bytes too many for its number of rows")

    def _has(self, size: int) -> bool:
        if self.place + size > len(self.data):
            raise InputError(f"{self.path}: ends too early")
        return True


def _read_binary(folder: Path) -> _Model:
    file = _Bytes(folder / "cameras.bin")
    cameras: dict[int, _Camera] = {}
    for _ in file.rows():
        camera, model, width, height = file.take("iiQQ")
        if not 0 <= model < len(_MODELS):
            raise InputError(f"{file.path}: camera {camera}: unknown model {model}")
        name, parameters = _MODELS[model]
        cameras[camera] = name, width, height, file.take(f"{len(parameters.split())}d")
    file, images = _Bytes(folder / "images.bin"), []
    for _ in file.rows():
        _, *pose, camera = file.take("i7di")
        images.append((file.text(), tuple(pose), camera))
        file.skip(24 * file.take("Q")[0])  # where its points are
    file, points = _Bytes(folder / "points3D.bin"), []
    for _ in file.rows():
        _, *point, _ = file.take("Q3d3Bd")
        points.append(tuple(point))
        file.skip(8 * file.take("Q")[0])  # which images show it
    return cameras, images, points


def _read_text(folder: Path) -> _Model:
    cameras: dict[int, _Camera] = {}
    images: list[_Image] = []
    points: list[tuple[float, ...]] = []
    path = folder / "cameras.txt"
    for number, line in _lines(path):
        if not (words := line.split()):
            continue
        if len(words) < 4 or words[1] not in dict(_MODELS):
            raise InputError(f"{path}: line {number}: expected a number, a known model, a size and parameters")
        camera, width, height, *parameters = _numbers(path, number, [words[0], *words[2:]])
        cameras[int(camera)] = words[1], int(width), int(height), parameters
    path = folder / "images.txt"
    poses = True  # lines with an image's pose and with its points, which may be none, take turns
    for number, line in _lines(path):
        if poses:
            if not line.strip():
                continue
            words = line.split(maxsplit=9)
            if len(words) < 10:
                raise InputError(f"{path}: line {number}: expected ten fields of an image, found {len(words)}")
            _, *pose, camera = _numbers(path, number, words[:9])
            images.append((words[9].rstrip(), tuple(pose), int(camera)))
        poses = not poses
    path = folder / "points3D.txt"
    for number, line in _lines(path):
        if words := line.split():
            if len(words) < 8:
                raise InputError(f"{path}: line {number}: expected eight fields of a point, found {len(words)}")
            points.append(tuple(_numbers(path, number, words[1:7])))
    return cameras, images, points


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file with their numbers from 1, without comments."""
    for number, line in enumerate(_contents(path).decode("utf-8", "replace").split("\n"), 1):
        if not line.startswith("#"):
            yield number, line


def _numbers(path: Path, line: int, words: Sequence[str]) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise InputError(f"{path}: line {line}: expected numbers") from None
    if not all(map(math.isfinite, values)):
        raise InputError(f"{path}: line {line}: expected finite numbers")
    return values


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
