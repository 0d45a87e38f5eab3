"""Carry every Gaussian along with keypoints: its position, covariance and colours."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import warp as wp

from dynamic_models.data.scene_state import pad
from gaussians.representation import Gaussians
from gaussians.rotations import polar_rotation
from gaussians.stage.shape_checks import check_shape
from gaussians.stage.threads import core_count
from gaussians.stage.warp_runtime import as_array, launch
from videogen.motion.dense_motion_kernels import follow

_NEIGHBOURS = 16
# Share of the neighbourhood's size added to its second moments, so that flat or thin ones stay invertible.
_REGULARISATION = 1e-3
_DISTANCES_AT_ONCE = 2**24
_FRAMES_AT_ONCE = 64


@dataclass(frozen=True)
class _Object:
    """An ``_Object`` says how an object's Gaussians follow its keypoints.

    Attributes:
        rows: (n,), rows of its Gaussians.
        rest: (P, 3) float64, its keypoints at rest, relative to their centroid, metres.
        offsets: (n, 3), its Gaussians at rest, relative to the same centroid, metres.
        neighbours: (n, K), numbers of the keypoints that each Gaussian follows.
        value_weights: (n, K), weights of a displacement at the Gaussian.
        gradient_weights: (n, K, 3), weights of the displacement's gradient there.
    """

    rows: torch.Tensor
    rest: torch.Tensor
    offsets: torch.Tensor
    neighbours: torch.Tensor
    value_weights: torch.Tensor
    gradient_weights: torch.Tensor


class DenseMotion:
    """A ``DenseMotion`` carries Gaussians along with the keypoints of their objects.

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
        self.gaussians = gaussians.with_covariances().as_float32()
        scene = self.gaussians
        objects = [
            _follow(scene.means, (gaussians.labels == label).nonzero().squeeze(1), rows.to(gaussians.device))
            for label, rows in zip(object_labels, keypoint_rows, strict=True)
        ]
        self._rest = [entry.rest for entry in objects]
        self._count = sum(len(entry.rows) for entry in objects)
        self._arrays = [
            as_array(tensor, dtype)
            for tensor, dtype in (*_joined(objects), (scene.covariance(), wp.float32), (scene.sh, wp.vec3))
        ]

    def at(self, keypoints: list[torch.Tensor]) -> Gaussians:
        """Return the scene while the keypoints of object o are at ``keypoints[o]`` (P_o, 3), metres."""
        return next(self.frames([points[None] for points in keypoints]))

    def frames(self, keypoints: list[torch.Tensor]) -> Iterator[Gaussians]:
        """Yield the scene at each of T frames, for keypoints (T, P_o, 3) of each object, metres."""
        return (gaussians for gaussians, _ in self._frames(keypoints, 0))

    def turned_frames(self, keypoints: list[torch.Tensor]) -> Iterator[tuple[Gaussians, torch.Tensor]]:
        """Yield what ``frames`` does, each with the rotation (N, 3, 3) of every Gaussian since rest."""
        return self._frames(keypoints, len(self.gaussians))

    def _frames(self, keypoints: list[torch.Tensor], num_turns: int) -> Iterator[tuple[Gaussians, torch.Tensor]]:
        num_frames = len(keypoints[0])
        for rest, points in zip(self._rest, keypoints, strict=True):
            check_shape("keypoints", points, num_frames, len(rest), 3)
        for first in range(0, num_frames, _FRAMES_AT_ONCE):
            some = [points[first : first + _FRAMES_AT_ONCE] for points in keypoints]
            motions = [_split_motion(*of_object) for of_object in zip(self._rest, some, strict=True)]
            displacements, rotations, centroids = zip(*motions, strict=True)
            joined = torch.cat(displacements, 1), torch.stack(rotations, 1), torch.stack(centroids, 1)
            yield from (self._moved(*frame, num_turns) for frame in zip(*joined, strict=True))

    def _moved(
        self, displacements: torch.Tensor, rotations: torch.Tensor, centroids: torch.Tensor, num_turns: int
    ) -> tuple[Gaussians, torch.Tensor]:
        """Return the scene at one frame, and the rotation of each of its Gaussians.

        Args:
            displacements: (P, 3), displacements of all objects' keypoints in the objects' axes, metres.
            rotations: (O, 3, 3), rotations of the objects since rest.
            centroids: (O, 3), centroids of their keypoints, metres.
            num_turns: number of Gaussians, or 0 to leave their rotations out.
        """
        scene = self.gaussians
        # Copies of the scene at rest: rows that do not move stay as they are.
        copy = partial(torch.clone, memory_format=torch.contiguous_format)  # as the kernel writes into it
        means, covariances, sh = copy(scene.means), copy(scene.covariance()), copy(scene.sh)
        turns = torch.eye(3, device=means.device).repeat(num_turns, 1, 1)
        inputs = [(displacements, wp.vec3), (rotations, wp.mat33), (centroids, wp.vec3)]
        outputs = [(means, wp.vec3), (covariances, wp.float32), (sh, wp.vec3), (turns, wp.mat33)]
        frame = [as_array(tensor, dtype) for tensor, dtype in inputs + outputs]
        launch(follow, self._count, [*self._arrays, *frame], means.device)
        return replace(scene, means=means, covariances=covariances, sh=sh), turns


