"""Report an evaluation as JSON and as plots; ``report_tables`` makes text of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynamic_models.evaluation.contenders import TRUTH, Contender, Predictor
from dynamic_models.evaluation.measurements import METRICS, Result
from dynamic_models.evaluation.settings import SceneSet
from dynamic_models.evaluation.statistics import RESAMPLES, Estimate, of_set, summarize
from gaussians.stage.atomic_files import atomic_path

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777")


@dataclass(frozen=True)
class Report:
    """A ``Report`` is everything that an evaluation found out.

    Attributes:
        contenders: in the order of their rows; the first is what the others are compared with.
        sets: the named sets of scenes.
        groups: every group for itself, for each number of frames.
        results: the result of each contender, and of the truth, on each scene.
        frame_dt: seconds from frame to frame.
        num_keypoints: how many keypoints of every object errors are taken over, at most.
        device: where models were rolled out, in words.
        videos: file names by set and rank, relative to the report.
        rollouts: how many rollouts from jittered starts were judged.
        jitter: the standard deviation of objects' places in them, metres.
    """

    contenders: Sequence[Contender]
    sets: Sequence[SceneSet]
    groups: Sequence[SceneSet]
    results: Sequence[Result]
    frame_dt: float
    num_keypoints: int
    device: str
    videos: dict[str, dict[str, str]]
    rollouts: int
    jitter: float
    _summaries: dict[tuple[SceneSet, str], dict[str, Any]] = field(default_factory=dict)

    @property
    def rows(self) -> list[str]:
        """Return the names of the contenders."""
        return [contender.name for contender in self.contenders]

    def summary(self, scene_set: SceneSet, contender: str) -> dict[str, Any]:
        """Return what ``summarize`` says, made once."""
        key = (scene_set, contender)
        if key not in self._summaries:
            self._summaries[key] = summarize(self.results, scene_set, contender, self.rows[0])
        return self._summaries[key]


def plot_name(report: Report, scene_set: SceneSet) -> str:
    """Return the file name of the set's plot."""
    return "error_over_time.png" if len(report.sets) == 1 else f"error_over_time_{scene_set.name}.png"


def to_json(report: Report) -> dict[str, Any]:
    """Return estimates by set and group, and every result, in plain types; None for what is undefined or infinite."""
    return {
        "frame_dt": report.frame_dt,
        "num_keypoints": report.num_keypoints,
        "device": report.device,
        "rollouts": report.rollouts,
        "jitter": report.jitter,
        "confidence": f"95 %, percentile bootstrap over scenes, {RESAMPLES} resamples",
        "models": {contender.name: about(contender) for contender in report.contenders},
        "sets": {each.name: _set_to_json(report, each) for each in report.sets},
        "groups": [_set_to_json(report, each) for each in report.groups],
        "results": [
            {"model": result.contender, "scene": result.scene, "frames": result.frames}
            | {key: _finite(result.metrics[key]) for key in METRICS}
            | {"horizons": {str(t): {k: _finite(v) for k, v in e.items()} for t, e in result.horizons.items()}}
            for result in report.results
        ],
    }


def _set_to_json(report: Report, scene_set: SceneSet) -> dict[str, Any]:
    models = {}
    for name in (TRUTH, *report.rows):
        models[name] = {key: plain(value) for key, value in report.summary(scene_set, name).items()}
    scenes = [result.scene for result in of_set(report.results, scene_set, TRUTH)]
    return {"groups": list(scene_set.groups), "frames": scene_set.frames, "scenes": scenes, "models": models} | (
        {"videos": report.videos[scene_set.name]} if scene_set.name in report.videos else {}
    )


def plain(value: Any) -> Any:
    """Return an ``Estimate``, or a dictionary of some, as plain types, None for what is undefined or infinite.

    All else is returned as it is.
    """
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if not isinstance(value, Estimate):
        return value
    ends = {"mean": _finite(value.mean), "low": _finite(value.low), "high": _finite(value.high)}
    return ends | {"scenes": value.scenes}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def about(contender: Contender) -> dict[str, Any]:
    """Return what there is to say about a learned model, in plain types; nothing about others."""
    if not isinstance(contender, Predictor) or contender.info is None:
        return {}
    info = contender.info
    return {
        "dynamic_model": info.settings.get("dynamic_model"),
        "checkpoint": str(contender.checkpoint),
        "sha256": info.sha256,
        "parameters": sum(p.numel() for p in contender.model.parameters()),  # type: ignore[attr-defined]
        "num_keypoints": info.num_keypoints,
        "training": info.training,
    }


def count_scenes(report: Report, scene_set: SceneSet) -> str:
    """Return how many scenes a set has, in words."""
    return scenes_in_words(len(of_set(report.results, scene_set, TRUTH)))


def scenes_in_words(count: int | str) -> str:
    """Return ``1 scene``, or ``2 scenes``."""
    return f"{count} scene{'' if count == 1 else 's'}"


def plot_errors(report: Report, scene_set: SceneSet, path: Path) -> None:
    """Plot the error over time of every model, with its confidence band, and a dashed line where the training ended."""
    from matplotlib.figure import Figure  # slow to import, and needed only here

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    times = [k * report.frame_dt for k in range(scene_set.frames)]
    for i, contender in enumerate(report.contenders):
        over_time = report.summary(scene_set, contender.name)["over_time"]
        if over_time is None:
            continue
        mean, low, high = over_time
        color = COLORS[i % len(COLORS)]
        axes.plot(times, mean, label=contender.name, color=color, linewidth=2)
        axes.fill_between(times, low, high, color=color, alpha=0.18, linewidth=0)
    trained = trained_frames(report.contenders)
    if trained is not None and trained < scene_set.frames:
        axes.axvline((trained - 1) * report.frame_dt, color="0.4", linestyle="--", linewidth=1)
        place = ((trained - 1) * report.frame_dt, 0.98)
        axes.annotate(" beyond training", place, xycoords=("data", "axes fraction"), va="top", color="0.4", fontsize=9)
    axes.set(xlabel="time [s]", ylabel="RMSE of keypoints [m]", xlim=(0, times[-1]))
    axes.set_ylim(bottom=0)
    count = count_scenes(report, scene_set)
    axes.set_title(f"{scene_set.name.capitalize()}: mean of {count}" + (", 95 % band" if count != "1 scene" else ""))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def trained_frames(contenders: Sequence[Contender]) -> int | None:
    """Return the frames that the first learned model was trained on, None where there is none or it does not say."""
    for contender in contenders:
        steps = about(contender).get("training", {}).get("steps")
        if isinstance(steps, int):
            return steps
    return None
