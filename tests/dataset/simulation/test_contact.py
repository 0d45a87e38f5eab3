"""Contact between the objects of scenes, as configurations ask for it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset.config import Config
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError
from tests.dataset.scene_files import FAST, make_scene, simulate, simulation_of, write_config

FRICTIONAL: dict[str, Any] = {"type": "frictional", "friction": {"duck/ball": 0.1, "jelly/duck": 0.2}}


@pytest.mark.parametrize(("contact", "felt"), [({"type": "grid"}, True), ({"type": "frictional"}, False)])
def test_objects_feel_each_other_where_they_touch(tmp_path: Path, contact: dict[str, Any], felt: bool) -> None:
    """The duck starts off to the side, 0.2 m or one and a half cells over the ball."""
    scene = make_scene(tmp_path / "scene")
    config = Config(**FAST, contact=contact, initial_velocity={"duck": (1.0, 0.0, 0.0)})
    *_, last = simulation_of(scene, config).frames()
    assert last.velocities is not None
    assert (last.velocities[:300].abs().max() > 1e-3) == felt


def test_scenes_of_several_numbers_of_objects_share_a_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("ball", "duck", "bear")
    for count in (1, 2, 3):
        make_scene(tmp_path / "scenes" / f"{count}_scene", names[:count], count=100)
    config, output = write_config(tmp_path, contact=FRICTIONAL), tmp_path / "mpm"
    simulate(monkeypatch, tmp_path / "scenes", config, output)
    alone = tmp_path / "alone"
    simulate(monkeypatch, tmp_path / "scenes" / "2_scene", config, alone)
    last, same = TrajectoryReader(output / "2_scene").frame(3), TrajectoryReader(alone).frame(3)
    np.testing.assert_array_equal(last.means.numpy(), same.means.numpy())
    meta = json.loads((alone / "meta.json").read_text())
    assert meta["settings"]["contact"] == FRICTIONAL
    with pytest.raises(InputError, match="complete, but made with other contact"):
        simulate(monkeypatch, tmp_path / "scenes" / "2_scene", write_config(tmp_path), alone)


def test_misspelt_pair_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(tmp_path / "0_ball_duck", count=50)
    config = write_config(tmp_path, contact={"type": "frictional", "friction": {"sand/duk": 0.3}})
    with pytest.raises(InputError, match=r"config.json: contact.friction: object 'duk' is not in the catalogue"):
        simulate(monkeypatch, scene, config, tmp_path / "mpm")
