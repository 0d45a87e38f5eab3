"""Small scenes on disk, and the command that simulates them."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataset import gs_simulation_scene
from dataset.config import Config
from dataset.scenes.scene_files import read_scene
from dataset.simulation.materials import object_materials
from dataset.simulation.scene_particles import particles_of_scene
from dataset.simulation.simulation import Simulation
from gaussians.files.splats.ply import write_ply
from gaussians.representation import Gaussians

POINT_CLOUD = "point_cloud/iteration_30000/point_cloud.ply"
FAST = {"n_grid": 32, "substep_dt": 1e-3, "frame_dt": 0.02, "frame_num": 4, "rpic_damping": 0.5}
FALLING = FAST | {"g": [0.0, 0.0, -5.0], "boundary_conditions": [{"type": "bounding_box"}]}


def cube(count: int, center: tuple[float, float, float], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.2, 0.2, (count, 3)) + center


def gaussians_at(means: np.ndarray, opacity: float = 0.9) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    count = len(means)
    return Gaussians(
        torch.from_numpy(means).float(),
        torch.full((count,), opacity),
        torch.rand(count, 4, 3, generator=generator),
        scales=torch.rand(count, 3, generator=generator) * 0.02 + 0.005,
        quaternions=torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=1),
    )


def make_scene(path: Path, names: tuple[str, ...] = ("ball", "duck"), count: int = 300, describe: bool = True) -> Path:
    """A scene of cubes above each other, its rows shuffled."""
    means = np.concatenate([cube(count, (0.05 * i, 0, 0.6 * i - 0.5), i) for i in range(len(names))])
    labels = np.repeat(np.arange(len(names), dtype=np.int32), count)
    order = np.random.default_rng(9).permutation(len(means))
    write_ply(path / POINT_CLOUD, gaussians_at(means[order]))
    np.save(path / "segmentation.npy", labels[order])
    if describe:
        entries = [
            {"label": i, "name": name, "index": i, "count": count, "youngs_modulus": 1e5, "density": 500.0 + i}
            for i, name in enumerate(names)
        ]
        (path / "objects.json").write_text(json.dumps(entries))
    return path


def write_config(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(FALLING | changes))
    return path


def simulate(monkeypatch: pytest.MonkeyPatch, model_path: Path, config: Path, output: Path, *flags: str) -> None:
    paths = ["--model_path", str(model_path), "--config", str(config), "--output_path", str(output)]
    data_root = ["--data_root", str(model_path.parent), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["gs_simulation_scene", *paths, *data_root, *flags])
    gs_simulation_scene.main()


def simulation_of(path: Path, config: Config) -> Simulation:
    """A simulation of the scene at ``path`` on the CPU, with the materials that it and the configuration name."""
    scene = read_scene(path)
    return Simulation(particles_of_scene(scene, config), object_materials(scene.objects, config), config, "cpu")
