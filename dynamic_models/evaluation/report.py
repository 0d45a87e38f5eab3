"""The results of an evaluation for people and programs: tables in Markdown, JSON, and plots."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynamic_models.evaluation.contenders import TRUTH, Contender, Predictor
from dynamic_models.evaluation.measurements import METRICS, Result, SceneSet, of_set, summarize
from dynamic_models.evaluation.statistics import RESAMPLES, Estimate
from gaussians.stage.atomic_files import atomic_path

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777")
_MANY_SCENES = 10
_MILLIMETRES = 1000.0
_LARGE = 1e5  # from here on numbers are written with exponents


@dataclass(frozen=True)
class Report:
    """Everything that was found out.

    Attributes:
        contenders: in the order of their rows; the first is what the others are compared with.
        sets: named ones.
        groups: every group for itself, for each number of frames.
        results: of each contender, and the truth, on each scene.
        frame_dt: seconds from frame to frame.
        num_keypoints: of every object that errors are taken over, at most.
        device: where models were rolled out, in words.
        videos: file names by set and rank, relative to the report.
    """

    contenders: Sequence[Contender]
    sets: Sequence[SceneSet]
    groups: Sequence[SceneSet]
    results: Sequence[Result]
    frame_dt: float
    num_keypoints: int
    device: str
    videos: dict[str, dict[str, str]]
    _summaries: dict[tuple[SceneSet, str], dict[str, Any]] = field(default_factory=dict)

    @property
    def rows(self) -> list[str]:
        """Names of the contenders."""
        return [contender.name for contender in self.contenders]

    def summary(self, scene_set: SceneSet, contender: str) -> dict[str, Any]:
        """See ``summarize``; made once."""
        key = (scene_set, contender)
        if key not in self._summaries:
            self._summaries[key] = summarize(self.results, scene_set, contender, self.rows[0])
        return self._summaries[key]


def plot_name(report: Report, scene_set: SceneSet) -> str:
    """File name of the set's plot."""
    return "error_over_time.png" if len(report.sets) == 1 else f"error_over_time_{scene_set.name}.png"


def to_json(report: Report) -> dict[str, Any]:
    """Estimates by set, by group, and every single result, in plain types; None for what is undefined or infinite."""
    return {
        "frame_dt": report.frame_dt,
        "num_keypoints": report.num_keypoints,
        "device": report.device,
        "confidence": f"95 %, percentile bootstrap over scenes, {RESAMPLES} resamples",
        "models": {contender.name: _about(contender) for contender in report.contenders},
        "sets": {each.name: _set_to_json(report, each) for each in report.sets},
        "groups": [_set_to_json(report, each) for each in report.groups],
        "results": [
            {"model": result.contender, "scene": result.scene, "frames": result.frames}
            | {key: _finite(result.metrics[key]) for key in METRICS}
            for result in report.results
        ],
    }


def _set_to_json(report: Report, scene_set: SceneSet) -> dict[str, Any]:
    models = {}
    for name in (TRUTH, *report.rows):
        models[name] = {key: _plain(value) for key, value in report.summary(scene_set, name).items()}
    scenes = [result.scene for result in of_set(report.results, scene_set, TRUTH)]
    return {"groups": list(scene_set.groups), "frames": scene_set.frames, "scenes": scenes, "models": models} | (
        {"videos": report.videos[scene_set.name]} if scene_set.name in report.videos else {}
    )


def _plain(value: Any) -> Any:
    if not isinstance(value, Estimate):
        return value
    ends = {"mean": _finite(value.mean), "low": _finite(value.low), "high": _finite(value.high)}
    return ends | {"scenes": value.scenes}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _about(contender: Contender) -> dict[str, Any]:
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


def to_markdown(report: Report) -> str:
    """The whole report."""
    sections = [["# How well models predict motion", "", *_introduction(report)], _models(report), _overview(report)]
    sections += [_set_section(report, scene_set) for scene_set in report.sets]
    if len(report.groups) > 1:
        sections.append(_group_section(report))
    sections.append(_remarks(report))
    return "\n".join("\n".join([*section, ""]) for section in sections if section)


def _introduction(report: Report) -> list[str]:
    return [
        f"Models see the first of frames that are {report.frame_dt:g} s apart, and predict the others. Errors are over "
        f"at most {report.num_keypoints} keypoints of every object; models ran on {report.device}.",
        "",
        "In brackets: 95 % confidence interval of the mean over scenes (bootstrap). Bold: the best. "
        "docs/metrics.md has the formulas.",
    ]


def _models(report: Report) -> list[str]:
    rows = []
    for contender in report.contenders:
        about = _about(contender)
        if about:
            training = about["training"]
            cells = [contender.name, about["dynamic_model"], f"{about['parameters']:,}", str(about["num_keypoints"])]
            groups = " ".join(training.get("groups", [])) or "?"
            trained = f"{_scenes(training.get('scenes', '?'))} of {groups}, {training.get('steps', '?')} frames"
            rows.append([*cells, trained, f"`{about['checkpoint']}`"])
    head = ["model", "kind", "parameters", "keypoints", "trained on", "checkpoint"]
    return ["## Models", "", *_table(head, rows)] if rows else []


