"""Write the tables of docs/results.md, out of what scripts/results.sh has left: tables.md.

Tables of what is not there yet are left out. Lengths are in metres.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from dataset.layout import Layout
from dynamic_models.data.windows import SimulatedScene, load_scenes
from dynamic_models.evaluation.contenders import SimulatedOtherwise
from dynamic_models.evaluation.metrics import trajectory_errors
from dynamic_models.evaluation.report_tables import cell, table
from dynamic_models.evaluation.settings import SHIFTED
from dynamic_models.evaluation.statistics import Estimate, estimate
from gaussians.stage.atomic_files import atomic_path

_COMPARED, _FRAMES = "3_9", 100  # the group, and how many frames of it, that simulations are compared on
_SHOWN = (20, 40, 60, 80, 99)
_OF_MODELS = ("rmse", "first_contact_error")  # measures that are 0 of the simulation


def errors(results: Path, key: str) -> Iterator[str]:
    """Yield a table of one measure of every model on every set."""
    report = json.loads((results / "report" / "metrics.json").read_text())
    names = list(report["sets"])
    measured = [report["sets"][name]["models"] for name in names]
    rows = [
        [model, *(cell(Estimate(**models[model][key])) for models in measured)]
        for model in measured[0]
        if measured[0][model][key]["scenes"] and (model != "simulation" or key not in _OF_MODELS)
    ]
    yield from table(["", *names], rows)


def horizons(results: Path) -> Iterator[str]:
    """Yield a table of errors per coordinate over the first T frames, as papers report them."""
    report = json.loads((results / "report" / "metrics.json").read_text())
    columns = [(name, T) for name, part in report["sets"].items() for T in _horizons(part)]
    models = [name for name in next(iter(report["sets"].values()))["models"] if name != "simulation"]

    def entry(model: str, name: str, T: str) -> str:
        found = report["sets"][name]["models"][model]["horizons"][T]
        return cell(Estimate(**found["rmse_per_coordinate"]))

    rows = [[model, *(entry(model, *column) for column in columns)] for model in models]
    yield from table(["", *(f"{name}, T = {T}" for name, T in columns)], rows)


def _horizons(part: dict[str, Any]) -> list[str]:
    return list(next(iter(part["models"].values()))["horizons"])


def trainings(folders: Sequence[Path]) -> Iterator[str]:
    """Yield a table of how long each model was trained, and the error of its best checkpoint."""
    rows = []
    for folder in folders:
        if (folder / "best.json").is_file() and (folder / "last.json").is_file():
            best, last = (json.loads((folder / name).read_text()) for name in ("best.json", "last.json"))
            training, counts = best["training"], (last["training"]["iterations"], best["training"]["iterations"])
            updates = [f"{count:,}" for count in counts]
            rows.append([folder.name, str(best["num_keypoints"]), *updates, f"{training['val_rmse']:.3f}"])
    yield from table(["model", "keypoints", "updates", "of which the best", "RMSE of validation scenes [m]"], rows)


def simulations(results: Path, layout: Layout, num_keypoints: int) -> Iterator[str]:
    """Yield a table of how far simulations of the same scenes are from each other."""
    scenes = load_scenes(layout, [_COMPARED], num_keypoints, _FRAMES, progress=False)
    rows = []
    for title, folder in (
        ("half a cell", SHIFTED),
        ("a grid of 1.5 times as many cells", str(results.resolve() / "finer")),
    ):
        found = [_apart(scene, SimulatedOtherwise(title, folder, layout)) for scene in scenes]
        there = [each for each in found if each is not None]
        if there:
            rmse = [float(over_time.square().mean().sqrt()) for over_time in there]
            shown = torch.stack(there).mean(0)[list(_SHOWN)].tolist()
            numbers = [cell(estimate(rmse)), f"{torch.tensor(rmse).median():.3f}", ", ".join(f"{x:.3f}" for x in shown)]
            rows.append([title, str(len(there)), *numbers])
    frames = ", ".join(map(str, _SHOWN))
    yield from table(["against", "scenes", "RMSE [m]", "median", f"by frame ({frames})"], rows)


def _apart(scene: SimulatedScene, other: SimulatedOtherwise) -> torch.Tensor | None:
    """Return the distance of two simulations over time (T,), moved to the same start; None where one is missing."""
    if not (other.path(scene) / "meta.json").is_file():
        return None
    other.check(scene, _FRAMES)
    target, mask = scene.clip.positions[:_FRAMES], scene.clip.mask
    positions = other.roll_out(scene, _FRAMES).positions
    return trajectory_errors(positions - (positions[0] - target[0])[mask].mean(0), target, mask).over_time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="what results.sh calls RESULTS")
    parser.add_argument("--data_root", type=Path, required=True, help="root of the dataset")
    parser.add_argument("--num_keypoints", type=int, required=True, help="keypoints that simulations are compared at")
    args = parser.parse_args()
    results, layout = args.results, Layout(args.data_root)
    folders = sorted({path.parent for path in results.glob("*/best.json")})
    variants = sorted({path.parent for path in results.glob("ablation/*/best.json")})
    sections: list[tuple[str, Iterator[str]]] = []
    if (results / "report" / "metrics.json").is_file():
        for title, key in (
            ("RMSE [m]", "rmse"),
            ("After first contact [m]", "first_contact_error"),
            ("RMSE of the best of several rollouts [m]", "best_rmse"),
            ("Inside each other [m]", "interpenetration"),
            ("Below the floor [m]", "floor_penetration"),
            ("Speed at the end [m/s]", "final_speed"),
            ("Share of the unsupported", "unsupported"),
        ):
            sections.append((title, errors(results, key)))
        sections.append(("RMSE per coordinate over the first T frames [m]", horizons(results)))
    sections += [("Trainings", trainings(folders))] if folders else []
    sections += [("Variants", trainings(variants))] if variants else []
    if layout.mpm(_COMPARED).is_dir():
        sections.append(("The simulation against itself", simulations(results, layout, args.num_keypoints)))
    text = "\n".join("\n".join([f"## {title}", "", *lines, ""]) for title, lines in sections)
    with atomic_path(results / "tables.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"wrote {results / 'tables.md'}")


if __name__ == "__main__":
    main()
