"""Describe where a person has moved an object to, and from where a browser looks."""

import math
from dataclasses import dataclass, replace

import torch
import viser

from gaussians.cameras import Cameras
from gaussians.covariance import transform_covariance
from gaussians.representation import Gaussians
from gaussians.rotations import quaternion_to_matrix

UNTURNED = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Pose:
    """A ``Pose`` takes points p to scale R (p - pivot) + position.

    Attributes:
        pivot: (3,), the point that is turned and scaled about, metres.
        position: (3,), where the pivot goes, metres.
        wxyz: the rotation R as a unit quaternion.
        scale: a positive factor.
    """

    pivot: torch.Tensor
    position: torch.Tensor
    wxyz: tuple[float, float, float, float] = UNTURNED
    scale: float = 1.0

    @staticmethod
    def about(pivot: torch.Tensor) -> "Pose":
        """Return the pose that leaves everything where it is, with a pivot to turn about."""
        return Pose(pivot, pivot)

    @property
    def rotation(self) -> torch.Tensor:
        """Return R (3, 3)."""
        return quaternion_to_matrix(torch.tensor(self.wxyz))

    @property
    def translation(self) -> torch.Tensor:
        """Return where the origin goes (3,), metres: points p go to scale R p + translation."""
        return self.position - self.scale * self.rotation @ self.pivot

    @property
    def moves(self) -> bool:
        """Return whether it moves anything."""
        return self.wxyz != UNTURNED or self.scale != 1 or not torch.equal(self.position, self.pivot)

    def shifted(self, offset: torch.Tensor) -> "Pose":
        """Return the pose that also moves everything by ``offset`` (3,), metres."""
        return replace(self, position=self.position + offset)

    def points(self, points: torch.Tensor) -> torch.Tensor:
        """Return where points (..., 3) go."""
        return self.scale * points @ self.rotation.T + self.translation if self.moves else points

    def vectors(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return what velocities or other vectors (..., 3) become."""
        return self.scale * vectors @ self.rotation.T if self.moves else vectors

    def covariances(self, covariances: torch.Tensor) -> torch.Tensor:
        """Return what covariances (..., 6) become."""
        return transform_covariance(covariances, self.scale * self.rotation) if self.moves else covariances

    def undo(self, point: torch.Tensor) -> torch.Tensor:
        """Return the point (3,) that goes to ``point``."""
        return self.rotation.T @ (point - self.translation) / self.scale

    def gaussians(self, gaussians: Gaussians) -> Gaussians:
        """Return Gaussians where they go, their colours turned with them."""
        if not self.moves:
            return gaussians
        turned = self.rotation if self.wxyz != UNTURNED else None
        return gaussians.transformed(turned, self.translation, self.scale)


@dataclass(frozen=True, eq=False)
class Eye:
    """An ``Eye`` is the camera of a browser: OpenCV's, x right, y down, z forward; each is equal to itself alone.

    Attributes:
        position: (3,), metres.
        wxyz: the rotation from camera to world.
        fov: vertical field of view, radians.
        aspect: width over height.
    """

    position: torch.Tensor
    wxyz: tuple[float, float, float, float]
    fov: float
    aspect: float

    @staticmethod
    def of(client: viser.ClientHandle) -> "Eye":
        """Return where a browser looks from now."""
        camera = client.camera
        w, x, y, z = camera.wxyz.tolist()
        return Eye(torch.tensor(camera.position, dtype=torch.float32), (w, x, y, z), camera.fov, camera.aspect)

    @property
    def rotation(self) -> torch.Tensor:
        """Return the rotation (3, 3) from camera to world."""
        return quaternion_to_matrix(torch.tensor(self.wxyz))

    def image_places(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where points (N, 3) are in the image, (N, 2), and their depths (N,), metres.

        Places count from 0 to 1 from the image's upper left corner; those of points behind the camera are NaN.
        """
        local = (points - self.position) @ self.rotation
        depths = local[:, 2]
        half = math.tan(self.fov / 2)
        tangents = torch.where(depths[:, None] > 0, local[:, :2] / depths[:, None], torch.nan)
        return 0.5 + 0.5 * tangents / torch.tensor([half * self.aspect, half]), depths

    def camera(self, width: int, height: int) -> Cameras:
        """Return the camera with an image of ``width`` times ``height`` pixels and the same vertical field of view."""
        rotation = self.rotation
        viewmat = torch.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = rotation.T, -rotation.T @ self.position
        focal = height / 2 / math.tan(self.fov / 2)
        K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        return Cameras(viewmat[None], K[None], width, height)