def _overview(report: Report) -> list[str]:
    """RMSE of every model on every set, and how much faster it is than the simulator."""
    head = ["RMSE [m]", *(f"{each.name} ({_count(report, each)}, {each.frames} frames)" for each in report.sets)]
    summaries = {each.name: {name: report.summary(each, name) for name in report.rows} for each in report.sets}
    best = {each.name: _smallest(summaries[each.name], "rmse") for each in report.sets}
    rows = [
        [name, *(cell(summaries[each.name][name]["rmse"], bold=best[each.name] == name) for each in report.sets)]
        for name in report.rows
    ]
    return ["## Overview", "", *_table(head, rows)]


def _count(report: Report, scene_set: SceneSet) -> str:
    return _scenes(len(of_set(report.results, scene_set, TRUTH)))


def _scenes(count: int | str) -> str:
    return f"{count} scene{'' if count == 1 else 's'}"


def _set_section(report: Report, scene_set: SceneSet) -> list[str]:
    seconds = (scene_set.frames - 1) * report.frame_dt
    groups = f"group{'s' if len(scene_set.groups) > 1 else ''} {', '.join(scene_set.groups)}"
    summaries = {name: report.summary(scene_set, name) for name in (TRUTH, *report.rows)}
    lines = [
        f"## {scene_set.name.capitalize()}",
        "",
        f"{_count(report, scene_set)} of {groups}, {scene_set.frames} frames ({seconds:g} s).",
        "",
        *_error_table(report, summaries),
        "",
        f"![Error over time]({plot_name(report, scene_set)})",
        "",
        "Physical plausibility:",
        "",
        *_plausibility_table(summaries),
    ]
    videos = report.videos.get(scene_set.name, {})
    if videos:
        links = ", ".join(f"[{rank}]({name})" for rank, name in videos.items())
        lines += ["", f"Scenes by the error of {report.rows[0]}, simulation and models side by side: {links}."]
    return lines


def _error_table(report: Report, summaries: dict[str, dict[str, Any]]) -> list[str]:
    first, simulation = report.rows[0], summaries[TRUTH]["seconds"].mean
    models = {name: summaries[name] for name in report.rows}
    head = ["", "RMSE [m]", "final position error [m]", "correlation R"]
    if len(models) > 1:
        head += [f"RMSE beyond {first}'s [m]", f"beats {first} in"]
    head += ["rollout [s]", "faster"]
    rows = []
    best = {key: _smallest(models, key) for key in ("rmse", "final_position_error")}
    best["correlation"] = _smallest(models, "correlation", -1)
    for name, summary in models.items():
        cells = [cell(summary[key], bold=best[key] == name) for key in best]
        if len(models) > 1:
            count = summary["rmse"].scenes
            cells += (
                ["", ""]
                if name == first
                else [cell(summary["rmse_difference"], sign="+"), f"{summary['wins']} of {count}"]
            )
        seconds = summary["seconds"].mean
        cells += [_number(seconds), _times(simulation / seconds) if simulation and seconds else ""]
        rows.append([name, *cells])
    rows.append([TRUTH, *[""] * (len(head) - 3), _number(simulation), ""])
    return _table(head, rows)


_PLAUSIBILITY = (
    ("momentum_drift", "momentum drift [m/s²]", 1.0),
    ("energy_gain", "energy gained [J/kg]", 1.0),
    ("interpenetration", "inside each other [mm]", _MILLIMETRES),
    ("floor_penetration", "below the floor [mm]", _MILLIMETRES),
    ("final_speed", "speed at the end [m/s]", 1.0),
    ("final_speed_error", "its error [m/s]", 1.0),
)


def _plausibility_table(summaries: dict[str, dict[str, Any]]) -> list[str]:
    head = ["", *(title for _, title, _ in _PLAUSIBILITY)]
    rows = []
    for name, summary in summaries.items():
        shown = [key for key, _, _ in _PLAUSIBILITY if not (name == TRUTH and key == "final_speed_error")]
        cells = [cell(summary[key], scale) if key in shown else "" for key, _, scale in _PLAUSIBILITY]
        rows.append([f"*{name}*" if name == TRUTH else name, *cells])
    return _table(head, rows)


def _group_section(report: Report) -> list[str]:
    head = ["group", "scenes", "frames", "model", "RMSE [m]", "final position error [m]", "correlation R"]
    rows = []
    for group in report.groups:
        summaries = {name: report.summary(group, name) for name in report.rows}
        best = _smallest(summaries, "rmse")
        for i, (name, summary) in enumerate(summaries.items()):
            about = [group.groups[0], _count(report, group).split()[0], str(group.frames)] if i == 0 else ["", "", ""]
            cells = [cell(summary["rmse"], bold=best == name)]
            cells += [cell(summary[key]) for key in ("final_position_error", "correlation")]
            rows.append([*about, name, *cells])
    return ["## By group", "", *_table(head, rows)]


