"""Every contender on every scene, and what the results say about sets of scenes."""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from dataset.layout import Layout
from dataset.scenes.scene_objects import trajectory_objects
from dynamic_models.data.scene_state import MATERIAL_FIELDS
from dynamic_models.data.windows import SimulatedScene
from dynamic_models.evaluation.contenders import Contender, Rollout, Truth
from dynamic_models.evaluation.metrics import trajectory_errors
from dynamic_models.evaluation.penetration import Solid
from dynamic_models.evaluation.plausibility import Motion, contact_reach, plausibility
from dynamic_models.evaluation.statistics import Estimate, estimate, interval
from gaussians.files.trajectory_reader import TrajectoryReader

ERRORS = ("rmse", "final_position_error", "correlation")
PLAUSIBILITY = ("momentum_drift", "energy_gain", "interpenetration", "floor_penetration", "final_speed")
_TOGETHER = 16  # scenes that are judged at a time
METRICS = (*ERRORS, *PLAUSIBILITY, "final_speed_error", "seconds")


class SceneSet(NamedTuple):
    """Scenes that are judged together.

    Attributes:
        name: in reports and file names.
        groups: that its scenes come from.
        frames: that are predicted, the given first one included.
    """

    name: str
    groups: tuple[str, ...]
    frames: int


@dataclass(frozen=True)
class Result:
    """One contender on one scene.

    Attributes:
        contender, scene, group: names.
        frames: that were predicted.
        metrics: by the names in ``METRICS``; NaN for what a scene cannot tell, infinite errors of what is not finite.
        over_time: (T,), RMSE of every frame, metres.
    """

    contender: str
    scene: str
    group: str
    frames: int
    metrics: dict[str, float]
    over_time: torch.Tensor


def evaluate(
    contenders: Sequence[Contender], scenes: dict[str, list[SimulatedScene]], sets: Sequence[SceneSet], layout: Layout
) -> list[Result]:
    """Roll out every contender, and the truth, on every scene of the sets, for each number of frames once.

    Args:
        scenes: of every group.
    """
    judged = min((c.num_keypoints for c in contenders if c.num_keypoints is not None), default=None)
    cases = list(dict.fromkeys((group, each.frames) for each in sets for group in each.groups))
    work = [(scene, frames) for group, frames in cases for scene in scenes[group]]
    results: list[Result] = []
    everyone = (Truth(), *contenders)

    def compare(case: tuple[SimulatedScene, int], made: dict[str, Rollout]) -> list[Result]:
        return Judge(case[0], case[1], judged, layout).compare(made)

    with ThreadPoolExecutor() as pool, tqdm(total=len(work) * len(everyone), desc="rollouts", unit="rollout") as bar:
        for i in range(0, len(work), _TOGETHER):
            together = work[i : i + _TOGETHER]
            rollouts: list[dict[str, Rollout]] = []
            for scene, frames in together:
                rollouts.append({})
                for contender in everyone:
                    bar.set_postfix_str(f"{contender.name}, {scene.name}")
                    rollouts[-1][contender.name] = contender.roll_out(scene, frames)
                    bar.update()
            # Not while models are timed.
            for judgements in pool.map(compare, together, rollouts):
                results += judgements
    return results


