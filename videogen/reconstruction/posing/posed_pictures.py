"""Define pictures with the cameras that took them, which all stages after the first work on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from gaussians.cameras import Cameras
from gaussians.stage.shape_checks import check_shape
from videogen.reconstruction.posing.pictures import scaled_picture, size_within


@dataclass(frozen=True)
class PosedPictures:
    """A ``PosedPictures`` holds N pictures without distortion, and their cameras.

    Attributes:
        images: (N, H, W, 3) uint8, RGB.
        cameras: N cameras of that size; their principal points may be anywhere.
        names: what each picture is called in its source.
        indices: position of each among all pictures of the source, from 0.
        points: (P, 3) float32, points of the scene that the cameras were estimated with, or None.
        in_world: whether the cameras are in the simulation's world: metres, z up. Otherwise they are in a frame of
            their own, of any origin, orientation and scale.
        notes: sentences for the user on what was assumed and left out.
    """

    images: torch.Tensor
    cameras: Cameras
    names: tuple[str, ...]
    indices: tuple[int, ...]
    points: torch.Tensor | None = None
    in_world: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.cameras)
        check_shape("images", self.images, count, self.cameras.height, self.cameras.width, 3)
        if len(self.names) != count or len(self.indices) != count:
            raise ValueError(f"names, indices: expected {count}, found {len(self.names)} and {len(self.indices)}")
        if self.points is not None:
            check_shape("points", self.points, "P", 3)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: Sequence[int]) -> "PosedPictures":
        """Return the pictures and cameras at ``rows``, with all points."""
        index = torch.tensor(rows, dtype=torch.long)
        return replace(
            self,
            images=self.images[index.to(self.images.device)],
            cameras=self.cameras[index.to(self.cameras.viewmats.device)],
            names=tuple(self.names[row] for row in rows),
            indices=tuple(self.indices[row] for row in rows),
        )

    def to(self, device: torch.device) -> "PosedPictures":
        """Return pictures, cameras and points on a device."""
        points = self.points.to(device) if self.points is not None else None
        return replace(self, images=self.images.to(device), cameras=self.cameras.to(device), points=points)

    def resized(self, width: int, height: int) -> "PosedPictures":
        """Return pictures and cameras of another size, pixels; scaled down, a pixel is the mean of what it covers."""
        if (width, height) == (self.cameras.width, self.cameras.height):
            return self
        pictures = (scaled_picture(image, width, height) for image in self.images.cpu().numpy())
        images = torch.stack([torch.from_numpy(picture) for picture in pictures]).to(self.images.device)
        return replace(self, images=images, cameras=self.cameras.resized(width, height))

    def within(self, max_side: int) -> "PosedPictures":
        """Return pictures and cameras scaled down so that neither width nor height exceeds ``max_side``, pixels."""
        return self.resized(*size_within(self.cameras.width, self.cameras.height, max_side))
