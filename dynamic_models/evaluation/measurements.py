"""Measure predictions of a scene against its simulation."""

import math
from dataclasses import asdict, dataclass, replace

import torch

from dataset.layout import Layout
from dataset.scenes.scene_objects import trajectory_objects
from dynamic_models.data.scene_state import MATERIAL_FIELDS
from dynamic_models.data.windows import SimulatedScene
from dynamic_models.evaluation.contenders import Prediction
from dynamic_models.evaluation.metrics import trajectory_errors
from dynamic_models.evaluation.penetration import Interior
from dynamic_models.evaluation.plausibility import Motion, contact_reach, plausibility
from gaussians.files.trajectory_reader import TrajectoryReader

ERRORS = ("rmse", "final_position_error", "correlation")
PLAUSIBILITY = ("momentum_drift", "energy_gain", "interpenetration", "floor_penetration", "final_speed")
METRICS = (*ERRORS, *PLAUSIBILITY, "final_speed_error", "seconds")


@dataclass(frozen=True)
class Result:
    """A ``Result`` says how well one contender predicts one scene.

    Attributes:
        contender, scene, group: their names.
        frames: how many were predicted.
        metrics: the value of each of ``METRICS``; NaN for what a scene cannot tell, infinite errors of predictions that
            are not finite.
        over_time: (T,), RMSE of every frame, metres.
    """

    contender: str
    scene: str
    group: str
    frames: int
    metrics: dict[str, float]
    over_time: torch.Tensor


class SceneMeasurements:
    """A ``SceneMeasurements`` measures predictions of one scene."""

    def __init__(self, scene: SimulatedScene, frames: int, num_keypoints: int | None, layout: Layout) -> None:
        """Prepare what all predictions are measured against.

        Args:
            num_keypoints: how many of every object's keypoints are looked at, the first ones; None: all.
        """
        self.scene, self.frames, self._first = scene, frames, slice(num_keypoints)
        self._mask = scene.clip.mask[:, self._first]
        self._target = scene.clip.positions[:frames, :, self._first]
        reader = TrajectoryReader(layout.root / "mpm" / scene.name)
        self._group = scene.name.partition("/")[0]
        labels, cloud = trajectory_objects(reader, layout).labels, reader.positions(0)
        self._interiors = [Interior(cloud[labels == label]) for label in scene.clip.labels]
        masses = scene.materials[:, MATERIAL_FIELDS.index("mass")].double()
        self._masses = torch.ones_like(masses) if masses.isnan().any() else masses

    def compare(self, predictions: dict[str, Prediction]) -> list[Result]:
        """Return the result of every contender, the truth first."""
        truth, *others = (self.measure(contender, prediction) for contender, prediction in predictions.items())
        results = []
        for result in (truth, *others):
            difference = abs(result.metrics["final_speed"] - truth.metrics["final_speed"])
            results.append(replace(result, metrics=result.metrics | {"final_speed_error": difference}))
        return results

    def measure(self, contender: str, prediction: Prediction) -> Result:
        """Measure all of ``METRICS`` but the error of the final speed, which takes the truth's to know."""
        positions = prediction.positions[:, :, self._first]
        finite = positions[:, self._mask].isfinite().all()
        metrics, over_time = self._measured(positions) if finite else self._diverged(positions)
        metrics["seconds"] = math.nan if prediction.seconds is None else prediction.seconds
        return Result(contender, self.scene.name, self._group, self.frames, metrics, over_time)

    def _measured(self, positions: torch.Tensor) -> tuple[dict[str, float], torch.Tensor]:
        errors = trajectory_errors(positions, self._target, self._mask)
        world = self.scene.world
        motion = Motion(
            positions=positions.double(),
            mask=self._mask,
            masses=self._masses,
            gravity=torch.tensor(world.gravity, dtype=torch.float64),
            walls=torch.tensor(world.walls, dtype=torch.float64),
            frame_dt=self.scene.frame_dt,
            pushed=self.scene.window(0, self.frames).pushes[0].ne(0).any(-1),
            reach=contact_reach(self.scene.dx),
        )
        metrics = {key: getattr(errors, key) for key in ERRORS} | asdict(plausibility(motion, self._interiors))
        return metrics, errors.over_time

    def _diverged(self, positions: torch.Tensor) -> tuple[dict[str, float], torch.Tensor]:
        """Return infinite errors, so that no mean hides them."""
        errors = {"rmse": math.inf, "final_position_error": math.inf, "correlation": math.nan}
        over_time = torch.full((len(positions),), math.nan, dtype=torch.float64)
        return errors | dict.fromkeys(PLAUSIBILITY, math.nan), over_time
