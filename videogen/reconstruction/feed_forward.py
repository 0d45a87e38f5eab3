"""See a scene with Pi3_splat: where pictures were taken from and what is how far away, from one pass of a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch.nn.functional import interpolate

from externals.weights import expect_checkpoint, find_checkpoint
from gaussians.cameras import Cameras
from videogen.reconstruction.alignment import align_cameras
from videogen.reconstruction.plane_sweep import SweptDepth, agreed, neighbours_of, seen_through, unproject
from videogen.reconstruction.posing.pictures import Pictures
from videogen.reconstruction.posing.posed_pictures import PosedPictures
from videogen.reconstruction.settings import Backend

NAME: Backend = "pi3_splat"
_MOST_PIXELS = 201_000  # of a picture: about as many as the network was trained on
_PATCH = 14  # pixels
_CONFIDENT = 0.1
_POINTS = 10_000


class FoundScene(Protocol):
    """A ``FoundScene`` is what a network says of N pictures of H x W pixels, such as a ``Pi3Reconstruction``."""

    @property
    def local_points(self) -> torch.Tensor:
        """(N, H, W, 3), the pixels' points in their cameras' frames."""

    @property
    def confidences(self) -> torch.Tensor:
        """(N, H, W), 0 to 1."""

    @property
    def cameras(self) -> Cameras:
        """N cameras, in a frame of their own."""


class SceneNetwork(Protocol):
    """A ``SceneNetwork`` makes cameras and points of pictures, such as a ``Pi3Splat``."""

    def reconstruct(self, images: torch.Tensor) -> FoundScene:
        """Return what pictures (N, 3, H, W), 0 to 1, show."""


@dataclass(frozen=True)
class NetworkDepth:
    """A ``NetworkDepth`` is the depth of N pictures that a network sees, in the frame of its own cameras.

    Attributes:
        cameras: N cameras, of the size of the pictures that it was given.
        depth: (N, H, W), along the viewing axis.
        confident: (N, H, W) bool, where the network does not doubt it.
    """

    cameras: Cameras
    depth: torch.Tensor
    confident: torch.Tensor

    def __getitem__(self, rows: Sequence[int]) -> "NetworkDepth":
        index = torch.tensor(rows, device=self.depth.device)
        return NetworkDepth(self.cameras[index], self.depth[index], self.confident[index])

    def to(self, device: torch.device | str) -> "NetworkDepth":
        return NetworkDepth(self.cameras.to(device), self.depth.to(device), self.confident.to(device))

    def points(self) -> torch.Tensor:
        """Return some (P, 3) of the points that it is sure of."""
        sure = unproject(self.cameras, self.depth)[self.confident]
        return sure[:: 1 + len(sure) // _POINTS]

    def for_pictures(self, pictures: PosedPictures, labels: torch.Tensor) -> tuple[SweptDepth, str]:
        """Return the depth in the frame of the pictures' cameras, and a sentence on how well these fit the network's.

        It counts as consistent where the network does not doubt it and other pictures agree, which they do not at the
        edges of things, where depths are between those of two surfaces.

        Args:
            labels: (N, H, W), the object that each pixel shows, 0 for none. Pixels of an object count only where they
                are consistent, if any are.

        Raises:
            InputError: the cameras do not fit.
        """
        alignment = align_cameras(self.cameras, pictures.cameras)
        width, height = self.cameras.width, self.cameras.height
        if width > pictures.cameras.width:
            width, height = pictures.cameras.width, pictures.cameras.height
        depth, confident, shown = (
            interpolate(values[:, None].float(), (height, width), mode="nearest")[:, 0]
            for values in (alignment.similarity.scale * self.depth, self.confident, labels.to(self.depth.device))
        )
        small = pictures.resized(width, height)
        consistent = (confident > 0) & agreed(depth, small.cameras, neighbours_of(small.cameras))
        refuted = seen_through(depth, consistent, small.cameras)
        for label in shown[consistent].unique():
            if label > 0:
                refuted |= (shown == label) & ~consistent
        swept = SweptDepth(depth, consistent, refuted, small.images.float() / 255, small.cameras)
        errors = alignment.residuals()
        share, angle = 100 * errors["center_rms_share"], errors["angle_rms"]
        return (
            swept,
            f"Pi3_splat's cameras fit those of the pictures to {share:.2g} % of their spread, {angle:.2g} degrees",
        )


def find_network(root: Path) -> Path | None:
    """Return the checkpoint of Pi3_splat that is below ``root``, or None."""
    return find_checkpoint(NAME, root)


def load_network(root: Path, device: torch.device) -> SceneNetwork:
    """Read Pi3_splat's checkpoint from below ``root``.

    Raises:
        InputError: it is missing or damaged, or the device has too little memory.
    """
    from externals.pi3_splat import Pi3Splat

    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    return Pi3Splat.from_checkpoint(expect_checkpoint(NAME, root), device, dtype)


def see_depth(images: torch.Tensor, root: Path, device: torch.device) -> NetworkDepth:
    """Return what Pi3_splat sees in pictures (N, H, W, 3) uint8; its memory is free again then.

    Raises:
        InputError: its checkpoint is missing or damaged, or the device has too little memory.
    """
    width, height = network_size(images.shape[2], images.shape[1])
    channels = images.permute(0, 3, 1, 2).float() / 255
    channels = interpolate(channels, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
    found = load_network(root, device).reconstruct(channels)
    depth = found.local_points[..., 2].clone()
    confident = found.confidences > _CONFIDENT
    cameras = Cameras(found.cameras.viewmats.clone(), found.cameras.Ks.clone(), width, height)
    del found
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what comes next needs the memory
    return NetworkDepth(cameras, depth, confident)


def network_size(width: int, height: int) -> tuple[int, int]:
    """Return the width and height, pixels, at which the network gets pictures: whole patches, of nearly that shape."""
    scale = (_MOST_PIXELS / (width * height)) ** 0.5
    columns, rows = max(1, round(scale * width / _PATCH)), max(1, round(scale * height / _PATCH))
    while columns * rows * _PATCH**2 > _MOST_PIXELS:
        if columns / rows > width / height:
            columns -= 1
        else:
            rows -= 1
    return columns * _PATCH, rows * _PATCH


def pose_with_network(pictures: Pictures, root: Path, device: torch.device) -> tuple[PosedPictures, NetworkDepth]:
    """Return pictures with the cameras that Pi3_splat sees them from, in a frame of their own, and their depth.

    Raises:
        InputError: see ``see_depth``.
    """
    seen = see_depth(pictures.images, root, device)
    height, width = pictures.images.shape[1:3]
    posed = PosedPictures(
        pictures.images,
        seen.cameras.to("cpu").resized(width, height),
        pictures.names,
        pictures.indices,
        seen.points().cpu(),
        notes=(f"Pi3_splat placed {len(pictures)} pictures",),
    )
    return posed, seen


def choose_backend(name: Backend, root: Path, device: torch.device) -> Backend:
    """Return what ``--backend`` stands for: itself, or of "auto" Pi3_splat where its weights and a GPU are there."""
    if name != "auto":
        return name
    return NAME if device.type == "cuda" and find_network(root) is not None else "optimize"
