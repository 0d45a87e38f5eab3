"""Measure how well dynamics models predict simulated scenes.

Every model is given the first frame of a scene and predicts the others. Writes to --output: metrics.json, metrics.md
and error_over_time.png, with the errors of docs/metrics.md [m] averaged over scenes, and the seconds that a rollout of
one scene takes beside those that its simulation took.

Examples:
  python -m dynamic_models.evaluate --groups 3_9 --models ngff,ballistic
  python -m dynamic_models.evaluate --groups 4 5 6 --models ngff --checkpoints checkpoints/ngff --steps 100
"""

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from dataset.layout import Layout, add_data_root
from dynamic_models.ballistic import Ballistic
from dynamic_models.checkpoint import CheckpointInfo, load_checkpoint
from dynamic_models.data import Scene, choose_groups, load_scenes
from dynamic_models.metrics import TrajectoryErrors, trajectory_errors
from dynamic_models.models import MODELS
from gaussians.command_line import ArgumentParser, resolve_device, run
from gaussians.errors import InputError
from gaussians.files import atomic_path, write_json

_MODEL_FREE_KEYPOINTS = 512


def main() -> None:
    args = parse_args()
    device = resolve_device(args.device)
    layout = Layout(args.data_root)
    models, infos = load_models(args.models, args.checkpoints)
    num_keypoints = args.num_keypoints or max((i.num_keypoints for i in infos), default=_MODEL_FREE_KEYPOINTS)
    scenes = load_scenes(layout, choose_groups(layout, args.groups), num_keypoints, args.steps or 2, cache=args.cache)
    frames = args.steps or min(scene.num_frames for scene in scenes)

    report: dict[str, Any] = {
        "scenes": [scene.name for scene in scenes],
        "frames": frames,
        "frame_dt": scenes[0].frame_dt,
        "num_keypoints": num_keypoints,
        "device": device.type,
        "simulation_seconds": mean([scene.wall_time for scene in scenes]),
        "models": {name: evaluate(name, model.to(device), scenes, frames) for name, model in models.items()},
    }
    write_json(args.output / "metrics.json", report)
    table = markdown(report)
    with atomic_path(args.output / "metrics.md") as temporary:
        temporary.write_text(table, encoding="utf-8")
    plot_errors(report, args.output / "error_over_time.png")
    print(table)
    print(f"wrote metrics.json, metrics.md and error_over_time.png to {args.output}")


def load_models(names: Sequence[str], checkpoints: Sequence[Path]) -> tuple[dict[str, nn.Module], list[CheckpointInfo]]:
    """The models by name, and what is known of the learned ones.

    Raises:
        InputError: a checkpoint is missing, damaged, or of no model that was asked for.
    """
    found = {}
    for path in checkpoints:
        model, info = load_checkpoint(path)
        found[info.settings["dynamic_model"]] = (model, info)
    for name in found:
        if name not in names:
            raise InputError(f"--checkpoints: one is of {name}, which is not among --models {','.join(names)}")
    models: dict[str, nn.Module] = {}
    infos = []
    for name in names:
        if name == "ballistic":
            models[name] = Ballistic()
            continue
        models[name], info = found.get(name) or load_checkpoint(Path("checkpoints") / name, name)
        infos.append(info)
    return models, infos


@torch.no_grad()
def evaluate(name: str, model: nn.Module, scenes: Sequence[Scene], frames: int) -> dict[str, Any]:
    """Errors of one model, averaged and scene by scene, and seconds per rollout (after one to warm up)."""
    device = next(iter(model.parameters()), torch.empty(0)).device
    errors: dict[str, TrajectoryErrors] = {}
    seconds = []
    for i, scene in enumerate(tqdm([scenes[0], *scenes], desc=name, unit="scene")):
        state, target, pushes = scene.window(0, frames)
        state, pushes = state.to(device), pushes.to(device)
        _synchronize(device)
        start = time.perf_counter()
        predicted = model(state, frames, scene.frame_dt, pushes)
        _synchronize(device)
        if i > 0:
            seconds.append(time.perf_counter() - start)
            errors[scene.name] = trajectory_errors(predicted[0].cpu(), target[0], scene.clip.mask)
    summaries = {scene: summary(error) for scene, error in errors.items()}
    averages = {key: mean([values[key] for values in summaries.values()]) for key in _COLUMNS}
    over_time = torch.stack([error.over_time for error in errors.values()]).mean(0)
    return averages | {
        "seconds_per_rollout": mean(seconds),
        "error_over_time": [round(value, 6) for value in over_time.tolist()],
        "scenes": summaries,
    }


_COLUMNS = ("rmse", "final_position_error", "correlation")


def summary(errors: TrajectoryErrors) -> dict[str, float | None]:
    """The three numbers of a scene; None for an undefined correlation, which JSON has no word for."""
    values = {key: getattr(errors, key) for key in _COLUMNS}
    return {key: None if math.isnan(value) else round(value, 6) for key, value in values.items()}


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of those that are known, or None."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def markdown(report: dict[str, Any]) -> str:
    """The averages as a Markdown table, one row a model."""
    lines = [
        f"{len(report['scenes'])} scenes, {report['frames']} frames of {report['frame_dt']:g} s, "
        f"{report['num_keypoints']} keypoints an object, on {report['device']}",
        "",
        "| model | RMSE [m] | final position error [m] | correlation R | seconds per rollout |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, values in report["models"].items():
        cells = [_cell(values[key]) for key in (*_COLUMNS, "seconds_per_rollout")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if report["simulation_seconds"] is not None:
        lines.append(f"| simulation | 0 | 0 | 1 | {_cell(report['simulation_seconds'])} |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"


def plot_errors(report: dict[str, Any], path: Path) -> None:
    """Error over time, one line a model."""
    from matplotlib.figure import Figure  # slow to import, and needed only here

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    times = [k * report["frame_dt"] for k in range(report["frames"])]
    for name, values in report["models"].items():
        axes.plot(times, values["error_over_time"], label=name, linewidth=2)
    axes.set(xlabel="time [s]", ylabel="RMSE of keypoints [m]", xlim=(0, times[-1]))
    axes.set_ylim(bottom=0)
    axes.set_title(f"Mean over {len(report['scenes'])} scene{'s' if len(report['scenes']) > 1 else ''}")
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    known = (*MODELS, "ballistic")
    parser = ArgumentParser(__doc__)
    add_data_root(parser)
    parser.add_argument("--groups", nargs="+", required=True, help="groups to evaluate on")
    parser.add_argument("--models", default="ngff,ballistic", help=f"with commas, of {', '.join(known)}")
    parser.add_argument(
        "--checkpoints", nargs="+", type=Path, default=[], help="of the learned models (default: checkpoints/<model>)"
    )
    parser.add_argument("--steps", type=int, help="frames to predict (default: those of the shortest scene)")
    parser.add_argument("--num_keypoints", type=int, help="of every object (default: as many as in training)")
    parser.add_argument("--cache", type=Path, help="directory for extracted keypoints (default: <data_root>/keypoints)")
    parser.add_argument("--output", type=Path, default=Path("output/evaluation"), help="directory of the report")
    parser.add_device()
    args = parser.parse_args(arguments)
    args.models = args.models.split(",")
    for name in args.models:
        if name not in known:
            raise InputError(f"--models: expected {', '.join(known)}, found {name!r}")
    for name, least in (("steps", 2), ("num_keypoints", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise InputError(f"--{name}: expected {least} or more, found {value}")
    return args


if __name__ == "__main__":
    run(main)
