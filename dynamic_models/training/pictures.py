"""Show how a training goes: draw its curves, and a rollout beside the simulation."""

import json
import math
from pathlib import Path

import torch

from dynamic_models.data.windows import SimulatedScene
from dynamic_models.evaluation.comparison_video import Tile, write_comparison
from dynamic_models.evaluation.contenders import TRUTH
from dynamic_models.evaluation.metrics import trajectory_errors
from dynamic_models.models.interface import FrameModel
from gaussians.stage.atomic_files import atomic_path

_SMOOTHED = 50  # points that a noisy curve is averaged down to
_RESOLUTION = 320  # pixels


def plot_curves(log: Path, picture: Path) -> None:
    """Plot loss and error of rollouts against iterations.

    Args:
        log: metrics.jsonl.
        picture: the PNG to write.
    """
    from matplotlib.figure import Figure  # slow to import, and needed only here

    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(7, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    iterations = torch.tensor([line["iteration"] for line in lines], dtype=torch.float64)
    losses = torch.tensor([line.get("loss", math.nan) for line in lines], dtype=torch.float64)
    above.plot(iterations, losses, color="0.8", linewidth=0.8)
    size = max(1, len(lines) // _SMOOTHED)
    means = [torch.stack([part.mean() for part in entries.split(size)]) for entries in (iterations, losses)]
    above.plot(*means, color="#0072B2", linewidth=2)
    above.set(yscale="log", ylabel="loss [m²]")
    for key, name, color in (("val_rmse", "held-out scenes", "#D55E00"), ("train_rmse", "training scenes", "#009E73")):
        judged = [(line["iteration"], line[key]) for line in lines if key in line]
        if judged:
            below.plot(*zip(*judged, strict=True), color=color, marker="o", markersize=3, label=name)
    below.set(xlabel="iteration", ylabel="RMSE of rollouts [m]")
    below.set_ylim(bottom=0)
    below.legend(frameon=False)
    for axes in (above, below):
        axes.grid(alpha=0.3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    with atomic_path(picture) as temporary:
        figure.savefig(temporary, dpi=120)


@torch.no_grad()
def write_rollout(path: Path, model: FrameModel, name: str, scene: SimulatedScene, frames: int, iteration: int) -> None:
    """Write an .mp4 of ``scene``, simulated and as ``model`` rolls it out from the first frame."""
    device = next(model.parameters()).device
    state, target, pushes = scene.window(0, frames)
    model.eval()
    predicted = model(state.to(device), frames, scene.frame_dt, pushes.to(device))[0].cpu()
    model.train()
    error = trajectory_errors(predicted, target[0], state.mask[0]).rmse
    tiles = [Tile(TRUTH, "", target[0]), Tile(name, f"iteration {iteration}, RMSE {error:.3f} m", predicted)]
    write_comparison(path, scene, tiles, frames, _RESOLUTION, torch.device("cpu"))  # without kernels to compile
