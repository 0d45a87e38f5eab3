"""Choose keypoints, a few Gaussians that stand for all of an object, and take their motion from a trajectory.

Farthest-point sampling starts at the point farthest from the object's centroid, so the same object has the same
keypoints everywhere. The rows that were chosen are stored with the motion.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from scipy.spatial import cKDTree

from dataset.mpm.particle_volumes import object_volumes
from dynamic_models.data.farthest_points import farthest_point_sampling
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError
from gaussians.stage.shape_checks import check_shape

_CACHE_VERSION = 3
_TRIANGULATED = 2_000  # points of an object that are enough to tell where its mass is


@dataclass(frozen=True)
class KeypointClip:
    """A ``KeypointClip`` is the motion of O objects' keypoints over T frames, 0 where an object has fewer than P.

    Attributes:
        positions: (T, O, P, 3), metres.
        velocities: (T, O, P, 3), metres per second, or None where the trajectory holds none.
        rows: (O, P) int64, which Gaussian each keypoint is, -1 where there is none.
        labels: (O,) int64, the objects' values among the trajectory's labels, ascending.
        shares: (O, P), see ``keypoint_shares``.
    """

    positions: torch.Tensor
    velocities: torch.Tensor | None
    rows: torch.Tensor
    labels: torch.Tensor
    shares: torch.Tensor

    @property
    def mask(self) -> torch.Tensor:
        """Return which keypoints exist, (O, P), bool."""
        return self.rows >= 0

    def shares_of_first(self, count: int | None) -> torch.Tensor:
        """Return the shares (O, count) of mass where only the first keypoints stand for an object; None: all.

        The others give theirs to the nearest of these.
        """
        start, kept = self.positions[0], self.mask[:, :count]
        distances = torch.cdist(start, start[:, :count]).masked_fill(~kept[:, None], torch.inf)
        return torch.zeros(kept.shape).scatter_add_(1, distances.argmin(-1), self.shares)


def keypoint_rows(
    positions: torch.Tensor, labels: torch.Tensor, num_keypoints: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows (O, P) of objects' keypoints, -1 where an object has fewer than P, and objects' labels (O,).

    Objects come in the order of their labels; negative labels are no object. P is ``num_keypoints``, or the points of
    the largest object where that has fewer.

    Args:
        positions: (N, 3), metres.
        labels: (N,), whole numbers.
        num_keypoints: how many to take of every object that has as many points.

    Raises:
        InputError: there is no object.
    """
    check_shape("labels", labels, len(positions))
    values, places = labels.cpu().numpy().astype(np.int64), positions.cpu()
    objects = np.unique(values[values >= 0])
    if not len(objects):
        raise InputError("labels: expected at least one object (a label of 0 or more), found none")
    chosen = []
    for label in objects:
        members = torch.from_numpy(np.flatnonzero(values == label))
        chosen.append(members[farthest_point_sampling(places[members], num_keypoints)])
    rows = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=-1)
    return rows, torch.from_numpy(objects)


def keypoint_shares(positions: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return the share of its object's mass that each keypoint stands for, (O, P), 0 where there is none.

    Points of an object, with the volumes that a simulation of them has, count for the keypoints nearest to them, so
    that centre of mass and moments of inertia are those of the body. Keypoints alone are denser on its surface.

    Args:
        positions: (N, 3), metres, of undeformed objects.
        labels: (N,), whole numbers.
        rows: (O, P), what ``keypoint_rows`` returns.
    """
    places, objects = positions.cpu().double().numpy(), labels.cpu().numpy()
    shares = torch.zeros(rows.shape)
    for own, share in zip(rows.numpy(), shares, strict=True):
        own = own[own >= 0]
        members = places[objects == objects[own[0]]]
        volumes = object_volumes(members, _TRIANGULATED)
        nearest = cKDTree(places[own]).query(members)[1]
        total = np.bincount(nearest, volumes, len(own))
        share[: len(own)] = torch.from_numpy(total / total.sum())
    return shares


def extract_keypoints(
    reader: TrajectoryReader, labels: torch.Tensor, num_keypoints: int, cache: Path | None = None
) -> KeypointClip:
    """Choose keypoints in frame 0 and follow them through all frames, one frame in memory at a time.

    Args:
        labels: (N,), the object of each Gaussian, negative for none.
        cache: a file to keep the result in and to take it from. It remembers which trajectory files (name, size, time
            of change), labels and settings it was made of, and is made again where any differs or its content has
            changed since.

    Raises:
        InputError: a frame is damaged, or ``cache`` cannot be written.
    """
    key = _cache_key(reader.path, labels, num_keypoints)
    clip = _read_cache(cache, key) if cache else None
    if clip is not None:
        return clip
    try:
        start = reader.positions(0)
        rows, objects = keypoint_rows(start, labels, num_keypoints)
    except InputError as error:
        raise InputError(f"{reader.path}: {error}") from None
    mask = (rows >= 0)[..., None]
    positions, velocities = [], []
    for k in range(reader.num_frames):
        frame = reader.frame(k, ("pos", "vel"))
        positions.append(frame.means[rows.clamp_min(0)] * mask)
        if frame.velocities is not None:
            velocities.append(frame.velocities[rows.clamp_min(0)] * mask)
    complete = len(velocities) == len(positions)
    shares = keypoint_shares(start, labels, rows)
    clip = KeypointClip(torch.stack(positions), torch.stack(velocities) if complete else None, rows, objects, shares)
    if cache is None:
        return clip
    try:
        _write_cache(cache, key, clip)
    except InputError as error:
        raise InputError(f"{error}; --cache gives extracted keypoints another directory") from None
    return _read_cache(cache, key) or clip  # what is read is mapped from the file and takes no memory


def _cache_key(trajectory: Path, labels: torch.Tensor, num_keypoints: int) -> str:
    files = sorted(path for path in trajectory.iterdir() if path.suffix in (".h5", ".json", ".npy"))
    identity = {
        "version": _CACHE_VERSION,
        "trajectory": str(trajectory.resolve()),
        "num_keypoints": num_keypoints,
        "labels": hashlib.sha256(labels.cpu().numpy().astype(np.int64).tobytes()).hexdigest(),
        "files": [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files],
    }
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def _read_cache(cache: Path, key: str) -> KeypointClip | None:
    if not cache.is_file():
        return None
    try:
        with safe_open(cache, "pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
            if file.metadata().get("sha256") != _content_hash(tensors):
                return None
    except SafetensorError:
        return None  # damaged: it is made again
    return KeypointClip(velocities=tensors.pop("velocities", None), **tensors)


def _content_hash(tensors: dict[str, torch.Tensor]) -> str:
    """Return a SHA-256 of names, types, shapes and values, so that no damage of a cache is trained on."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _write_cache(cache: Path, key: str, clip: KeypointClip) -> None:
    tensors = {"positions": clip.positions, "rows": clip.rows, "labels": clip.labels, "shares": clip.shares}
    if clip.velocities is not None:
        tensors["velocities"] = clip.velocities
    with atomic_path(cache) as temporary:
        temporary.write_bytes(save(tensors, metadata={"key": key, "sha256": _content_hash(tensors)}))