def _remarks(report: Report) -> list[str]:
    """What a reader should know before believing the tables."""
    remarks = []
    for contender in report.contenders:
        training = _about(contender).get("training", {})
        seen = sorted({g for each in report.sets for g in each.groups} & set(training.get("groups", [])))
        if seen:
            remarks.append(f"{contender.name} was trained on scenes of {', '.join(seen)}.")
    for scene_set in report.sets:
        count = len(of_set(report.results, scene_set, TRUTH))
        if 1 < count < _MANY_SCENES:
            remarks.append(f"{scene_set.name}: of {count} scenes, the intervals are too narrow.")
        for name in report.rows:
            diverged = report.summary(scene_set, name)["diverged"]
            if diverged:
                remarks.append(f"{scene_set.name}: {name} is not finite in {', '.join(diverged)}.")
    remarks.append(
        f"The row {TRUTH} has the same measures taken of the truth, and the time that the simulator took, on the "
        "machine that it ran on, for as many frames."
    )
    return ["## Remarks", "", *(f"- {remark}" for remark in remarks)]


def _smallest(summaries: dict[str, dict[str, Any]], key: str, sign: int = 1) -> str | None:
    """Whose mean is smallest, or with ``sign`` -1 largest; None of one alone."""
    known = {name: sign * s[key].mean for name, s in summaries.items() if s[key].mean is not None}
    return min(known, key=known.__getitem__) if len(known) > 1 else None


def cell(value: Estimate, scale: float = 1.0, sign: str = "", bold: bool = False) -> str:
    """``mean (low to high)``, all with as many decimals as show three digits of the mean, but no more than four.

    Args:
        scale: what they are multiplied by.
        sign: "+" to have one before positive numbers.
        bold: whether to print the mean in bold.
    """
    if value.mean is None:
        return "undefined"
    if math.isinf(value.mean):
        return "diverged"
    ends = [value.mean] if value.low is None or value.high is None else [value.mean, value.low, value.high]
    form = _format(value.mean * scale, sign)
    mean, *limits = (_rounded(end * scale, form) for end in ends)
    shown = f"**{mean}**" if bold else mean
    return shown if all(limit == mean for limit in limits) else f"{shown} ({limits[0]} to {limits[1]})"


def _number(value: float | None) -> str:
    return "" if value is None else _rounded(value, _format(value))


def _format(value: float, sign: str = "") -> str:
    """How numbers of this size are written."""
    size = abs(value)
    if size >= _LARGE:
        return f"{sign}.2e"
    return f"{sign}.{3 if size < 5e-5 else max(0, min(4, 2 - math.floor(math.log10(size))))}f"


def _rounded(value: float, form: str) -> str:
    return format(float(format(value, form)) + 0.0, form)  # adding 0 makes -0.000 what it is


def _times(factor: float) -> str:
    return f"{factor:,.0f} x" if factor >= 10 else f"{factor:.1f} x"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose source can be read, too."""
    widths = [max(3, *(len(row[i]) for row in (head, *rows))) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in (head, *rows)
    ]
    return [lines[0], "| " + " | ".join("-" * w for w in widths) + " |", *lines[1:]]


def plot_errors(report: Report, scene_set: SceneSet, path: Path) -> None:
    """Error over time of every model, with its confidence band; a dashed line where the training ended."""
    from matplotlib.figure import Figure  # slow to import, and needed only here

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    times = [k * report.frame_dt for k in range(scene_set.frames)]
    for i, contender in enumerate(report.contenders):
        over_time = report.summary(scene_set, contender.name)["over_time"]
        if over_time is None:
            continue
        mean, low, high = over_time
        color = _COLORS[i % len(_COLORS)]
        axes.plot(times, mean, label=contender.name, color=color, linewidth=2)
        axes.fill_between(times, low, high, color=color, alpha=0.18, linewidth=0)
    trained = trained_frames(report.contenders)
    if trained is not None and trained < scene_set.frames:
        axes.axvline((trained - 1) * report.frame_dt, color="0.4", linestyle="--", linewidth=1)
        place = ((trained - 1) * report.frame_dt, 0.98)
        axes.annotate(" beyond training", place, xycoords=("data", "axes fraction"), va="top", color="0.4", fontsize=9)
    axes.set(xlabel="time [s]", ylabel="RMSE of keypoints [m]", xlim=(0, times[-1]))
    axes.set_ylim(bottom=0)
    count = _count(report, scene_set)
    axes.set_title(f"{scene_set.name.capitalize()}: mean of {count}" + (", 95 % band" if count != "1 scene" else ""))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def trained_frames(contenders: Sequence[Contender]) -> int | None:
    """Frames that the first learned model was trained on, None where there is none or it does not say."""
    for contender in contenders:
        steps = _about(contender).get("training", {}).get("steps")
        if isinstance(steps, int):
            return steps
    return None
