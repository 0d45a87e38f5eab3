"""Bring a completed object to where it was seen, by pairs of points, by all that was seen, and by silhouettes."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from gaussians.representation import Gaussians
from gaussians.rotations import polar_rotation, rotation_exp
from gaussians.stage.shape_checks import check_shape
from videogen.reconstruction.alignment import CHI_SQUARED_MEDIAN, Similarity, tukey_weights
from videogen.reconstruction.completion.point_pairs import PointPairs
from videogen.reconstruction.completion.silhouettes import Silhouettes

_NEAR = 0.03  # distance of points that agree, of the object's size
_TAILS = 0.02  # share of points beyond either end of an extent
_SAMPLES, _AT_ONCE = 2048, 256
_ENOUGH_PAIRS, _ENOUGH_SEEN, _ENOUGH_WHOLE = 1000, 4000, 40_000  # points that are looked at
_FEWEST = 10  # pairs that agree
_KEPT = 0.8  # share of the seen points that the refinement fits to: the nearest
_ITERATIONS = 40
_LEAST_ERROR = 1e-3  # of the distance of points that agree, that the best of them have
_NEIGHBOURS = 10  # that make a plane
_PAIRS = 0.01  # weight of the pairs beside the planes: where these say nothing, as of a ball's rotation, pairs do
_STEP = 1e-7  # of the object's size, below which an iteration is the last
_WORTH = 0.9  # of the distance before, that a refinement has to come below
_GOOD_OVERLAP = 0.9  # of silhouettes, that more is not looked for
_DISTANCES = 100.0  # weight of squared distances, of the object's size, beside what silhouettes lack
_LEAST_INLIERS, _LEAST_OVERLAP = 0.2, 0.6


@dataclass(frozen=True)
class Registration:
    """A ``Registration`` says where a completed object was seen, and how well it fits there.

    Attributes:
        similarity: from the completed object's frame to that of what was seen.
        inliers: (N,) bool, pairs that agree with it.
        residual: root mean square distance of these pairs, of the object's size.
        distance: root mean square distance of the seen points to the completed surface, without the farthest fifth of
            them, of the object's size.
        overlap: mean intersection over union of the silhouettes; None without pictures.
    """

    similarity: Similarity
    inliers: torch.Tensor
    residual: float
    distance: float
    overlap: float | None = None

    @property
    def doubts(self) -> list[str]:
        """Return sentences on why the object may not belong there."""
        doubts = []
        share = float(self.inliers.double().mean())
        if share < _LEAST_INLIERS:
            doubts.append(f"{100 * share:.0f} % of the paired points agree on where the completed object goes")
        if self.overlap is not None and self.overlap < _LEAST_OVERLAP:
            doubts.append(f"the completed object's silhouettes overlap with the masks by {100 * self.overlap:.0f} %")
        return doubts


def register(
    completed: Gaussians,
    pairs: PointPairs,
    seen: torch.Tensor,
    silhouettes: Silhouettes | None = None,
    seed: int = 0,
) -> Registration | None:
    """Return where a completed object was seen; None if hardly any of the pairs agree on a place.

    The first guess comes from the pairs: similarities of three of them each (Umeyama 1991), the best of which makes the
    sum of squared distances, cut off at those that disagree, the least (MSAC, Torr and Zisserman 2000). It is refined
    so that all seen points, also those of other views, lie on the completed object's surface, but not the other way
    round: nobody has seen its far side (trimmed ICP, Chetverikov et al. 2002). Whether pairs or seen points are the
    better ones nobody knows beforehand: the refinement counts if silhouettes overlap more after it, and without
    pictures if it brings the seen points nearer. Where silhouettes do not overlap well then, the object is moved so
    that they overlap more, as far as the seen points allow.

    Args:
        completed: the object, in a frame of its own; none of its Gaussians is transparent.
        pairs: N points of it, and where each was seen.
        seen: (M, 3), all that was seen of the object.
        seed: of the samples.
    """
    check_shape("seen", seen, "M", 3)
    whole = completed.means.double().cpu()
    source, target = pairs.completed.double().cpu(), pairs.seen.double().cpu()
    seen = _some(seen.double().cpu(), _ENOUGH_SEEN, seed)
    if len(source) < _FEWEST or not len(seen):
        return None
    size = _size(whole)
    first = _consensus(source, target, _NEAR * size, seed)
    if first is None:
        return None
    surface = _Surface(_some(whole, _ENOUGH_WHOLE, seed), seen, size)

    def rated(similarity: Similarity) -> Registration:
        errors = _errors(similarity, source, target)
        inliers = errors < _NEAR * size
        overlap = silhouettes.overlap(similarity.gaussians(completed)) if silhouettes is not None else None
        residual = float(errors[inliers].square().mean().sqrt()) / size
        return Registration(similarity, inliers, residual, surface.distance(similarity), overlap)

    inliers = _errors(first, source, target) < _NEAR * size
    pairs_alone, with_seen = rated(first), rated(surface.refined(first, source[inliers], target[inliers]))
    if pairs_alone.overlap is None or with_seen.overlap is None or silhouettes is None:
        nearer = with_seen.distance < _WORTH * pairs_alone.distance
        return with_seen if nearer and _agreed(with_seen) else pairs_alone
    best = with_seen if with_seen.overlap > pairs_alone.overlap and _agreed(with_seen) else pairs_alone
    assert best.overlap is not None
    if best.overlap < _GOOD_OVERLAP:
        hessian = surface.hessian(best.similarity, source[best.inliers])

        def penalty(change: torch.Tensor) -> torch.Tensor:
            return _DISTANCES * (change @ hessian @ change) / size**2

        fitted = rated(silhouettes.fitted(best.similarity, completed, penalty))
        assert fitted.overlap is not None
        best = fitted if fitted.overlap > best.overlap and _agreed(fitted) else best
    return best


def _agreed(registration: Registration) -> bool:
    return int(registration.inliers.sum()) >= _FEWEST


def umeyama(
    source: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the similarities with the least weighted squared distances of points (Umeyama 1991).

    Args:
        source, target: (..., N, 3).
        weights: (..., N); equal by default.

    Returns:
        scales (...), rotations (..., 3, 3), translations (..., 3).
    """
    weights = torch.ones_like(source[..., 0]) if weights is None else weights
    shares = (weights / weights.sum(-1, keepdim=True))[..., None]
    source_mean, target_mean = (shares * source).sum(-2), (shares * target).sum(-2)
    source, target = source - source_mean[..., None, :], target - target_mean[..., None, :]
    rotations = polar_rotation((shares * target).mT @ source)
    turned = source @ rotations.mT
    scales = (shares * turned * target).sum((-1, -2)) / (shares * source.square()).sum((-1, -2)).clamp_min(1e-30)
    translations = target_mean - scales[..., None] * (rotations @ source_mean[..., None])[..., 0]
    return scales, rotations, translations