def _split_motion(rest: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Split the motion of an object's keypoints over T frames into a rigid motion and what remains, in float32.

    Args:
        rest: (P, 3) float64, keypoints at rest, relative to their centroid, metres.
        points: (T, P, 3), metres.

    Returns:
        Displacements (T, P, 3) in the object's axes, rotations (T, 3, 3), and centroids (T, 3), metres.
    """
    points = points.to(rest)
    centroids = points.mean(1)
    arms = points - centroids[:, None]
    moments = arms.mT @ rest
    # One or two points, or points on a line, do not determine a rotation: a little of the identity chooses none.
    trace = rest.square().sum() + 1e-30
    rotations = polar_rotation(moments + 1e-9 * trace * torch.eye(3).to(moments))
    return (arms @ rotations - rest).float(), rotations.float(), centroids.float()


def _follow(means: torch.Tensor, rows: torch.Tensor, keypoint_rows: torch.Tensor) -> _Object:
    keypoints = means[keypoint_rows].double()
    center = keypoints.mean(0)
    rest, offsets = keypoints - center, (means[rows] - center).float()
    # One neighbour more than is followed sets the radius at which weights reach 0, so that a Gaussian's motion does
    # not jump where its set of neighbours changes.
    count = min(_NEIGHBOURS + 1, len(rest))
    distance, neighbours = _nearest(offsets, rest.float(), count)
    radius = distance[:, -1:] if count > _NEIGHBOURS else 2 * distance[:, -1:]
    weights = (1 - (distance / radius.clamp_min(1e-12)) ** 2).clamp_min(1e-6) ** 2
    weights = weights / weights.sum(1, keepdim=True)

    points = rest.float()[neighbours]
    mean = torch.einsum("nk,nki->ni", weights, points)
    spread = points - mean[:, None]
    moments = torch.einsum("nk,nki,nkj->nij", weights, spread, spread)
    trace = moments.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    moments = moments + (_REGULARISATION * trace + 1e-12) * torch.eye(3).to(moments)
    gradient_weights = torch.linalg.solve(moments, (weights[..., None] * spread).mT).mT
    value_weights = weights + torch.einsum("nki,ni->nk", gradient_weights, offsets - mean)
    return _Object(rows, rest, offsets, neighbours, value_weights, gradient_weights)


def _nearest(points: torch.Tensor, among: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return distances (n, count), ascending, of ``points`` (n, 3) to the nearest of ``among`` (P, 3), and these."""
    if not points.is_cuda:
        from scipy.spatial import cKDTree  # slow to import, and needed only here

        distances, found = cKDTree(among.numpy()).query(points.numpy(), np.arange(1, count + 1), workers=core_count())
        return torch.from_numpy(distances).float(), torch.from_numpy(found)
    # Without a tree; matrix products would lose digits to cancellation.
    parts = [
        torch.cdist(part, among, compute_mode="donot_use_mm_for_euclid_dist").topk(count, largest=False)
        for part in points.split(max(1, _DISTANCES_AT_ONCE // len(among)))
    ]
    distances, found = zip(*parts, strict=True)
    return torch.cat(distances), torch.cat(found)


def _joined(objects: list[_Object]) -> Iterator[tuple[torch.Tensor, type]]:
    """Yield the kernel's tables of all objects' Gaussians, with their types; neighbours count through all keypoints."""
    most = max(entry.neighbours.shape[1] for entry in objects)

    def padded(table: torch.Tensor) -> torch.Tensor:
        """Fill up a table with zeros for the neighbours that an object lacks."""
        return pad(table, 1, (most, *table.shape[2:]))

    firsts = np.cumsum([0, *(len(entry.rest) for entry in objects)])[:-1].tolist()
    yield torch.cat([entry.rows for entry in objects]).int(), wp.int32
    yield torch.cat([torch.full_like(entry.rows, i) for i, entry in enumerate(objects)]).int(), wp.int32
    yield torch.cat([entry.offsets for entry in objects]), wp.vec3
    neighbours = [entry.neighbours + first for entry, first in zip(objects, firsts, strict=True)]
    yield torch.cat([padded(table) for table in neighbours]).int(), wp.int32
    yield torch.cat([padded(entry.value_weights) for entry in objects]), wp.float32
    yield torch.cat([padded(entry.gradient_weights) for entry in objects]), wp.vec3
