import math

import pytest
import torch

from dataset.config import load_config
from dynamic_models.models.checkpoints import load_checkpoint
from dynamic_models.models.registry import SHIPPED
from tools.benchmarks import live as benchmark_live

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("name", DEVICES)
def test_frames_and_pictures_of_each_checkpoint_are_timed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_live, "_GAUSSIANS", 600)
    monkeypatch.setattr(benchmark_live, "_WARM_UP", 1)
    monkeypatch.setattr(benchmark_live, "_FRAMES", 3)
    rows = list(benchmark_live.measure(torch.device(name)))
    assert [(row["checkpoint"], row["config"]) for row in rows] == [
        ("ngff_coarse", "quickstart_config"),
        ("ngff", "dynamic_config"),
        ("ngff_impulses_coarse", "quickstart_config"),
        ("ngff_impulses", "dynamic_config"),
    ]
    # All but the first follow more keypoints than a ball of 200 Gaussians has.
    assert [(row["objects"], row["Gaussians"]) for row in rows] == [(3, 600)] * 4
    assert [row["keypoints"] for row in rows] == [384, 600, 600, 600]
    for row in rows:
        frame, picture = row["ms a frame"], row["ms a picture"]
        assert isinstance(frame, float)
        assert isinstance(picture, float)
        assert 0 < frame < math.inf
        assert 0 < picture < math.inf
        frames = 1 / 30 / 0.02  # of the world, in the time of a picture
        assert row["pictures a second"] == pytest.approx(1e3 / (picture + frames * frame))
        assert row["frames a second"] == pytest.approx(frames * 1e3 / (picture + frames * frame))


def test_balls_are_within_reach_of_each_other_and_of_the_floor_while_they_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmark_live, "_GAUSSIANS", 600)
    checkpoint = SHIPPED / "ngff_coarse"
    _, info = load_checkpoint(checkpoint)
    reach, floor = info.settings["threshold"], info.world.walls[4]
    world = benchmark_live.falling_balls(checkpoint, load_config("quickstart_config"), torch.device("cpu"))
    for frame in range(benchmark_live._WARM_UP + benchmark_live._FRAMES):
        world.step()
        if frame >= benchmark_live._WARM_UP:
            balls = list(world.motion.object_points().values())
            gaps = [torch.cdist(balls[i], balls[j]).min() for i, j in ((0, 1), (0, 2), (1, 2))]
            assert min(gaps) < reach
            assert balls[0][:, 2].min() < floor + reach
