"""From keypoints to every Gaussian: positions, covariances and colours carried along by a few thousand points."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from gaussians.covariance import transform_covariance
from gaussians.representation import Gaussians
from gaussians.rotations import polar_rotation
from gaussians.shapes import check_shape
from gaussians.spherical_harmonics import rotate_sh

_NEIGHBOURS = 16
# Share of the neighbourhood's size added to its second moments, so that flat or thin ones stay invertible.
_REGULARISATION = 1e-3


@dataclass(frozen=True)
class _Part:
    """One object: its Gaussians, its keypoints at rest, and how the former follow the latter.

    Attributes:
        rows: (n,), its Gaussians.
        rest: (P, 3), its keypoints at rest, centred.
        center: (3,), their centroid.
        offsets: (n, 3), Gaussians at rest, relative to ``center``.
        neighbours: (n, K), keypoints that each Gaussian follows.
        value_weights: (n, K), weights of a displacement at the Gaussian.
        gradient_weights: (n, K, 3), weights of the displacement's gradient there.
    """

    rows: torch.Tensor
    rest: torch.Tensor
    center: torch.Tensor
    offsets: torch.Tensor
    neighbours: torch.Tensor
    value_weights: torch.Tensor
    gradient_weights: torch.Tensor


class DenseMotion:
    """Carries Gaussians along with the keypoints of their objects.

    The motion of an object's keypoints is split into the best rigid motion (Kabsch 1976) and what is left, a
    displacement in the body frame. The displacement and its gradient D at each Gaussian come from moving least
    squares over its nearest keypoints (Lancaster & Salkauskas 1981), so the local deformation gradient is
    F = R (I + D). A rigid motion leaves no displacement: Gaussians then move exactly as rigidly.

    Args:
        gaussians: the scene at rest, with labels; rows whose label is not listed stay where they are.
        object_labels: the label of each of the O objects.
        keypoint_rows: for each object, the rows (P_o,) of ``gaussians`` that are its keypoints.
    """

    def __init__(self, gaussians: Gaussians, object_labels: list[int], keypoint_rows: list[torch.Tensor]) -> None:
        if gaussians.labels is None:
            raise ValueError("gaussians: expected labels")
        self.gaussians = gaussians.with_covariances()
        self._parts = [
            _follow(gaussians.means, (gaussians.labels == label).nonzero().squeeze(1), rows.to(gaussians.device))
            for label, rows in zip(object_labels, keypoint_rows, strict=True)
        ]

    def at(self, keypoints: list[torch.Tensor]) -> Gaussians:
        """The scene when the keypoints of object o are at ``keypoints[o]`` (P_o, 3), metres."""
        scene = self.gaussians
        means, covariances, sh = scene.means.clone(), scene.covariance().clone(), scene.sh.clone()
        for part, points in zip(self._parts, keypoints, strict=True):
            check_shape("keypoints", points, len(part.rest), 3)
            points = points.to(means)
            centroid = points.mean(0)
            R = _rigid_rotation(part.rest, points - centroid)
            displacement = ((points - centroid) @ R - part.rest)[part.neighbours]
            moved = part.offsets + torch.einsum("nk,nki->ni", part.value_weights, displacement)
            means[part.rows] = moved @ R.T + centroid
            gradient = torch.einsum("nki,nkj->nij", displacement, part.gradient_weights)
            F = R @ (torch.eye(3).to(gradient) + gradient)
            covariances[part.rows] = transform_covariance(covariances[part.rows], F)
            if sh.shape[1] > 1:
                sh[part.rows] = rotate_sh(sh[part.rows], polar_rotation(F))
        return replace(scene, means=means, covariances=covariances, sh=sh)

    def frames(self, keypoints: list[torch.Tensor]) -> Iterator[Gaussians]:
        """The scene at every frame, for keypoints (T, P_o, 3) of each object."""
        return (self.at([points[t] for points in keypoints]) for t in range(len(keypoints[0])))


def _rigid_rotation(rest: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """The rotation (3, 3) that brings centred ``rest`` (P, 3) nearest to centred ``points`` (P, 3)."""
    moments = points.double().T @ rest.double()
    # One or two points, or points on a line, leave a rotation open: a trace of the identity chooses none.
    trace = rest.double().square().sum() + 1e-30
    return polar_rotation(moments + 1e-9 * trace * torch.eye(3).to(moments)).to(rest)


def _follow(means: torch.Tensor, rows: torch.Tensor, keypoint_rows: torch.Tensor) -> _Part:
    keypoints = means[keypoint_rows]
    center = keypoints.mean(0)
    rest, offsets = keypoints - center, means[rows] - center
    # One neighbour more than is followed sets the radius at which weights reach 0, so that a Gaussian's motion does
    # not jump where its set of neighbours changes.
    count = min(_NEIGHBOURS + 1, len(rest))
    distances, found = cKDTree(rest.cpu().numpy()).query(offsets.cpu().numpy(), np.arange(1, count + 1), workers=-1)
    distance, neighbours = torch.from_numpy(distances).to(means), torch.from_numpy(found).to(means.device)
    radius = distance[:, -1:] if count > _NEIGHBOURS else 2 * distance[:, -1:]
    weights = (1 - (distance / radius.clamp_min(1e-12)) ** 2).clamp_min(1e-6) ** 2
    weights = weights / weights.sum(1, keepdim=True)

    points = rest[neighbours]
    mean = torch.einsum("nk,nki->ni", weights, points)
    spread = points - mean[:, None]
    moments = torch.einsum("nk,nki,nkj->nij", weights, spread, spread)
    trace = moments.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    moments = moments + (_REGULARISATION * trace + 1e-12) * torch.eye(3).to(moments)
    gradient_weights = torch.linalg.solve(moments, (weights[..., None] * spread).mT).mT
    value_weights = weights + torch.einsum("nki,ni->nk", gradient_weights, offsets - mean)
    return _Part(rows, rest, center, offsets, neighbours, value_weights, gradient_weights)
