"""Measure predictions of a scene against its simulation."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise

import torch

from dataset.layout import Layout
from dataset.scenes.scene_objects import trajectory_objects
from dynamic_models.data.scene_state import MATERIAL_FIELDS
from dynamic_models.data.windows import SimulatedScene
from dynamic_models.evaluation.contenders import Prediction
from dynamic_models.evaluation.ensembles import EnsembleErrors, ensemble_errors
from dynamic_models.evaluation.metrics import TrajectoryErrors, first_contact_error, trajectory_errors
from dynamic_models.evaluation.penetration import Interior
from dynamic_models.evaluation.plausibility import Motion, contact_reach, plausibility
from gaussians.files.trajectory_reader import TrajectoryReader

ERRORS = ("rmse", "rmse_per_coordinate", "final_position_error", "correlation", "correlation_of_positions")
PLAUSIBILITY = (
    *("momentum_drift", "energy_gain", "interpenetration", "floor_penetration", "final_speed", "unsupported"),
)
ENSEMBLE = ("best_rmse", "energy_score")
FIRST_CONTACT = "first_contact_error"
METRICS = (*ERRORS, FIRST_CONTACT, *PLAUSIBILITY, "final_speed_error", *ENSEMBLE, "seconds")
LATER = "later_rmse"


@dataclass(frozen=True)
class Result:
    """A ``Result`` says how well one contender predicts one scene.

    Attributes:
        contender, scene, group: their names.
        frames: how many were predicted.
        metrics: the value of each of ``METRICS``; NaN for what a scene cannot tell, infinite errors of predictions that
            are not finite.
        over_time: (T,), RMSE of every frame, metres.
        horizons: ``ERRORS`` over the first so many frames, and ``LATER``, the RMSE of those of them that come after the
            horizon before.
    """

    contender: str
    scene: str
    group: str
    frames: int
    metrics: dict[str, float]
    over_time: torch.Tensor
    horizons: dict[int, dict[str, float]] = field(default_factory=dict)


class SceneMeasurements:
    """A ``SceneMeasurements`` measures predictions of one scene."""

    def __init__(
        self,
        scene: SimulatedScene,
        frames: int,
        num_keypoints: int | None,
        layout: Layout,
        horizons: Sequence[int] = (),
    ) -> None:
        """Prepare what all predictions are measured against.

        Args:
            horizons: numbers of first frames over which errors are taken, too, ascending.
            num_keypoints: how many of every object's keypoints are looked at, the first ones; None: all.
        """
        self.scene, self.frames, self._first = scene, frames, slice(num_keypoints)
        self._horizons = [horizon for horizon in horizons if horizon <= frames]
        self._mask = scene.clip.mask[:, self._first]
        self._shares = scene.clip.shares_of_first(num_keypoints).double()
        self._target = scene.clip.positions[:frames, :, self._first]
        reader = TrajectoryReader(layout.root / "mpm" / scene.name)
        self._group = scene.name.partition("/")[0]
        labels, cloud = trajectory_objects(reader, layout).labels, reader.positions(0)
        self._interiors = [Interior(cloud[labels == label]) for label in scene.clip.labels]
        masses = scene.materials[:, MATERIAL_FIELDS.index("mass")].double()
        self._masses = torch.ones_like(masses) if masses.isnan().any() else masses

    def compare(
        self, predictions: dict[str, Prediction], ensembles: dict[str, EnsembleErrors] | None = None
    ) -> list[Result]:
        """Return the result of every contender, the truth first.

        Args:
            ensembles: the errors of those that were rolled out from jittered starts.
        """
        truth, *others = (self.measure(contender, prediction) for contender, prediction in predictions.items())
        results = []
        for result in (truth, *others):
            difference = abs(result.metrics["final_speed"] - truth.metrics["final_speed"])
            spread = (ensembles or {}).get(result.contender, EnsembleErrors())
            added = {"final_speed_error": difference} | asdict(spread)
            results.append(replace(result, metrics=result.metrics | added))
        return results

    def measure(self, contender: str, prediction: Prediction) -> Result:
        """Measure all of ``METRICS`` but those that other rollouts are needed for."""
        positions = prediction.positions[:, :, self._first]
        finite = bool(positions[:, self._mask].isfinite().all())
        horizons = {}
        if finite:
            compared, scale = positions, prediction.error_scale
            if scale != 1:
                compared = self._target + scale * (positions - self._target)
            errors = trajectory_errors(compared, self._target, self._mask)
            metrics, over_time = _errors(errors) | self._plausibility(positions), errors.over_time
            metrics[FIRST_CONTACT] = self._first_contact_error(compared)
            for former, horizon in pairwise((0, *self._horizons)):
                found = trajectory_errors(compared[:horizon], self._target[:horizon], self._mask)
                later = float(errors.over_time[former:horizon].square().mean().sqrt())
                horizons[horizon] = _errors(found) | {LATER: later}
        else:  # infinite errors, so that no mean hides them
            over_time = torch.full((len(positions),), math.nan, dtype=torch.float64)
            metrics = _DIVERGED | dict.fromkeys((FIRST_CONTACT, *PLAUSIBILITY), math.nan)
            horizons = dict.fromkeys(self._horizons, _DIVERGED | {LATER: math.inf})
        metrics["seconds"] = math.nan if prediction.seconds is None else prediction.seconds
        return Result(contender, self.scene.name, self._group, self.frames, metrics, over_time, horizons)

    def judge(self, rollouts: torch.Tensor) -> EnsembleErrors:
        """Return the errors of rollouts (n, T, O, P, 3) from jittered starts, infinite where one is not finite."""
        positions = rollouts[:, :, :, self._first]
        mask = self._mask.to(positions.device)
        if not positions[:, :, mask].isfinite().all():
            return EnsembleErrors(math.inf, math.inf)
        return ensemble_errors(positions, self._target.to(positions), mask)

    def _first_contact_error(self, positions: torch.Tensor) -> float:
        gravity = torch.tensor(self.scene.world.gravity)
        return first_contact_error(
            positions, self._target, self._mask, self._shares, gravity, self._pushed(), self.scene.frame_dt
        )

    def _pushed(self) -> torch.Tensor:
        """Return on which objects external forces act between two frames, (T - 1, O), bool."""
        return self.scene.window(0, self.frames).pushes[0].ne(0).any(-1)

    def _plausibility(self, positions: torch.Tensor) -> dict[str, float]:
        world = self.scene.world
        motion = Motion(
            positions=positions.double(),
            mask=self._mask,
            shares=self._shares,
            masses=self._masses,
            gravity=torch.tensor(world.gravity, dtype=torch.float64),
            walls=torch.tensor(world.walls, dtype=torch.float64),
            frame_dt=self.scene.frame_dt,
            pushed=self._pushed(),
            reach=contact_reach(self.scene.dx),
            dx=self.scene.dx,
        )
        return asdict(plausibility(motion, self._interiors))


def _errors(errors: TrajectoryErrors) -> dict[str, float]:
    return {key: getattr(errors, key) for key in ERRORS}


_DIVERGED = {key: math.nan if key.startswith("correlation") else math.inf for key in ERRORS}
