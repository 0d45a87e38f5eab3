"""External forces from the JSON file to the trajectory."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError
from tests.dataset.scene_files import make_scene, simulate, write_config

# Fine enough that the two objects, 0.2 m apart, do not feel each other.
FLOATING: dict[str, Any] = {"n_grid": 64, "g": [0.0, 0.0, 0.0]}

PUSH = {"obj_id": 1, "start": 0.01, "end": 0.03, "force": [20.0, 0.0, 0.0], "torque": [0.0, 0.0, 0.0]}


def write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "forces.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("rotation", [{}, {"rotation_degree": [90.0], "rotation_axis": [2]}])
def test_pushed_object_gains_force_times_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rotation: dict[str, Any]
) -> None:
    scene, output = make_scene(tmp_path / "0_ball_duck"), tmp_path / "mpm"
    flags = ["--use_external_forces", "--external_forces_config", str(write(tmp_path, {"0_ball_duck": [PUSH]}))]
    simulate(monkeypatch, scene, write_config(tmp_path, **FLOATING, **rotation), output, *flags)
    reader = TrajectoryReader(output)
    assert reader.meta is not None
    last = reader.frame(3)
    assert last.velocities is not None
    ball, duck = last.velocities[:300], last.velocities[300:]
    assert (ball == 0).all()
    # In the world, whatever the simulation is turned by. Free of stress, all of the object moves alike.
    speed = 20.0 * 0.02 / reader.meta.objects[1].mass
    torch.testing.assert_close(duck, torch.tensor([speed, 0.0, 0.0]).expand(300, 3), atol=1e-6, rtol=1e-5)
    assert reader.meta.settings["external_forces"] == [PUSH | {"mass": None}]


def test_other_forces_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, output, config = make_scene(tmp_path / "0_ball_duck", count=50), tmp_path / "mpm", write_config(tmp_path)
    flags = ["--use_external_forces", "--external_forces_config", str(tmp_path / "forces.json")]
    write(tmp_path, {"0_ball_duck": [PUSH]})
    simulate(monkeypatch, scene, config, output, *flags)
    written = (output / "0003.h5").stat().st_mtime_ns
    write(tmp_path, {"0_ball_duck": [PUSH], "another": [PUSH]})
    simulate(monkeypatch, scene, config, output, *flags)
    assert (output / "0003.h5").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="made with other external_forces; --overwrite"):
        simulate(monkeypatch, scene, config, output)
    write(tmp_path, {"0_ball_duck": [PUSH | {"force": [0.0, 20.0, 0.0]}]})
    with pytest.raises(InputError, match="made with other external_forces; --overwrite"):
        simulate(monkeypatch, scene, config, output, *flags)


def test_bad_forces_are_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, output, config = make_scene(tmp_path / "0_ball_duck", count=50), tmp_path / "mpm", write_config(tmp_path)
    path = write(tmp_path, {"0_ball_duck": [PUSH, PUSH | {"obj_id": 2}]})
    flags = ["--external_forces_config", str(path)]
    with pytest.raises(InputError, match=r"0_ball_duck\.1\.obj_id: expected less than 2, the number of objects"):
        simulate(monkeypatch, scene, config, output, "--use_external_forces", *flags)
    with pytest.raises(InputError, match="expected both or neither"):
        simulate(monkeypatch, scene, config, output, *flags)
    write(tmp_path, {"0_ball_duck": [PUSH | {"force": [0.0, 1e5, 0.0]}]})
    with pytest.raises(InputError, match=r"substep_dt: expected less than .*, the time 'duck', at up to"):
        simulate(monkeypatch, scene, config, output, "--use_external_forces", *flags)
    assert not output.exists()
