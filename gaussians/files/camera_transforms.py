"""Read the cameras of transforms.json, as NeRF's synthetic scenes and nerfstudio have them."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from gaussians.cameras import check_rotations
from gaussians.lenses import Lens
from gaussians.numbers import Positive, Real
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json_as

_Row = tuple[Real, Real, Real, Real]
_Pixels = Annotated[int, Field(gt=0, le=2**20)]


class _Intrinsics(BaseModel):
    """An ``_Intrinsics`` holds what the file says of all cameras, and each frame may say of its own."""

    model_config = ConfigDict(allow_inf_nan=False)

    camera_model: str | None = None
    is_fisheye: bool | None = None  # as instant-ngp says it
    camera_angle_x: Annotated[float, Field(gt=0, lt=math.pi)] | None = None
    fl_x: Positive | None = None
    fl_y: Positive | None = None
    cx: Real | None = None
    cy: Real | None = None
    w: _Pixels | None = None
    h: _Pixels | None = None
    k1: Real | None = None
    k2: Real | None = None
    k3: Real | None = None
    k4: Real | None = None
    p1: Real | None = None
    p2: Real | None = None


class _Frame(_Intrinsics):
    file_path: str
    transform_matrix: Annotated[list[_Row], Field(min_length=3, max_length=4)]


class _Transforms(_Intrinsics):
    frames: list[_Frame]


@dataclass(frozen=True)
class CameraTransforms:
    """A ``CameraTransforms`` holds C cameras in a frame of their own.

    Attributes:
        names: of the pictures, as the file gives them; some writers leave the suffix out.
        viewmats: (C, 4, 4) float64, world to camera, x right, y down, z forward.
        lenses: one for each picture.
    """

    names: tuple[str, ...]
    viewmats: torch.Tensor
    lenses: tuple[Lens, ...]


def read_camera_transforms(path: Path, width: int, height: int) -> CameraTransforms:
    """Read transforms.json.

    Args:
        width, height: size of the pictures, pixels, where the file does not say it.

    Raises:
        InputError: the file is missing or damaged, has no frames or no focal length, a matrix does not begin with a
            rotation, or a camera model is unknown.
    """
    contents = read_json_as(path, _Transforms)
    if not contents.frames:
        raise InputError(f"{path}: frames: expected cameras, found none")
    shared = contents.model_dump(exclude_none=True, exclude={"frames"})
    lenses = []
    for number, frame in enumerate(contents.frames):
        merged = _Intrinsics.model_validate(shared | frame.model_dump(exclude_none=True, exclude={"file_path"}))
        lenses.append(_lens(f"{path}: frames.{number}", merged, width, height))
    rows = [frame.transform_matrix[:3] for frame in contents.frames]
    poses = torch.tensor(rows, dtype=torch.float64)
    check_rotations(poses[:, :, :3], f"{path}: frames.{{}}.transform_matrix: expected a rotation and a translation")
    # Their cameras look along -z with y upwards (OpenGL).
    rotations = (poses[:, :, :3] * torch.tensor([1.0, -1.0, -1.0])).mT
    viewmats = torch.eye(4, dtype=torch.float64).repeat(len(poses), 1, 1)
    viewmats[:, :3, :3] = rotations
    viewmats[:, :3, 3:] = -rotations @ poses[:, :, 3:]
    return CameraTransforms(tuple(frame.file_path for frame in contents.frames), viewmats, tuple(lenses))


def _lens(where: str, camera: _Intrinsics, width: int, height: int) -> Lens:
    width, height = camera.w or width, camera.h or height
    angle = camera.camera_angle_x
    fx = camera.fl_x or (width / 2 / math.tan(angle / 2) if angle else None)
    if fx is None:
        raise InputError(f"{where}: expected fl_x or camera_angle_x")
    model = _model(where, camera)
    k1, k2, k3, k4, p1, p2 = (getattr(camera, name) or 0.0 for name in ("k1", "k2", "k3", "k4", "p1", "p2"))
    if model == "perspective" and k4:
        raise InputError(f"{where}: k4: expected 0 but of a fisheye, found {k4:g}")
    return Lens(
        *(width, height, fx, camera.fl_y or fx),
        width / 2 if camera.cx is None else camera.cx,
        height / 2 if camera.cy is None else camera.cy,
        model,
        (k1, k2, k3, k4) if model == "fisheye" else (k1, k2, p1, p2, k3),
    )


def _model(where: str, camera: _Intrinsics) -> Literal["perspective", "fisheye"]:
    known = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", None)
    if camera.camera_model not in known:
        raise InputError(f"{where}: camera_model: expected one of {', '.join(filter(None, known))}")
    return "fisheye" if camera.is_fisheye or camera.camera_model == "OPENCV_FISHEYE" else "perspective"
