"""Which substep is stable."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset.config import Config, MaterialRegion
from dataset.mpm.boundary_conditions import (
    BoundaryCondition,
    Cuboid,
    EnforceParticleTranslation,
    EnforceParticleVelocityRotation,
)
from dataset.simulation.materials import ObjectMaterial
from dataset.simulation.stability import check_substep, fall_limit, limits, pushed_speed, with_automatic_substep
from gaussians.files.external_forces import ExternalForce
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError
from tests.dataset.mpm.mpm_world import block
from tests.dataset.scene_files import make_scene, simulate, simulation_of, write_config

# dx = 0.02 m. The duck's pressure waves: sqrt(1.346 x 2e5 Pa / 500 kg/m^3) = 23.2 m/s.
SOFT = {"n_grid": 200, "frame_dt": 0.02, "E": {"ball": 1e5, "duck": 2e5}, "density": 500.0}
MOVING = {"point": (2.0, 2.0, 1.0), "size": (0.1, 0.1, 0.1), "velocity": (0.0, 300.0, 400.0)}
TURNING = {"point": (2.0, 2.0, 1.0), "normal": (0.0, 0.0, 1.0), "half_height_and_radius": (0.1, 0.5)}


def materials_of(config: Config) -> list[ObjectMaterial]:
    assert isinstance(config.E, dict)
    assert isinstance(config.density, float)
    return [
        ObjectMaterial(name, label, label, E, config.nu, config.density, "jelly", {})
        for label, (name, E) in enumerate(config.E.items())
    ]


def refusal(**settings: Any) -> str:
    config = Config(**(SOFT | settings))
    with pytest.raises(InputError) as caught:
        check_substep(config, limits(config, materials_of(config)), "config.json: ")
    return str(caught.value)


def largest_that_works(message: str) -> float:
    return float(message.split("the largest that works is ")[1])


def test_waves_may_not_cross_a_cell() -> None:
    limit = 0.68 * 0.02 / math.sqrt(1.3461538 * 2e5 / 500)
    message = refusal(substep_dt=1e-3)
    assert message.startswith(f"config.json: substep_dt: expected less than {limit:.4g} s, 0.68 of the time sound")
    assert "'duck'" in message
    works = largest_that_works(message)
    # The largest whole fraction of a frame: one substep fewer is too long.
    assert works < limit <= 0.02 / (round(0.02 / works) - 1)
    again = Config(**(SOFT | {"substep_dt": works}))
    check_substep(again, limits(again, materials_of(again)))


@pytest.mark.parametrize(
    ("condition", "speed"),
    [
        (Cuboid(type="cuboid", **MOVING), 500.0),
        (EnforceParticleTranslation(type="enforce_particle_translation", **MOVING), 500.0),
        (
            EnforceParticleVelocityRotation(
                type="enforce_particle_velocity_rotation", rotation_scale=-600.0, translation_scale=400.0, **TURNING
            ),
            500.0,
        ),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
def test_conditions_may_not_move_matter_across_half_a_cell(condition: BoundaryCondition, speed: float) -> None:
    message = refusal(substep_dt=1e-4, boundary_conditions=(condition,))
    assert f"less than {0.01 / speed:.4g} s" in message
    assert f"what boundary_conditions.0 ({condition.type}) moves, at up to 500 m/s" in message
    assert largest_that_works(message) < 0.01 / speed


def test_initial_velocities_and_falls_count() -> None:
    assert "'ball', at up to 200 m/s" in refusal(substep_dt=1e-4, initial_velocity={"ball": (0.0, 0.0, 200.0)})
    # From wall to wall, 3.88 m: v^2 = 2 g h.
    fast = refusal(substep_dt=1e-4, g=(0.0, 0.0, -5000.0), frame_num=1000)
    assert f"at up to {math.sqrt(2 * 5000 * 3.88):.4g} m/s" in fast
    # Two frames are too short for that: v = g t.
    assert "at up to 100 m/s" in refusal(substep_dt=2e-4, g=(0.0, 0.0, -5000.0), frame_num=2)


def test_push_counts_as_long_as_the_simulation_lasts() -> None:
    x = block((0.4, 0.2, 0.2), (0.1, 0.2, 0.3), 0.05)
    masses = np.full(len(x), 2.0 / len(x))
    push = ExternalForce(obj_id=0, start=0.5, end=100.0, force=(0.0, 3.0, 4.0))
    assert pushed_speed([push], 1.5, x, masses) == pytest.approx(5.0 / 2.0 * 1.0)
    assert pushed_speed([push], 0.4, x, masses) == 0
    # About x: I = sum of m (y^2 + z^2), which the outermost corner feels at its distance from the centre.
    twist = ExternalForce(obj_id=0, start=0.0, end=0.1, torque=(0.2, 0.0, 0.0), mass=4.0)
    offsets = x - x.mean(0)
    inertia = masses @ (offsets[:, 1] ** 2 + offsets[:, 2] ** 2)
    reach = np.linalg.norm(offsets, axis=1).max()
    assert pushed_speed([twist], 1.0, x, masses) == pytest.approx(0.1 * 0.2 / inertia / 2 * reach)
    assert fall_limit(Config(**SOFT), "ball", 1.0, 3.0).seconds == pytest.approx(0.01 / 4.0)


def test_automatic_substep_is_a_safe_whole_fraction_of_a_frame() -> None:
    config = Config(**(SOFT | {"substep_dt": "auto"}))
    with pytest.raises(ValueError, match="found auto"):
        _ = config.substeps
    chosen = with_automatic_substep(config, materials_of(config))
    limit = 0.02 / math.sqrt(1.3461538 * 2e5 / 500)
    assert chosen.substeps == math.ceil(0.02 / (0.955 * 0.68 * limit))
    assert chosen.substep_seconds == pytest.approx(0.02 / chosen.substeps)
    assert with_automatic_substep(chosen, materials_of(config)) is chosen
    # A stiffer region may lie in any object.
    region = MaterialRegion(point=(2.0, 2.0, 1.0), size=(0.1, 0.1, 0.1), E=2e7)
    stiff = config.model_copy(update={"additional_material_params": (region,)})
    found = with_automatic_substep(stiff, materials_of(config)).substep_seconds
    assert found == pytest.approx(chosen.substep_seconds / 10, rel=0.02)
    endless = config.model_copy(update={"E": dict.fromkeys(config.E, 1e15)})
    with pytest.raises(InputError, match=r"expected at most 100000 substeps in a frame, found .*sound takes"):
        with_automatic_substep(endless, materials_of(endless))


def test_angular_velocity_counts_at_the_surface(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene", names=("duck",), count=100)
    config = Config(n_grid=64, substep_dt=1e-3, E=1e5, density=500.0, initial_angular_velocity=(0.0, 0.0, 200.0))
    with pytest.raises(InputError, match="the time 'duck', at up to"):
        simulation_of(scene, config)


@pytest.mark.parametrize("by_flag", [True, False])
def test_trajectory_with_an_automatic_substep_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], by_flag: bool
) -> None:
    scene, output = make_scene(tmp_path / "0_ball_duck", count=50), tmp_path / "mpm"
    config = write_config(tmp_path, frame_num=2, **({} if by_flag else {"substep_dt": "auto"}))
    flags = ["--substep_dt", "auto"] if by_flag else []
    simulate(monkeypatch, scene, config, output, *flags)
    meta = TrajectoryReader(output).meta
    assert meta is not None
    # 0.125 m through the ball, sqrt(1.346 x 1e5 / 500) = 16.4 m/s: 0.65 of 7.62 ms is 1 / 4.04 of a frame's 20 ms.
    assert meta.substep_dt == meta.settings["substep_dt"] == 0.02 / 5
    assert "0_ball_duck: substep_dt 0.004 s" in capsys.readouterr().out
    written = (output / "0001.h5").stat().st_mtime_ns
    simulate(monkeypatch, scene, config, output, *flags)
    simulate(monkeypatch, scene, config, output, "--substep_dt", "4e-3")
    assert (output / "0001.h5").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="made with other substep_dt"):
        simulate(monkeypatch, scene, config, output, "--substep_dt", "2e-3")
    with pytest.raises(InputError, match=r"--substep_dt: .*frame_dt = 0.02 to be a whole number of substeps"):
        simulate(monkeypatch, scene, config, output, "--substep_dt", "3e-3")
    with pytest.raises(InputError, match=r"^--substep_dt: expected less than 0\.00518 s"):
        simulate(monkeypatch, scene, config, output, "--substep_dt", "1e-2")
    with pytest.raises(SystemExit):
        simulate(monkeypatch, scene, config, output, "--substep_dt", "fast")
