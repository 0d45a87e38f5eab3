"""Report an evaluation as text: tables in Markdown."""

import math
from collections.abc import Sequence
from typing import Any

from dynamic_models.evaluation.contenders import TRUTH
from dynamic_models.evaluation.measurements import ENSEMBLE, ERRORS, FIRST_CONTACT, LATER
from dynamic_models.evaluation.report import Report, about, count_scenes, plot_name, scenes_in_words
from dynamic_models.evaluation.settings import FLOOR, SceneSet
from dynamic_models.evaluation.statistics import Estimate, of_set

_MANY_SCENES = 10
_LARGE = 1e5  # from here on numbers are written with exponents


def to_markdown(report: Report) -> str:
    """Return the whole report."""
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
        known = about(contender)
        if known:
            training = known["training"]
            cells = [contender.name, known["dynamic_model"], f"{known['parameters']:,}", str(known["num_keypoints"])]
            groups = " ".join(training.get("groups", [])) or "?"
            trained = f"{scenes_in_words(training.get('scenes', '?'))} of {groups}, {training.get('steps', '?')} frames"
            rows.append([*cells, trained, f"`{known['checkpoint']}`"])
    head = ["model", "kind", "parameters", "keypoints", "trained on", "checkpoint"]
    return ["## Models", "", *table(head, rows)] if rows else []


def _overview(report: Report) -> list[str]:
    """Return a table of the RMSE of every model on every set."""
    head = ["RMSE [m]", *(f"{each.name} ({count_scenes(report, each)}, {each.frames} frames)" for each in report.sets)]
    summaries = {each.name: {name: report.summary(each, name) for name in report.rows} for each in report.sets}
    best = {each.name: _smallest(summaries[each.name], "rmse") for each in report.sets}
    rows = [
        [name, *(cell(summaries[each.name][name]["rmse"], bold=best[each.name] == name) for each in report.sets)]
        for name in report.rows
    ]
    return ["## Overview", "", *table(head, rows)]


def _set_section(report: Report, scene_set: SceneSet) -> list[str]:
    seconds = (scene_set.frames - 1) * report.frame_dt
    groups = f"group{'s' if len(scene_set.groups) > 1 else ''} {', '.join(scene_set.groups)}"
    summaries = {name: report.summary(scene_set, name) for name in (*report.rows, TRUTH)}
    lines = [
        f"## {scene_set.name.capitalize()}",
        "",
        f"{count_scenes(report, scene_set)} of {groups}, {scene_set.frames} frames ({seconds:g} s).",
        "",
        *_main_table(report, summaries),
        "",
        f"![Error over time]({plot_name(report, scene_set)})",
        "",
        *_horizon_table(report, summaries),
        *_comparison(report, summaries),
        "Further measures of plausibility:",
        "",
        *_plausibility_table(summaries),
    ]
    videos = report.videos.get(scene_set.name, {})
    if videos:
        links = ", ".join(f"[{rank}]({name})" for rank, name in videos.items())
        lines += ["", f"Scenes by the error of {report.rows[0]}, simulation and models side by side: {links}."]
    return lines


_ERRORS = (
    ("rmse", "RMSE [m]", 1),
    ("rmse_per_coordinate", "RMSE per coordinate [m]", 1),
    ("final_position_error", "final position error [m]", 1),
    ("correlation", "R", -1),
)
"""Key, title, and -1 where more is better."""
_LOOKS = (
    ("interpenetration", "inside each other [mm]", 1000.0),
    ("floor_penetration", "below the floor [mm]", 1000.0),
    ("final_speed", "speed at the end [m/s]", 1.0),
    ("unsupported", "unsupported [%]", 100.0),
)
_PLAUSIBILITY = (
    ("momentum_drift", "momentum drift [m/s²]", 1.0),
    ("energy_gain", "energy gained [J/kg]", 1.0),
    ("final_speed_error", "error of the speed at the end [m/s]", 1.0),
)
"""Key, title, and what values are multiplied by."""


def _main_table(report: Report, summaries: dict[str, dict[str, Any]]) -> list[str]:
    """Return errors, how the motion looks, and how long it took, of every model and of the simulation."""
    simulation, floor = summaries[TRUTH]["seconds"].mean, summaries.get(FLOOR, {}).get("rmse")
    best = {key: _smallest(summaries, key, sign) for key, _, sign in _ERRORS}
    best[FIRST_CONTACT] = _smallest(summaries, FIRST_CONTACT)
    head = ["", *(title for _, title, _ in _ERRORS), "after first contact [mm]", *(["of the floor"] if floor else [])]
    head += [*(title for _, title, _ in _LOOKS), "rollout [s]", "faster"]
    rows = []
    for name, summary in summaries.items():
        cells = [cell(summary[key], bold=best[key] == name) if name != TRUTH else "" for key, _, _ in _ERRORS]
        contact = cell(summary[FIRST_CONTACT], 1000, bold=best[FIRST_CONTACT] == name)
        cells.append(contact if name != TRUTH else "")
        if floor:
            rmse = summary["rmse"].mean
            cells.append(_times(rmse / floor.mean) if name not in (TRUTH, FLOOR) and rmse and floor.mean else "")
        cells += [cell(summary[key], scale) for key, _, scale in _LOOKS]
        seconds = summary["seconds"].mean
        faster = _times(simulation / seconds) if simulation and seconds and name != TRUTH else ""
        rows.append([name, *cells, _number(seconds), faster])
    return table(head, rows)


