"""Say how well a reconstruction went: report.json for programs, report.md for people."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.json_files import write_json


@dataclass(frozen=True)
class Report:
    """A ``Report`` holds what was measured of a reconstruction.

    Attributes:
        pictures: how many pictures the Gaussians were made from.
        resolution: (width, height) of them, pixels.
        held_out: names of the pictures that were left out and compared with at the end.
        held_out_psnr: mean over them, decibels; None without any.
        held_out_ssim: mean over them; None without any.
        seen_psnr: mean over the pictures that the Gaussians were made from, decibels.
        mask_iou: mean intersection over union of the objects' masks with given ones; None where none are given.
        alignment: how the cameras' frame became the simulation's.
        objects: of each, its name, number of Gaussians, extent along x, y and z, metres, and mask IoU, if known.
        refined: of each completed object: Gaussians in all, added and left out, volume in m^3 and how; None: none.
        background_count: number of Gaussians of no object.
        problems: sentences on what cannot be simulated as it is.
        notes: sentences on what was assumed and left out.
        seconds: by stage.
    """

    pictures: int
    resolution: tuple[int, int]
    held_out: tuple[str, ...]
    held_out_psnr: float | None
    held_out_ssim: float | None
    seen_psnr: float
    mask_iou: float | None
    alignment: dict[str, Any]
    objects: list[dict[str, Any]]
    refined: list[dict[str, Any]] | None
    background_count: int
    problems: list[str]
    notes: list[str]
    seconds: dict[str, float]


def write_report(folder: Path, report: Report) -> list[Path]:
    """Write report.json and report.md, and return their paths.

    Raises:
        InputError: a file cannot be written.
    """
    data, text = folder / "report.json", folder / "report.md"
    write_json(data, asdict(report))
    with atomic_path(text) as temporary:
        temporary.write_text(_as_markdown(report))
    return [data, text]


def _as_markdown(report: Report) -> str:
    width, height = report.resolution
    measured: dict[str, str] = {
        "pictures": f"{report.pictures} of {width} x {height}",
        "held out": f"{len(report.held_out)}",
        "PSNR, held out": _number(report.held_out_psnr, "dB"),
        "SSIM, held out": _number(report.held_out_ssim, digits=3),
        "PSNR, seen": _number(report.seen_psnr, "dB"),
        "Gaussians of the background": f"{report.background_count}",
    }
    lines = ["# Reconstruction", "", *_table(("what", "value"), measured)]
    lines += ["", "## Objects", "", "| object | Gaussians | extent (m) | mask IoU |", "| --- | --- | --- | --- |"]
    for entry in report.objects:
        extent = " x ".join(f"{length:.2f}" for length in entry["extent"])
        overlap = _number(entry["mask_iou"], digits=3)
        lines.append(f"| {entry['name']} | {entry['count']} | {extent} | {overlap} |")
    if report.refined:
        head = ["## Completed objects", "", "| object | Gaussians | added | left out | volume (l) | by |"]
        lines += ["", *head, "| --- | --- | --- | --- | --- | --- |"]
        for entry, row in zip(report.objects, report.refined, strict=True):
            volume = f"{1000 * row['volume']:.1f}"
            cells = (entry["name"], row["count"], row["added"], row["left_out"], volume, row["by"])
            lines.append(f"| {' | '.join(map(str, cells))} |")
    for title, sentences in (("Problems", report.problems), ("Notes", report.notes)):
        if sentences:
            lines += ["", f"## {title}", "", *(f"- {sentence}" for sentence in sentences)]
    lines += ["", "## Alignment", "", *_table(("what", "value"), {k: f"{v}" for k, v in report.alignment.items()})]
    lines += ["", "## Seconds", "", *_table(("stage", "s"), {k: f"{v:.1f}" for k, v in report.seconds.items()})]
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, str], rows: Mapping[str, str]) -> list[str]:
    return [f"| {head[0]} | {head[1]} |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())]


def _number(value: float | None, unit: str = "", digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f} {unit}".rstrip()
