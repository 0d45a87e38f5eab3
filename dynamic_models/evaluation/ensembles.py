"""Judge rollouts from several starts that differ less than anybody could measure: collisions are chaotic."""

import zlib
from dataclasses import dataclass, replace

import torch

from dynamic_models.data.scene_state import SceneState


@dataclass(frozen=True)
class EnsembleErrors:
    """An ``EnsembleErrors`` says how well several rollouts of one scene predict it; NaN where there are none.

    Attributes:
        best_rmse: root mean squared distance of the best of them, metres.
        energy_score: mean distance to the truth less half of the mean distance of two rollouts, metres.
    """

    best_rmse: float = float("nan")
    energy_score: float = float("nan")


def jittered(state: SceneState, rollouts: int, jitter: float, name: str) -> SceneState:
    """Return ``rollouts`` times one scene, each object moved by a normal vector.

    Args:
        state: one scene.
        jitter: standard deviation of each coordinate, metres.
        name: the scene's, with which the random numbers begin, the same for all models.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    moved = jitter * torch.randn(rollouts, state.mask.shape[1], 1, 3, generator=generator)
    copies = state.map(lambda tensor: tensor.expand(rollouts, *tensor.shape[1:]).contiguous())
    return replace(copies, points=copies.points + moved.to(copies.points) * copies.mask[..., None])


def ensemble_errors(predicted: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> EnsembleErrors:
    """Return the errors of n rollouts (n, T, O, P, 3), metres, against the truth (T, O, P, 3).

    The distance of two motions is the root mean squared distance of keypoints over frames. The energy score (Gneiting
    & Raftery 2007, the fair estimate of Ferro 2014) is smallest on average for an ensemble that is drawn from all that
    can happen, and is the RMSE where all rollouts are the same.

    Args:
        mask: (O, P), bool, which keypoints exist.
    """
    count, flat = len(predicted), predicted[:, :, mask].flatten(1)
    points = flat.shape[1] // 3

    def distances(others: torch.Tensor, one: torch.Tensor) -> torch.Tensor:
        return ((others - one).square().sum(1, dtype=torch.float64) / points).sqrt()

    errors = distances(flat, target[:, mask].flatten()[None].to(flat))
    apart = sum(float(distances(flat[k + 1 :], flat[k]).sum()) for k in range(count - 1))
    spread = apart / (count * (count - 1)) if count > 1 else 0.0
    return EnsembleErrors(float(errors.min()), float(errors.mean()) - spread)
