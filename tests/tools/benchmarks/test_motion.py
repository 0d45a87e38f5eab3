import pytest
import torch

from tools.benchmarks import dense_motion as benchmark_dense_motion
from tools.benchmarks import keypoints as benchmark_keypoints
from tools.benchmarks import training as benchmark_training

CPU = torch.device("cpu")


def test_a_clip_of_keypoints_is_timed_in_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_keypoints, "_WORKLOADS", {"cpu": ((300, 3),)})
    (row,) = benchmark_keypoints.measure(CPU)
    assert (row["Gaussians"], row["frames"]) == (300, 3)
    for part in ("seconds", "reading", "choosing"):
        assert isinstance(row[part], float)
        assert row[part] > 0


def test_a_clip_of_gaussians_is_timed_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_dense_motion, "_WORKLOADS", {"cpu": (600, 3)})
    (row,) = benchmark_dense_motion.measure(CPU)
    assert isinstance(row["seconds"], float)
    assert row["ms a frame"] == pytest.approx(1e3 * row["seconds"] / 3)
    assert "peak MiB" not in row  # of GPUs


def test_an_iteration_of_every_model_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_training, "_WORKLOADS", {"cpu": (2, 8, 3, 8)})
    rows = benchmark_training.measure(CPU)
    assert [row["model"] for row in rows] == ["ngff", "pointformer", "gcn", "rigidformer"]
    assert all(isinstance(row["seconds"], float) and row["seconds"] > 0 for row in rows)
