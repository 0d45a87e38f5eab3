"""A small trajectory, and the command that renders it."""

import json
import sys
from pathlib import Path

import pytest
import torch

from dataset.render import main
from gaussians.files.splats.ply import write_ply
from gaussians.representation import Gaussians
from tests.dataset.sinking_ball import CONFIG, Render, write_trajectory


@pytest.fixture
def trajectory(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return write_trajectory(tmp_path / "mpm" / "0_ball_duck")


@pytest.fixture
def render(tmp_path: Path, trajectory: Path, monkeypatch: pytest.MonkeyPatch) -> Render:
    def run(*arguments: str) -> Path:
        required = ["--model_path", str(trajectory), "--config", str(tmp_path / "config.json"), "--resolution", "48"]
        monkeypatch.setattr(sys, "argv", ["render", *required, "--device", "cpu", *arguments])
        with torch.inference_mode():
            main()
        return tmp_path

    return run


@pytest.fixture
def small_ground(tmp_path: Path) -> tuple[str, str]:
    """Flags for a ground of few Gaussians, with which a hundred pictures take little time."""
    x, y = torch.meshgrid(torch.linspace(-4, 4, 20), torch.linspace(-4, 4, 20), indexing="ij")
    means = torch.stack([x, y, torch.full_like(x, -0.94)], -1).reshape(-1, 3)
    count = len(means)
    ground = Gaussians(
        means=means,
        opacities=torch.full((count,), 0.9),
        sh=torch.zeros(count, 1, 3),
        scales=torch.tensor([0.2, 0.2, 0.01]).expand(count, 3),
        quaternions=torch.tensor([1.0, 0, 0, 0]).expand(count, 4),
    )
    write_ply(tmp_path / "ground.ply", ground)
    return "--background_path", str(tmp_path / "ground.ply")
