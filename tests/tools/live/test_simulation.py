from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
import torch

from dataset.config import Config
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import write_json
from tests.tools.live.worlds import CONFIG, free_fall
from tools.live.simulation import Simulator

Outcome = TypeVar("Outcome")


def finished(job: Generator[float, None, Outcome]) -> Outcome:
    while True:
        try:
            assert 0 <= next(job) <= 1
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def simulator(folder: Path, config: Config = CONFIG) -> Simulator:
    write_json(folder / "config.json", {"n_grid": config.n_grid, "g": list(config.g), "frame_dt": 0.02})
    return Simulator(folder / "config.json", folder, "cpu")


def test_what_was_predicted_is_simulated_from_the_same_start(tmp_path: Path) -> None:
    world = free_fall()
    world.push(0, torch.tensor([50.0, 0.0, 0.0]), 0.04)
    for _ in range(2):
        world.step()
    reader = TrajectoryReader(finished(simulator(tmp_path).run(world, tmp_path)))
    assert len(reader) == 3
    source, rows = world.source(), world.source().objects["a"]
    torch.testing.assert_close(reader.frame(0).means, source.frame(0, ()).means)
    # Two frames of 50 m/s^2 from rest, 0.04 m, but for the transfers between particles and grid.
    moved = reader.frame(2).means[rows].mean(0) - reader.frame(0).means[rows].mean(0)
    predicted = source.frame(2, ()).means[rows].mean(0) - source.frame(0, ()).means[rows].mean(0)
    torch.testing.assert_close(moved, predicted, rtol=0, atol=2e-3)
    assert float(predicted[0]) == pytest.approx(0.04, abs=2e-3)


def test_a_cancelled_simulation_ends(tmp_path: Path) -> None:
    world = free_fall()
    world.step()
    job = simulator(tmp_path).run(world, tmp_path)
    others = set(psutil.Process().children())
    next(job)
    # Not by its command line, which the system may not show yet.
    (started,) = set(psutil.Process().children()) - others
    assert started.is_running()
    job.close()
    assert not started.is_running()


def test_what_cannot_be_simulated_says_why(tmp_path: Path) -> None:
    world = free_fall()
    with pytest.raises(InputError, match="nothing has been predicted yet"):
        finished(simulator(tmp_path).run(world, tmp_path))
    world.step()
    write_json(tmp_path / "bad.json", {"n_grid": 1})
    with pytest.raises(InputError, match=r"the simulation failed: .*bad\.json: n_grid"):
        finished(Simulator(tmp_path / "bad.json", tmp_path, "cpu").run(world, tmp_path))
    world.set_material(0, 2e5, 500.0)
    with pytest.raises(InputError, match="in mid-motion"):
        finished(simulator(tmp_path).run(world, tmp_path))
