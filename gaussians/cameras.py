"""Describe pinhole cameras in the OpenCV convention (x right, y down, z forward), and read and write cameras.json."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field

from gaussians.numbers import Vector
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json_as, write_json
from gaussians.stage.shape_checks import check_shape

NEAREST, FARTHEST = 1e-3, 1e5
"""Metres that a camera of an orbit may stand away from what it looks at: farther away, objects vanish."""


@dataclass(frozen=True)
class Cameras:
    """A ``Cameras`` holds C pinhole cameras of one image size.

    Attributes:
        viewmats: (C, 4, 4), world to camera.
        Ks: (C, 3, 3), intrinsics, pixels.
        width, height: image size, pixels.
    """

    viewmats: torch.Tensor
    Ks: torch.Tensor
    width: int
    height: int

    def __post_init__(self) -> None:
        check_shape("viewmats", self.viewmats, "C", 4, 4)
        check_shape("Ks", self.Ks, len(self.viewmats), 3, 3)

    def __len__(self) -> int:
        return len(self.viewmats)

    def __getitem__(self, rows: torch.Tensor | slice) -> "Cameras":
        return Cameras(self.viewmats[rows], self.Ks[rows], self.width, self.height)

    def to(self, device: torch.device | str) -> "Cameras":
        return Cameras(self.viewmats.to(device), self.Ks.to(device), self.width, self.height)

    def resized(self, width: int, height: int) -> "Cameras":
        """Return the same cameras with images of another size, pixels."""
        factors = torch.tensor([width / self.width, height / self.height, 1.0]).to(self.Ks)
        return Cameras(self.viewmats, factors[:, None] * self.Ks, width, height)

    @property
    def positions(self) -> torch.Tensor:
        """Return the camera centres (C, 3), metres."""
        return -(self.viewmats[:, :3, :3].mT @ self.viewmats[:, :3, 3:]).squeeze(-1)


def look_at(
    positions: torch.Tensor,
    target: torch.Tensor,
    width: int,
    height: int,
    focal: float,
    up: Sequence[float] = (0, 0, 1),
) -> Cameras:
    """Return cameras at ``positions`` (C, 3) that look at ``target`` (3,) or (C, 3) with ``up`` upwards in the image.

    Args:
        focal: focal length, pixels; the principal point is the image centre.
    """
    forward = torch.nn.functional.normalize(target - positions, dim=-1)
    right = torch.linalg.cross(forward, torch.tensor(up).to(forward).expand_as(forward))
    # A camera that looks straight along `up` can be turned freely about it: then x (for the usual z) points right.
    degenerate = right.norm(dim=-1, keepdim=True) < 1e-6
    right = torch.where(degenerate, torch.tensor(up).roll(1).to(forward), right)
    right = torch.nn.functional.normalize(right, dim=-1)
    down = torch.linalg.cross(forward, right)
    rotations = torch.stack([right, down, forward], -2)
    viewmats = torch.eye(4).to(forward).repeat(len(positions), 1, 1)
    viewmats[:, :3, :3] = rotations
    viewmats[:, :3, 3] = -(rotations @ positions[..., None]).squeeze(-1)
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]).to(forward)
    return Cameras(viewmats, K.expand(len(positions), 3, 3).clone(), width, height)


@dataclass(frozen=True)
class Orbit:
    """An ``Orbit`` is the published camera path: a numbered view for each step along it.

    View k stands at azimuth a + k da, elevation e + k de and radius r + k dr. The azimuth runs clockwise seen from
    above, from the horizontal diagonal u = (1, 1, 0) / sqrt 2 towards v = (1, -1, 0) / sqrt 2.

    Attributes:
        center: the point looked at, metres.
        azimuth, elevation: degrees.
        radius: metres.
        delta_azimuth, delta_elevation, delta_radius: change per view.
    """

    center: Vector
    azimuth: float
    elevation: float
    radius: float
    delta_azimuth: float = 3.6
    delta_elevation: float = 0.0
    delta_radius: float = 0.0

    def positions(self, views: Sequence[int]) -> torch.Tensor:
        """Return the camera centres (len(views), 3) of some views, metres.

        Raises:
            InputError: one would stand nearer to the centre or farther from it than a camera that shows something.
        """
        k = torch.as_tensor(views, dtype=torch.float64)
        a = torch.deg2rad(self.azimuth + k * self.delta_azimuth)[:, None]
        e = torch.deg2rad(self.elevation + k * self.delta_elevation)[:, None]
        r = (self.radius + k * self.delta_radius)[:, None]
        for number, radius in zip(views, r[:, 0].tolist(), strict=True):
            if not NEAREST <= radius <= FARTHEST:
                raise InputError(
                    f"init_radius, delta_r: expected cameras {NEAREST:g} to {FARTHEST:g} m from their centre, found "
                    f"view {number} at {radius:g} m"
                )
        u = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64) / math.sqrt(2)
        v = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64) / math.sqrt(2)
        up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
        center = torch.tensor(self.center, dtype=torch.float64)
        return center + r * (torch.cos(e) * (torch.cos(a) * u + torch.sin(a) * v) + torch.sin(e) * up)

    def cameras(self, views: Sequence[int], resolution: int) -> Cameras:
        """Return square cameras of ``resolution`` pixels and focal length 1.5 x resolution at the given ``views``."""
        center = torch.tensor(self.center, dtype=torch.float64)
        cameras = look_at(self.positions(views), center, resolution, resolution, 1.5 * resolution)
        return Cameras(cameras.viewmats.float(), cameras.Ks.float(), resolution, resolution)


def write_cameras(path: str | Path, cameras: Cameras) -> None:
    """Write cameras.json: a list of {rotation (camera to world), position, width, height, fx, fy}."""
    cameras = cameras.to("cpu")
    entries = [
        {
            "id": index,
            "rotation": viewmat[:3, :3].T.tolist(),
            "position": position.tolist(),
            "width": cameras.width,
            "height": cameras.height,
            "fx": K[0, 0].item(),
            "fy": K[1, 1].item(),
        }
        for index, (viewmat, position, K) in enumerate(
            zip(cameras.viewmats, cameras.positions, cameras.Ks, strict=True)
        )
    ]
    write_json(path, entries)


class _CameraEntry(BaseModel):
    """A ``_CameraEntry`` is one camera of cameras.json; whatever else an entry holds is ignored."""

    model_config = ConfigDict(allow_inf_nan=False)

    rotation: tuple[Vector, Vector, Vector]
    position: Vector
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    fx: float = Field(gt=0)
    fy: float = Field(gt=0)


def read_cameras(path: str | Path) -> Cameras:
    """Read cameras.json.

    Raises:
        InputError: an entry lacks a field, has one of the wrong shape or no proper rotation, or the image sizes differ.
    """
    entries = read_json_as(path, list[_CameraEntry])
    if not entries:
        raise InputError(f"{path}: expected a non-empty list of cameras")
    sizes = sorted({(entry.width, entry.height) for entry in entries})
    if len(sizes) > 1:
        raise InputError(f"{path}: expected cameras of one image size, found {sizes}")
    rotations = torch.tensor([entry.rotation for entry in entries], dtype=torch.float64)
    positions = torch.tensor([entry.position for entry in entries], dtype=torch.float64)
    check_rotations(rotations, f"{path}: {{}}.rotation: expected the rows of a rotation matrix")
    viewmats = torch.eye(4, dtype=torch.float64).repeat(len(entries), 1, 1)
    viewmats[:, :3, :3] = rotations.mT
    viewmats[:, :3, 3:] = -rotations.mT @ positions[..., None]
    width, height = sizes[0]
    Ks = torch.tensor([[[e.fx, 0, width / 2], [0, e.fy, height / 2], [0, 0, 1]] for e in entries])
    return Cameras(viewmats.float(), Ks, width, height)


def check_rotations(matrices: torch.Tensor, message: str) -> None:
    """Refuse matrices of a file that are no rotations, to the three decimals that some files have.

    Args:
        matrices: (N, 3, 3) float64.
        message: what is wrong; the number of the first such matrix takes the place of {}.

    Raises:
        InputError: a matrix stretches or mirrors.
    """
    proper = ((matrices.mT @ matrices - torch.eye(3)).abs().amax((1, 2)) < 1e-2) & (torch.det(matrices) > 0)
    if not proper.all():
        raise InputError(message.replace("{}", str(int((~proper).nonzero()[0, 0]))))
