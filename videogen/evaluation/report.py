"""Report how far predicted videos are from simulated ones: JSON, tables and plots."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dynamic_models.evaluation.report import COLORS, plain, scenes_in_words
from dynamic_models.evaluation.report_tables import cell, table
from dynamic_models.evaluation.settings import SceneSet
from dynamic_models.evaluation.statistics import LEVEL, RESAMPLES, Estimate, estimate, interval
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.json_files import write_json
from videogen.evaluation.scene_result import MEASURES, PREDICTIONS, RECONSTRUCTED, SEEN, STILL, TRUE, SceneResult

_START, _ADDED = "start", "added"
_ROWS = {
    _START: "reconstruction, at the start",
    TRUE: "dynamics, from true Gaussians",
    RECONSTRUCTED: "both, from the reconstruction",
    _ADDED: "of which the reconstruction adds",
    STILL: "nothing moves",
}
"""Titles of what tables and JSON say of each measure, in the order of the tables."""
_MANY_SCENES = 10
_CURVES = {TRUE: "from true Gaussians", RECONSTRUCTED: "from the reconstruction", STILL: "nothing moves"}


@dataclass(frozen=True)
class VideoReport:
    """A ``VideoReport`` is everything that an evaluation of videos found out.

    Attributes:
        results: the results of the scenes that were measured, by set.
        failures: a line for each scene that could not be.
        about: what was compared and how, in plain types.
    """

    results: dict[SceneSet, list[SceneResult]]
    failures: Sequence[str]
    about: dict[str, Any]


def write_video_report(report: VideoReport, folder: Path) -> None:
    """Write results.json, results.md and a plot for each set.

    Raises:
        InputError: a file cannot be written.
    """
    for scene_set, results in report.results.items():
        if results:
            plot_over_time(scene_set, results, folder / _plot_name(scene_set))
    with atomic_path(folder / "results.md") as temporary:
        temporary.write_text(to_markdown(report), encoding="utf-8")
    write_json(folder / "results.json", to_json(report))


def summarize(results: Sequence[SceneResult], kind: str, measure: str) -> dict[str, Estimate]:
    """Return the mean over scenes of a measure in pictures of a kind, with its interval, for each of ``_ROWS``.

    ``start`` is the reconstruction before anything moves; ``true_gaussians``, ``reconstructed`` and ``still`` are means
    over the predicted frames; ``added`` is the difference of the first two of these in the same scenes.
    """
    shown = [result for result in results if kind in result.kinds]
    rows = {name: [result.mean(name, kind, measure) for result in shown] for name in PREDICTIONS}
    rows[_START] = [result.at_start(RECONSTRUCTED, kind, measure) for result in shown]
    rows[_ADDED] = [ours - true for ours, true in zip(rows[RECONSTRUCTED], rows[TRUE], strict=True)]
    return {name: estimate(rows[name]) for name in _ROWS}


def kinds_of(results: Sequence[SceneResult]) -> list[str]:
    """Return the kinds of pictures that scenes were compared in."""
    return list(dict.fromkeys(kind for result in results for kind in result.kinds))


def to_json(report: VideoReport) -> dict[str, Any]:
    """Return estimates by set, and every scene's numbers, in plain types; None for what is undefined."""
    scenes = {result.name: result for results in report.results.values() for result in results}
    return {
        **report.about,
        "confidence": f"{LEVEL:.0%}, percentile bootstrap over scenes, {RESAMPLES} resamples",
        "sets": {each.name: _set_to_json(each, results) for each, results in report.results.items()},
        "scenes": {name: _scene_to_json(result) for name, result in scenes.items()},
        "failures": list(report.failures),
    }


def _set_to_json(scene_set: SceneSet, results: Sequence[SceneResult]) -> dict[str, Any]:
    kinds = kinds_of(results)
    measured = {
        kind: {
            measure: {name: plain(value) for name, value in summarize(results, kind, measure).items()}
            for measure, about in MEASURES.items()
            if about.pictured
        }
        for kind in kinds
    }
    metres = {name: plain(value) for name, value in summarize(results, SEEN, "metres").items()} if results else {}
    scenes = [result.name for result in results]
    return {"groups": list(scene_set.groups), "scenes": scenes, "pictures": measured, "metres": metres}


def _scene_to_json(result: SceneResult) -> dict[str, Any]:
    numbers = {
        name: {
            kind: {
                measure: {
                    "start": plain(estimate([result.at_start(name, kind, measure)]))["mean"],
                    "mean": plain(estimate([result.mean(name, kind, measure)]))["mean"],
                }
                for measure in MEASURES
            }
            for kind in result.kinds
        }
        for name in PREDICTIONS
    }
    return {"objects": result.facts["objects"], "reconstruction": result.facts["reconstruction"], "measured": numbers}


