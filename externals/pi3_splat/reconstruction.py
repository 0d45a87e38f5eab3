"""Describe what the network says of pictures, in their cameras' frames and in one world's."""

from dataclasses import dataclass

import torch

from externals.pi3_splat.intrinsics import fit_intrinsics
from externals.pi3_splat.network import NetworkOutput
from gaussians.cameras import Cameras
from gaussians.representation import Gaussians
from gaussians.rotations import matrix_to_quaternion, multiply_quaternions
from gaussians.spherical_harmonics import rotate_sh


@dataclass(frozen=True)
class Pi3Reconstruction:
    """A ``Pi3Reconstruction`` holds the scene that N pictures of H x W pixels show.

    The world's frame and unit of length are the network's own: they differ from the true ones by any similarity.

    Attributes:
        gaussians: N H W Gaussians in the world, one for each pixel, view after view and row by row.
        local_points: (N, H, W, 3), the pixels' points in their cameras' frames.
        confidences: (N, H, W), 0 to 1.
        camera_to_worlds: (N, 4, 4).
        Ks: (N, 3, 3), intrinsics, pixels, the same for all views; see ``fit_intrinsics``.
    """

    gaussians: Gaussians
    local_points: torch.Tensor
    confidences: torch.Tensor
    camera_to_worlds: torch.Tensor
    Ks: torch.Tensor

    @staticmethod
    def of(output: NetworkOutput) -> "Pi3Reconstruction":
        """Return what ``output`` says, in the world."""
        confidences = output.confidence_logits.sigmoid()
        return Pi3Reconstruction(
            gaussians=_in_world(output),
            local_points=output.local_points,
            confidences=confidences,
            camera_to_worlds=output.camera_to_worlds,
            Ks=fit_intrinsics(output.local_points, confidences),
        )

    @property
    def points(self) -> torch.Tensor:
        """Return the pixels' points (N, H, W, 3) in the world."""
        return self.gaussians.means.view_as(self.local_points)

    @property
    def cameras(self) -> Cameras:
        height, width = self.confidences.shape[1:]
        rotations = self.camera_to_worlds[:, :3, :3].mT
        viewmats = torch.eye(4).to(rotations).repeat(len(rotations), 1, 1)
        viewmats[:, :3, :3] = rotations
        viewmats[:, :3, 3:] = -rotations @ self.camera_to_worlds[:, :3, 3:]
        return Cameras(viewmats, self.Ks, width, height)


def _in_world(output: NetworkOutput) -> Gaussians:
    """Return the Gaussians, each turned with its camera, colours too, which the network gives in the camera's frame."""
    rotations, translations = output.camera_to_worlds[:, :3, :3], output.camera_to_worlds[:, :3, 3]
    of_pixels = output.gaussians
    means, quaternions, sh = [], [], []
    for view, rotation in enumerate(rotations):
        means.append(output.local_points[view].flatten(0, 1) @ rotation.T + translations[view])
        own = of_pixels.quaternions[view].flatten(0, 1)
        quaternions.append(multiply_quaternions(matrix_to_quaternion(rotation).expand_as(own), own))
        sh.append(rotate_sh(of_pixels.sh[view].flatten(0, 1), rotation))
    return Gaussians(
        means=torch.cat(means),
        opacities=of_pixels.opacities.flatten(),
        sh=torch.cat(sh),
        scales=of_pixels.scales.flatten(0, 2),
        quaternions=torch.cat(quaternions),
    )
