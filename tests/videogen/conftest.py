import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dynamic_models.models.checkpoints import CheckpointInfo, save_checkpoint
from dynamic_models.models.registry import build_model
from gaussians.files.splats.ply import write_ply
from gaussians.representation import Gaussians
from tests.videogen.small_scene import FRAMES, SETTINGS, cloud


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An untrained model: its forces are zero, so it predicts free flight."""
    torch.manual_seed(0)
    info = CheckpointInfo(settings=SETTINGS, num_keypoints=32, frame_dt=0.02)
    save_checkpoint(tmp_path / "checkpoint" / "best.json", build_model(SETTINGS), info)
    return tmp_path / "checkpoint"


@pytest.fixture
def arguments(tmp_path: Path, checkpoint: Path) -> list[object]:
    scene = tmp_path / "scenes" / "2" / "0_ball_duck"
    parts = [cloud((0, 0, 0.3), 0), cloud((0.5, 0, -0.2), 1)]
    write_ply(scene / "point_cloud.ply", Gaussians.cat(parts))
    np.save(scene / "segmentation.npy", np.repeat(np.arange(2), 120))
    (tmp_path / "config.json").write_text(json.dumps({"g": [0, 0, -5], "E": 1e5, "density": 500}))
    return [
        *("--model_path", scene, "--checkpoint", checkpoint, "--config", tmp_path / "config.json"),
        *("--output_path", tmp_path / "out", "--resolution", 32, "--steps", FRAMES, "--device", "cpu"),
    ]