class Judge:
    """Measures rollouts of one scene."""

    def __init__(self, scene: SimulatedScene, frames: int, num_keypoints: int | None, layout: Layout) -> None:
        """
        Args:
            num_keypoints: the first of every object's that are looked at, None for all.
        """
        self.scene, self.frames, self._first = scene, frames, slice(num_keypoints)
        self._mask = scene.clip.mask[:, self._first]
        self._target = scene.clip.positions[:frames, :, self._first]
        reader = TrajectoryReader(layout.root / "mpm" / scene.name)
        self._group = scene.name.partition("/")[0]
        labels, cloud = trajectory_objects(reader, layout).labels, reader.positions(0)
        self._solids = [Solid(cloud[labels == label]) for label in scene.clip.labels]
        masses = scene.materials[:, MATERIAL_FIELDS.index("mass")].double()
        self._masses = torch.ones_like(masses) if masses.isnan().any() else masses

    def compare(self, rollouts: dict[str, Rollout]) -> list[Result]:
        """Of every contender, the truth first."""
        truth, *others = (self.measure(contender, rollout) for contender, rollout in rollouts.items())
        results = []
        for result in (truth, *others):
            difference = abs(result.metrics["final_speed"] - truth.metrics["final_speed"])
            results.append(replace(result, metrics=result.metrics | {"final_speed_error": difference}))
        return results

    def measure(self, contender: str, rollout: Rollout) -> Result:
        """All of ``METRICS`` but the error of the final speed, which needs the truth's."""
        positions = rollout.positions[:, :, self._first]
        finite = positions[:, self._mask].isfinite().all()
        metrics, over_time = self._measured(positions) if finite else self._diverged(positions)
        metrics["seconds"] = math.nan if rollout.seconds is None else rollout.seconds
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
        metrics = {key: getattr(errors, key) for key in ERRORS} | asdict(plausibility(motion, self._solids))
        return metrics, errors.over_time

    def _diverged(self, positions: torch.Tensor) -> tuple[dict[str, float], torch.Tensor]:
        """Infinite errors, so that no mean hides them."""
        errors = {"rmse": math.inf, "final_position_error": math.inf, "correlation": math.nan}
        over_time = torch.full((len(positions),), math.nan, dtype=torch.float64)
        return errors | dict.fromkeys(PLAUSIBILITY, math.nan), over_time


def of_set(results: Iterable[Result], scene_set: SceneSet, contender: str) -> list[Result]:
    """The results of one contender on the scenes of a set, in order."""
    return [
        r for r in results if r.contender == contender and r.group in scene_set.groups and r.frames == scene_set.frames
    ]


def summarize(results: Sequence[Result], scene_set: SceneSet, contender: str, reference: str) -> dict[str, Any]:
    """Estimates of all metrics of one contender on a set.

    Returns:
        By name an ``Estimate`` of each of ``METRICS``; of ``rmse_difference``, what is added to the RMSE of
        ``reference`` on the same scenes; ``wins``, on how many of them its RMSE is smaller than that; ``diverged``, the
        scenes on which it is not finite; and ``over_time``, a list of mean, low and high (T,) of the error over time.
    """
    own, others = of_set(results, scene_set, contender), of_set(results, scene_set, reference)
    values = {key: [result.metrics[key] for result in own] for key in METRICS}
    pairs = [(a.metrics["rmse"], b.metrics["rmse"]) for a, b in zip(own, others, strict=True)]
    summary: dict[str, Any] = {key: estimate(value) for key, value in values.items()}
    summary["rmse_difference"] = _paired(pairs)
    summary["wins"] = sum(a < b for a, b in pairs)
    summary["diverged"] = [result.scene for result in own if math.isinf(result.metrics["rmse"])]
    summary["over_time"] = _over_time([result.over_time for result in own if not result.over_time.isnan().any()])
    return summary


def _paired(pairs: Sequence[tuple[float, float]]) -> Estimate:
    return estimate([math.nan if math.isinf(b) else a - b for a, b in pairs])


def _over_time(errors: Sequence[torch.Tensor]) -> list[list[float]] | None:
    """Mean, low and high, metres; without an interval the mean three times."""
    if not errors:
        return None
    stacked = torch.stack(list(errors)).numpy()
    mean = stacked.mean(0)
    low, high = interval(stacked) if len(stacked) > 1 else (mean, mean)
    return [[round(float(value), 6) for value in values] for values in (mean, low, high)]


def ranked(results: Sequence[Result], scene_set: SceneSet, contender: str) -> dict[str, Result]:
    """The ``best``, ``median`` and ``worst`` of one contender's results on a set, by RMSE; fewer of few scenes."""
    ordered = sorted(of_set(results, scene_set, contender), key=lambda result: result.metrics["rmse"])
    places = {"best": 0, "median": (len(ordered) - 1) // 2, "worst": len(ordered) - 1}
    if len(ordered) < 3:
        del places["median"]
    return {name: ordered[place] for name, place in places.items() if place or name == "best"}