def _similarity(source: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None) -> Similarity:
    scale, rotation, translation = umeyama(source, target, weights)
    return Similarity(float(scale), rotation, translation)


def _some(points: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Return at most ``count`` of points, drawn at random."""
    if len(points) <= count:
        return points
    chosen = np.random.default_rng(seed).choice(len(points), count, replace=False)
    return points[torch.from_numpy(np.sort(chosen))]


def _size(points: torch.Tensor) -> float:
    """Return the length of the diagonal of points' extents, without their tails."""
    low, high = torch.from_numpy(np.quantile(points.numpy(), (_TAILS, 1 - _TAILS), axis=0))
    return max(float((high - low).norm()), 1e-12)


def _consensus(source: torch.Tensor, target: torch.Tensor, near: float, seed: int) -> Similarity | None:
    """Return the similarity that most pairs agree on, to within ``near`` of the source's frame; None if hardly any do.

    Of those that agree, Tukey's weights leave out what the others make unlikely.
    """
    pairs = _some(torch.cat([source, target], 1), _ENOUGH_PAIRS, seed)
    p, q = pairs.split(3, dim=1)
    random = np.random.default_rng(seed)
    lowest, best = np.inf, None
    for _ in range(_SAMPLES // _AT_ONCE):
        chosen = torch.from_numpy(random.integers(len(p), size=(_AT_ONCE, 3)))
        scales, rotations, translations = umeyama(p[chosen], q[chosen])
        moved = (scales[:, None, None] * rotations) @ p.T + translations[..., None]
        squares = (moved - q.T).square().sum(1) / scales[:, None].square()
        costs = squares.clamp_max(near**2).mean(1).where(scales > 0, torch.inf)
        if float(costs.min()) < lowest:
            lowest, index = float(costs.min()), int(costs.argmin())
            best = Similarity(float(scales[index]), rotations[index], translations[index])
    if best is None:
        return None
    for _ in range(_ITERATIONS):
        squares = _errors(best, source, target).square()
        agree = squares < near**2
        if agree.sum() < _FEWEST:
            return None
        variance = max(float(squares[agree].median()) / CHI_SQUARED_MEDIAN, (_LEAST_ERROR * near) ** 2)
        before, best = best, _similarity(source, target, tukey_weights(squares / variance) * agree)
        if _errors(best, source, before.points(source)).max() < _STEP * near:
            break
    return best


def _errors(similarity: Similarity, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the distances (N,) of points, in units of the source's frame."""
    return (similarity.points(source) - target).norm(dim=1) / similarity.scale


class _Surface:
    """A ``_Surface`` finds what seen points show of a completed object, whose points have planes."""

    def __init__(self, whole: torch.Tensor, seen: torch.Tensor, size: float) -> None:
        self.whole, self.seen, self.size = whole, seen, size
        self.tree = cKDTree(whole.numpy())
        _, neighbours = self.tree.query(whole.numpy(), min(_NEIGHBOURS, len(whole)))
        around = whole[torch.from_numpy(neighbours)]
        offsets = around - around.mean(1, keepdim=True)
        self.normals = torch.linalg.eigh(offsets.mT @ offsets).eigenvectors[..., 0]

    def distance(self, similarity: Similarity) -> float:
        """Return the root mean square distance of the nearer seen points to the planes, of the object's size."""
        local, nearest = self._nearest(similarity)
        distances = ((local - self.whole[nearest]) * self.normals[nearest]).sum(1)
        return float(distances.square().mean().sqrt()) / self.size

    def refined(self, similarity: Similarity, source: torch.Tensor, target: torch.Tensor) -> Similarity:
        """Return the similarity that takes planes to the nearer seen points and, in part, pairs to each other.

        Each step is Gauss and Newton's, of a similarity before the last one, in the object's own frame (Chen and
        Medioni 1992).
        """
        for _ in range(_ITERATIONS):
            missing = similarity.inverse().points(target) - source
            hessian, gradient = self._equations(similarity, source, missing)
            step = torch.linalg.lstsq(hessian, gradient).solution
            change = Similarity(float(step[0].exp()), rotation_exp(step[1:4]), step[4:])
            similarity = similarity @ change
            if (change.points(self.whole) - self.whole).norm(dim=1).max() < _STEP * self.size:
                break
        return similarity

    def hessian(self, similarity: Similarity, source: torch.Tensor) -> torch.Tensor:
        """Return the matrix (7, 7) whose quadratic form is the mean squared distance that a change makes.

        The change is of the logarithm of the scale, the rotation vector and the translation in the object's frame,
        where the distance is measured, too.
        """
        return self._equations(similarity, source, torch.zeros_like(source))[0]

    def _equations(
        self, similarity: Similarity, source: torch.Tensor, missing: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the matrix and the right side of the normal equations for a change before a similarity."""
        local, nearest = self._nearest(similarity)
        points, normals = self.whole[nearest], self.normals[nearest]
        rows = [(1 / len(local), _derivatives(points, normals), ((local - points) * normals).sum(1))]
        for axis in torch.eye(3, dtype=torch.float64):
            rows.append((_PAIRS / len(source), _derivatives(source, axis.expand_as(source)), missing @ axis))
        hessian = torch.stack([weight * matrix.T @ matrix for weight, matrix, _ in rows]).sum(0)
        gradient = torch.stack([weight * matrix.T @ values for weight, matrix, values in rows]).sum(0)
        return hessian, gradient

    def _nearest(self, similarity: Similarity) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the nearer seen points, in the object's frame, and the rows of the completed points next to them."""
        local = similarity.inverse().points(self.seen)
        distances, rows = (torch.from_numpy(found) for found in self.tree.query(local.numpy()))
        kept = distances.argsort()[: max(1, round(_KEPT * len(distances)))]
        return local[kept], rows[kept]


def _derivatives(points: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """Return how far points (N, 3) go along directions (N, 3) by a growth, a rotation, and a translation: (N, 7)."""
    growth = (points * directions).sum(1, keepdim=True)
    return torch.cat([growth, torch.linalg.cross(points, directions), directions], 1)
