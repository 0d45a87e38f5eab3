"""Bring what was reconstructed into the simulation's world by a similarity that matches cameras with known ones."""

from dataclasses import dataclass

import numpy as np
import torch

from gaussians.cameras import Cameras
from gaussians.representation import Gaussians
from gaussians.rotations import polar_rotation
from gaussians.stage.errors import InputError
from gaussians.stage.shape_checks import check_shape
from videogen.reconstruction.posing.pictures import FEWEST

_MOST_HYPOTHESES = 4000
_LEAST_DISTANCE = 0.1  # between the two cameras of a hypothesis, as a share of the median of all pairs
_NO_DISTANCE = 1e-6  # a spread below this share of the coordinates is none
_ITERATIONS = 50
CHI_SQUARED_MEDIAN = 2.366
"""The median of squared distances in three dimensions over the variance along each."""
_CUT = 5.0  # standard deviations at which Tukey's weight reaches 0; three normal ones are farther once in 60,000 times
# Standard deviations, of the spread and radians, that good estimates have: whoever is that near is no outlier.
_LEAST_CENTER, _LEAST_ANGLE = 2e-3, 2e-3
_LEAST_INLIERS = 0.5  # share of the cameras
_ON_A_LINE = 0.02  # the second largest extent of the centres over the largest
_WORST_CENTER, _WORST_ANGLE = 0.1, 10.0  # of the spread, and degrees: RMS of what is no match


@dataclass(frozen=True)
class Similarity:
    """A ``Similarity`` takes a point p to scale * rotation p + translation.

    Attributes:
        scale: a positive factor.
        rotation: (3, 3) float64.
        translation: (3,) float64.
    """

    scale: float
    rotation: torch.Tensor
    translation: torch.Tensor

    def __post_init__(self) -> None:
        check_shape("rotation", self.rotation, 3, 3)
        check_shape("translation", self.translation, 3)

    @staticmethod
    def identity() -> "Similarity":
        return Similarity(1.0, torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))

    def points(self, points: torch.Tensor) -> torch.Tensor:
        """Return where points (N, 3) go."""
        return self.scale * points @ self.rotation.T.to(points) + self.translation.to(points)

    def gaussians(self, gaussians: Gaussians) -> Gaussians:
        """Return Gaussians moved, with their shapes, orientations and colours turned along."""
        return gaussians.transformed(self.rotation, self.translation, self.scale)

    def cameras(self, cameras: Cameras) -> Cameras:
        """Return cameras that see moved points in the same pixels; depths grow by ``scale``."""
        viewmats = cameras.viewmats.double()
        rotations = viewmats[:, :3, :3] @ self.rotation.T.to(viewmats)
        moved = viewmats.clone()
        moved[:, :3, :3] = rotations
        moved[:, :3, 3] = self.scale * viewmats[:, :3, 3] - rotations @ self.translation.to(viewmats)
        return Cameras(moved.to(cameras.viewmats), cameras.Ks, cameras.width, cameras.height)

    def inverse(self) -> "Similarity":
        return Similarity(1 / self.scale, self.rotation.T, -(self.rotation.T @ self.translation) / self.scale)

    def __matmul__(self, first: "Similarity") -> "Similarity":
        """Return ``first`` followed by this one."""
        return Similarity(
            self.scale * first.scale,
            self.rotation @ first.rotation,
            self.scale * self.rotation @ first.translation + self.translation,
        )


