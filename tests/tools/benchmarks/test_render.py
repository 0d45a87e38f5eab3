import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dataset.config import load_config
from gaussians.files.splats.ply import read_ply
from gaussians.files.trajectory_reader import TrajectoryReader
from tools.benchmarks import render as benchmark_render
from tools.benchmarks.render import RenderWorkload, psnr, ssim, write_trajectory

TINY = RenderWorkload(gaussians=300, ground=10, frames=3, views=2, resolutions=(32, 48))
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("name", DEVICES)
def test_each_resolution_is_measured_whole_and_by_stages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(benchmark_render.WORKLOADS, name, TINY)
    rows = benchmark_render.measure(torch.device(name))
    assert [row["size"] for row in rows] == ["32 x 32", "48 x 48"]
    for row in rows:
        assert row["Gaussians"] == 400
        stages = {stage: row[f"{stage}, s"] for stage in ("read", "draw", "convert", "encode")}
        assert all(isinstance(seconds, float) and seconds > 0 for seconds in stages.values())
        assert row["bound by"] == max(stages, key=lambda stage: stages[stage])
        assert isinstance(row["command, s"], float)
        assert isinstance(row["whole, s"], float)
        assert row["command, s"] > row["whole, s"] > 0
        assert isinstance(row["host GiB"], float)
        assert row["host GiB"] > 0.1
        # A clip that encoding spoilt, or frames that do not belong together, would be far below.
        assert isinstance(row["PSNR planes, dB"], float)
        assert row["PSNR planes, dB"] > 35
        assert isinstance(row["SSIM"], float)
        assert 0.9 < row["SSIM"] <= 1


def test_the_scene_is_what_the_clip_says_and_moves(tmp_path: Path) -> None:
    write_trajectory(replace(TINY, frames=4), tmp_path)
    trajectory = TrajectoryReader(tmp_path / "clip")
    trajectory.check_frames()
    assert (trajectory.count, trajectory.num_frames) == (300, 4)
    first, last = trajectory.positions(0), trajectory.positions(3)
    assert (first - last).norm(dim=1).min() > 1e-4
    assert last[:, 2].min() > -0.95
    assert len(read_ply(tmp_path / "ground.ply")) == 100
    orbit, expected = load_config(tmp_path / "config.json").orbit(), benchmark_render._ORBIT
    assert orbit.center == pytest.approx(expected.center)
    assert replace(orbit, center=expected.center) == expected


def test_psnr_of_one_level_is_48_db() -> None:
    original = torch.full((4, 20, 20), 100, dtype=torch.uint8)
    assert psnr(original + 1, original) == pytest.approx(20 * math.log10(255), abs=1e-9)
    assert psnr(original, original) == math.inf


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise_but_not_with_brightness() -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(50, 200, (2, 40, 40), generator=generator)
    noise = torch.randint(-40, 41, (2, 40, 40), generator=generator)
    assert ssim(picture, picture) == pytest.approx(1, abs=1e-12)
    assert ssim(picture + noise, picture) < 0.95
    assert ssim(picture + 5, picture) > 0.99


def test_ssim_of_constant_pictures_is_the_luminance_term() -> None:
    a, b, c1 = 100.0, 120.0, (0.01 * 255) ** 2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    assert ssim(torch.full((1, 16, 16), 100), torch.full((1, 16, 16), 120)) == pytest.approx(expected, abs=1e-9)