def to_markdown(report: VideoReport) -> str:
    """Return the report as text."""
    about = report.about
    model = about["dynamic_model"]
    refined = ", completed where no picture shows them," if about["refined"] else ""
    lines = [
        "# How far predicted videos are from simulated ones",
        "",
        f"Simulated scenes were rendered from 100 views at {about['resolution']} x {about['resolution']} pixels, "
        f"reconstructed from 20 of them{refined} and set in motion by {model} on {about['device']}. The simulation, "
        "drawn from the same cameras, is the truth. The same model also predicts the motion of the true Gaussians, "
        "which tells errors of dynamics from those of reconstruction.",
        "",
        "Means over all frames but the first, over objects, then over scenes; in brackets the 95 % confidence interval "
        "over scenes (bootstrap). docs/metrics.md has the formulas.",
        "",
        *_overview(report),
    ]
    for scene_set, results in report.results.items():
        if results:
            lines += ["", *_set_section(scene_set, results)]
    few = [each.name for each, results in report.results.items() if 1 < len(results) < _MANY_SCENES]
    if few:
        lines += ["", f"{', '.join(few)}: of fewer than {_MANY_SCENES} scenes, the intervals are too narrow."]
    if report.failures:
        lines += ["", "## Not measured", "", *(f"- {failure}" for failure in report.failures)]
    return "\n".join(lines) + "\n"


def _overview(report: VideoReport) -> list[str]:
    """Return a table of the whole way, from pictures to videos, by set and kind of pictures."""
    pictured = {key: about for key, about in MEASURES.items() if about.pictured}
    rows = []
    for scene_set, results in report.results.items():
        for kind in kinds_of(results):
            cells = [cell(summarize(results, kind, measure)[RECONSTRUCTED]) for measure in MEASURES]
            rows.append([scene_set.name, scenes_in_words(len(results)), _words(kind), *cells])
    head = ["set", "of", "pictures", *(about.title for about in (*pictured.values(), MEASURES["metres"]))]
    return ["## Overview: from pictures to videos", "", *table(head, rows)]


def _set_section(scene_set: SceneSet, results: Sequence[SceneResult]) -> list[str]:
    groups = f"group{'s' if len(scene_set.groups) > 1 else ''} {', '.join(scene_set.groups)}"
    lines = [f"## {scene_set.name.capitalize()}", "", f"{scenes_in_words(len(results))} of {groups}.", ""]
    lines += [f"![Errors over time]({_plot_name(scene_set)})"]
    for kind in kinds_of(results):
        summaries = {measure: summarize(results, kind, measure) for measure in MEASURES}
        head = [_words(kind), *(about.title for about in MEASURES.values())]
        rows = [
            [title, *(cell(summaries[measure][name], sign="+" if name == _ADDED else "") for measure in MEASURES)]
            for name, title in _ROWS.items()
        ]
        lines += ["", *table(head, rows)]
    return [*lines, "", *_reconstruction_table(results)]


def _reconstruction_table(results: Sequence[SceneResult]) -> list[str]:
    """Return what the reconstructions themselves say of how well they went."""
    rows = []
    for result in results:
        told = result.facts["reconstruction"]
        cells = [_number(told["held_out_psnr"], 1), _number(told["held_out_ssim"], 3)]
        cells += [_number(told["mask_iou"], 3)]
        rows.append([result.name, *cells])
    head = ["reconstruction of", "held-out PSNR [dB]", "held-out SSIM", "IoU of its masks"]
    return table(head, rows)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _plot_name(scene_set: SceneSet) -> str:
    return f"over_time_{scene_set.name}.png"


def plot_over_time(scene_set: SceneSet, results: Sequence[SceneResult], path: Path) -> None:
    """Plot every measure over time, the mean over scenes with its band, a column for each kind of pictures.

    Scenes of different lengths are shown as far as the shortest one goes.
    """
    from matplotlib.figure import Figure  # slow to import, and needed only here

    kinds = kinds_of(results)
    figure = Figure(figsize=(4 * len(kinds), 2.4 * len(MEASURES)), layout="constrained")
    grid = figure.subplots(len(MEASURES), len(kinds), squeeze=False, sharex=True)
    frames = min(len(result.over_time(TRUE, SEEN, "metres")) for result in results)
    times = [k * results[0].facts["frame_dt"] for k in range(frames)]
    for row, (measure, about) in zip(grid, MEASURES.items(), strict=True):
        for axes, kind in zip(row, kinds, strict=True):
            if not about.pictured and kind != kinds[0]:
                axes.set_visible(False)
                continue
            for color, (name, label) in zip(COLORS, _CURVES.items(), strict=False):
                shown = [r.over_time(name, kind, measure)[:frames] for r in results if kind in r.kinds]
                stacked = torch.stack(shown)
                # What starts as the truth has no finite PSNR there.
                first = int(measure == "psnr" and name != RECONSTRUCTED)
                axes.plot(times[first:], stacked.nanmean(0)[first:], label=label, color=color, linewidth=1.5)
                if len(shown) > 1 and not stacked.isnan().any():
                    low, high = interval(stacked.numpy())
                    axes.fill_between(times[first:], low[first:], high[first:], color=color, alpha=0.18, linewidth=0)
            axes.set(xlim=(0, times[-1]))
            if measure == "psnr":
                axes.set_title(_words(kind))
            if kind == kinds[0]:
                axes.set_ylabel(about.title)
            axes.grid(alpha=0.3)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
    grid[0][0].legend(frameon=False, fontsize=8)
    for axes in grid[-1][:1].tolist() + grid[-2][1:].tolist():
        axes.set_xlabel("time [s]")
        axes.tick_params(labelbottom=True)
    count = scenes_in_words(len(results))
    figure.suptitle(f"{scene_set.name.capitalize()}: mean of {count}" + (", 95 % band" if len(results) > 1 else ""))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