@dataclass(frozen=True)
class CameraAlignment:
    """A ``CameraAlignment`` says how well cameras fit known ones after a similarity.

    Attributes:
        similarity: from the frame of the cameras to that of the known ones.
        inliers: (N,) bool, those that the similarity was made of.
        center_errors: (N,), distances between centres, metres.
        angle_errors: (N,), angles between orientations, degrees.
        spread: root mean square distance of the known centres from their mean, metres.
    """

    similarity: Similarity
    inliers: torch.Tensor
    center_errors: torch.Tensor
    angle_errors: torch.Tensor
    spread: float

    def residuals(self) -> dict[str, float | int]:
        """Return what a report says: RMS errors of the inliers, in metres, as a share of the spread, and degrees."""
        center, angle = _rms(self.center_errors[self.inliers]), _rms(self.angle_errors[self.inliers])
        return {
            "cameras": len(self.inliers),
            "outliers": int((~self.inliers).sum()),
            "center_rms": center,
            "center_rms_share": center / self.spread,
            "angle_rms": angle,
        }

    def notes(self, known: Cameras) -> list[str]:
        """Return sentences for the user on what is doubtful."""
        notes = []
        if outliers := int((~self.inliers).sum()):
            notes.append(f"{outliers} of {len(self.inliers)} cameras do not fit the others and were left out")
        centers = known.positions.double()
        lengths = torch.linalg.svdvals(centers - centers.mean(0))
        if lengths[1] < _ON_A_LINE * lengths[0]:
            notes.append("the cameras stand on a line: their orientations alone say how the scene is turned about it")
        return notes


def align_cameras(found: Cameras, known: Cameras, setting: str = "cameras.json") -> CameraAlignment:
    """Return the similarity that takes cameras to where they are known to be, whatever a minority of them says.

    It makes the sum over cameras of both squared errors, of centres and of orientations, each over its variance, the
    least (Umeyama 1991, with the orientations as more observations of the rotation), so that centres on a line, or all
    but in one place, are enough. The start is the hypothesis of two cameras with the least median error (Rousseeuw
    1984), and Tukey's weights then leave outliers out.

    Args:
        found, known: N cameras, each the same in both.
        setting: what gave the known ones, for messages.

    Raises:
        InputError: there are fewer than three, all known ones or all found ones stand in one place, or they do not fit.
    """
    if len(found) != len(known):
        raise InputError(f"{setting}: expected {len(found)} cameras to align with, found {len(known)}")
    if len(found) < FEWEST:
        raise InputError(f"{setting}: expected at least {FEWEST} cameras to align with, found {len(found)}")
    p, q = found.positions.double().cpu(), known.positions.double().cpu()
    # What each camera alone says of the rotation.
    rotations = known.viewmats[:, :3, :3].double().cpu().mT @ found.viewmats[:, :3, :3].double().cpu()
    for which, centers in (("estimated", p), ("known", q)):
        if _spread(centers) <= _NO_DISTANCE * (1 + float(centers.abs().max())):
            raise InputError(f"{setting}: the {which} cameras stand in one place, which leaves the scale open")
    similarity = _least_median(p, q, rotations)
    spread = _spread(q)
    weights = torch.ones(2, len(p), dtype=torch.float64)
    for _ in range(_ITERATIONS):
        squares, angles = _squared_errors(similarity, p, q, rotations)
        variances = [
            max(float(values.median()) / CHI_SQUARED_MEDIAN, least**2)
            for values, least in ((squares, _LEAST_CENTER * spread), (angles, _LEAST_ANGLE))
        ]
        weights = torch.stack([tukey_weights(squares / variances[0]), tukey_weights(angles / variances[1])])
        before, similarity = similarity, _weighted(p, q, rotations, weights, variances, similarity.scale)
        if _difference(before, similarity, spread) < 1e-12:
            break
    squares, angles = _squared_errors(similarity, p, q, rotations)
    inliers = (weights > 0).all(0)
    alignment = CameraAlignment(similarity, inliers, squares.sqrt(), torch.rad2deg(angles.sqrt()), spread)
    residuals = alignment.residuals()
    share, angle = residuals["center_rms_share"], residuals["angle_rms"]
    if inliers.double().mean() < _LEAST_INLIERS or not (share < _WORST_CENTER and angle < _WORST_ANGLE):
        raise InputError(
            f"{setting}: the estimated cameras do not fit the known ones: {int(inliers.sum())} of {len(p)} agree, to "
            f"{100 * share:.2g} % of their spread and {angle:.2g} degrees"
        )
    return alignment


