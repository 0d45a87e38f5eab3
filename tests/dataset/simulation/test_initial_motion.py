"""Velocities that objects begin with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError
from tests.dataset.scene_files import make_scene, simulate, write_config

# Fine enough that the two objects, 0.2 m apart, do not feel each other.
FLOATING: dict[str, Any] = {"n_grid": 64, "g": [0.0, 0.0, 0.0]}


@pytest.mark.parametrize("rotation", [{}, {"rotation_degree": [90.0, -90.0], "rotation_axis": [0, 1]}])
def test_objects_begin_with_their_velocities_and_keep_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rotation: dict[str, Any]
) -> None:
    scene, output = make_scene(tmp_path / "0_ball_duck"), tmp_path / "mpm"
    motion = {"initial_velocity": {"duck": [1.0, 2.0, 0.5]}, "initial_angular_velocity": {"duck": [0.0, 0.0, 3.0]}}
    simulate(monkeypatch, scene, write_config(tmp_path, frame_num=3, **FLOATING, **motion, **rotation), output)
    first, last = (TrajectoryReader(output).frame(k) for k in (0, 2))
    assert first.velocities is not None
    assert last.velocities is not None
    assert (first.velocities[:300] == 0).all()
    assert (last.velocities[:300] == 0).all()
    v, x = first.velocities[300:].double().numpy(), first.means[300:].double().numpy()
    # Relative to one particle, so that the centre of mass does not matter; float32.
    np.testing.assert_allclose(v - v[0], np.cross([0.0, 0.0, 3.0], x - x[0]), atol=1e-5)
    # The centre of mass is not the particles' mean, because they have different masses: at most 2 cm from it.
    np.testing.assert_allclose(v.mean(0), [1.0, 2.0, 0.5], atol=3.0 * 0.02)
    late, moved = last.velocities[300:].double().numpy(), last.means[300:].double().numpy()
    # The unequal masses again, now that it has turned by 0.12.
    np.testing.assert_allclose(late.mean(0), v.mean(0), atol=3.0 * 0.02 * 0.12)
    spin = np.linalg.lstsq(moved - moved.mean(0), late - late.mean(0), rcond=None)[0].T
    # Random particles turn a little unevenly on the lattice: 2 % of 3 rad/s.
    np.testing.assert_allclose(spin, [[0.0, -3.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]], atol=0.06)


def test_one_velocity_is_for_all_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, output = make_scene(tmp_path / "0_ball_duck", count=50), tmp_path / "mpm"
    simulate(monkeypatch, scene, write_config(tmp_path, frame_num=1, initial_velocity=[0.0, 1.0, -2.0]), output)
    velocities = TrajectoryReader(output).frame(0).velocities
    assert velocities is not None
    np.testing.assert_array_equal(velocities.numpy(), np.tile([0.0, 1.0, -2.0], (100, 1)))


def test_misspelt_object_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, output = make_scene(tmp_path / "0_ball_duck", count=50), tmp_path / "mpm"
    config = write_config(tmp_path, frame_num=1, initial_velocity={"duk": [1.0, 0.0, 0.0]})
    with pytest.raises(InputError, match=r"config.json: initial_velocity: object 'duk' is not in the catalogue"):
        simulate(monkeypatch, scene, config, output)
    # A map may speak of other scenes' objects.
    simulate(monkeypatch, scene, write_config(tmp_path, frame_num=1, initial_velocity={"bear": [1.0, 0, 0]}), output)