def _horizon_table(report: Report, summaries: dict[str, dict[str, Any]]) -> list[str]:
    keys = (*ERRORS, LATER)
    head = ["", "T", "RMSE [m]", "per coordinate [m]", "final position error [m]", "R", "R of positions"]
    rows = []
    for name in report.rows:
        for i, (horizon, errors) in enumerate(summaries[name]["horizons"].items()):
            cells = [cell(errors[key]) for key in keys]
            rows.append([name if i == 0 else "", str(horizon), *cells[:-1], cells[-1] if i else ""])
    if not rows:
        return []
    return [
        "Over the first T frames, and over those since the T above:",
        "",
        *table([*head, "RMSE since [m]"], rows),
        "",
    ]


def _comparison(report: Report, summaries: dict[str, dict[str, Any]]) -> list[str]:
    """Return a table of how models compare scene by scene, and how well several rollouts predict; or nothing."""
    first, judged = report.rows[0], report.rollouts > 0
    head = [""]
    if len(report.rows) > 1:
        head += [f"RMSE beyond {first}'s [m]", f"beats {first} in"]
    if judged:
        head += [f"RMSE of the best of {report.rollouts} [m]", "energy score [m]"]
    if len(head) == 1:
        return []
    rows = []
    for name in report.rows:
        summary, cells = summaries[name], []
        if len(report.rows) > 1:
            wins = f"{summary['wins']} of {summary['rmse'].scenes}"
            cells += ["", ""] if name == first else [cell(summary["rmse_difference"], sign="+"), wins]
        if judged:
            cells += [cell(summary[key]) if summary[key].scenes else "" for key in ENSEMBLE]
        rows.append([name, *cells])
    starts = f"; {report.rollouts} rollouts from starts jittered by {1000 * report.jitter:g} mm" if judged else ""
    return [f"Scene by scene{starts}:", "", *table(head, rows), ""]


def _plausibility_table(summaries: dict[str, dict[str, Any]]) -> list[str]:
    head = ["", *(title for _, title, _ in _PLAUSIBILITY)]
    rows = []
    for name, summary in summaries.items():
        shown = [key for key, _, _ in _PLAUSIBILITY if not (name == TRUTH and key == "final_speed_error")]
        cells = [cell(summary[key], scale) if key in shown else "" for key, _, scale in _PLAUSIBILITY]
        rows.append([name, *cells])
    return table(head, rows)


def _group_section(report: Report) -> list[str]:
    head = ["group", "scenes", "frames", "model", "RMSE [m]", "final position error [m]", "correlation R"]
    rows = []
    for group in report.groups:
        summaries = {name: report.summary(group, name) for name in report.rows}
        best = _smallest(summaries, "rmse")
        for i, (name, summary) in enumerate(summaries.items()):
            described = [group.groups[0], count_scenes(report, group).split()[0], str(group.frames)]
            cells = [cell(summary["rmse"], bold=best == name)]
            cells += [cell(summary[key]) for key in ("final_position_error", "correlation")]
            rows.append([*(described if i == 0 else ["", "", ""]), name, *cells])
    return ["## By group", "", *table(head, rows)]


def _remarks(report: Report) -> list[str]:
    """Return what a reader should know before believing the tables."""
    remarks = []
    for contender in report.contenders:
        training = about(contender).get("training", {})
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
    """Return the model whose mean is smallest, or with ``sign`` -1 largest; None if there is but one."""
    rivals = {name: summary for name, summary in summaries.items() if name not in (TRUTH, FLOOR)}
    known = {name: sign * s[key].mean for name, s in rivals.items() if s[key].mean is not None}
    return min(known, key=known.__getitem__) if len(known) > 1 else None


def cell(value: Estimate, scale: float = 1.0, sign: str = "", bold: bool = False) -> str:
    """Return ``mean (low to high)``, with as many decimals as show three digits of the mean, but no more than four.

    Args:
        scale: what the numbers are multiplied by.
        sign: "+" to write it before positive numbers.
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
    """Return the format in which numbers of this size are written."""
    size = abs(value)
    if size >= _LARGE:
        return f"{sign}.2e"
    return f"{sign}.{3 if size < 5e-5 else max(0, min(4, 2 - math.floor(math.log10(size))))}f"


def _rounded(value: float, form: str) -> str:
    return format(float(format(value, form)) + 0.0, form)  # adding 0 turns -0.0 into 0.0


def _times(factor: float) -> str:
    return f"{factor:,.0f} x" if factor >= 10 else f"{factor:.1f} x"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table whose source can be read, too."""
    widths = [max(3, *(len(row[i]) for row in (head, *rows))) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in (head, *rows)
    ]
    return [lines[0], "| " + " | ".join("-" * w for w in widths) + " |", *lines[1:]]