def _rms(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())


def _spread(centers: torch.Tensor) -> float:
    return float((centers - centers.mean(0)).square().sum(1).mean().sqrt())


def _squared_errors(
    similarity: Similarity, p: torch.Tensor, q: torch.Tensor, rotations: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return squared distances (N,), metres^2, and squared angles (N,), radians^2, of all cameras."""
    squares = (similarity.points(p) - q).square().sum(1)
    return squares, _angles(similarity.rotation, rotations).square()


def _angles(rotation: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """Return angles (..., N), radians, between rotations (..., 3, 3) and (N, 3, 3).

    They come from the length of the difference, which is 2 sqrt 2 sin of half the angle and keeps its digits at zero.
    """
    difference = (rotation[..., None, :, :] - rotations).flatten(-2).norm(dim=-1)
    return 2 * torch.asin((difference / 8**0.5).clamp_max(1))


def _least_median(p: torch.Tensor, q: torch.Tensor, rotations: torch.Tensor) -> Similarity:
    """Return the hypothesis with the least median error: the rotation of a camera, the scale and place of two."""
    first, second = torch.cartesian_prod(torch.arange(len(p)), torch.arange(len(p))).unbind(1)
    before, after = (p[first] - p[second]).norm(dim=1), (q[first] - q[second]).norm(dim=1)
    least = [_LEAST_DISTANCE * distances[distances > 0].median() for distances in (before, after)]
    far = ((before > least[0]) & (after > least[1])).nonzero().squeeze(1)
    if not len(far):
        far = ((before > 0) & (after > 0)).nonzero().squeeze(1)
    if len(far) > _MOST_HYPOTHESES:
        chosen = np.random.default_rng(0).choice(len(far), _MOST_HYPOTHESES, replace=False)
        far = far[torch.from_numpy(np.sort(chosen))]
    i = first[far]
    scales = after[far] / before[far]
    turned = torch.einsum("hij,nj->hni", rotations[i], p) * scales[:, None, None]
    shifts = q[i] - turned[torch.arange(len(i)), i]
    centers = (turned + shifts[:, None] - q).norm(dim=2) / _spread(q)
    errors = (centers + _angles(rotations[i], rotations)).median(1).values
    best = int(errors.argmin())
    return Similarity(float(scales[best]), rotations[i[best]], shifts[best])


def tukey_weights(squares: torch.Tensor) -> torch.Tensor:
    """Return Tukey's weights of squared errors in variances: 1 at 0, and 0 from ``_CUT`` standard deviations on."""
    return (1 - squares / _CUT**2).clamp_min(0).square()


def _weighted(
    p: torch.Tensor,
    q: torch.Tensor,
    rotations: torch.Tensor,
    weights: torch.Tensor,
    variances: list[float],
    scale: float,
) -> Similarity:
    """Return the similarity of the least weighted squared errors, its rotation for the scale of the last one.

    Squared angles are half the squared differences of matrices, to second order, so that the rotation makes the trace
    of its transpose times one matrix the largest, as Umeyama's does.
    """
    of_centers, of_angles = weights
    share = of_centers / of_centers.sum().clamp_min(1e-12)
    p_mean, q_mean = share @ p, share @ q
    p, q = p - p_mean, q - q_mean
    moments = (of_centers[:, None] * q).T @ p
    total = 2 * scale / variances[0] * moments + (of_angles[:, None, None] * rotations).sum(0) / variances[1]
    rotation = polar_rotation(total)
    turned = p @ rotation.T
    scale = float((of_centers[:, None] * turned * q).sum() / (of_centers[:, None] * turned.square()).sum())
    return Similarity(scale, rotation, q_mean - scale * rotation @ p_mean)


def _difference(a: Similarity, b: Similarity, spread: float) -> float:
    scale = abs(a.scale / b.scale - 1)
    return max(
        scale, float((a.rotation - b.rotation).abs().max()), float((a.translation - b.translation).abs().max()) / spread
    )
