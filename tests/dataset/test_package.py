"""The package as a library."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dataset
from dataset import Config, Scene, SceneObject, SceneRenderer, fixed_view, simulate, write_clip
from gaussians import InputError, read_video
from tests.dataset.scene_files import cube, gaussians_at


def test_every_public_name_is_there() -> None:
    for name in dataset.__all__:
        assert getattr(dataset, name).__name__ == name


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = "import sys, dataset; print({'torch', 'numpy', 'pydantic', 'warp'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "command", ["generate_objects", "generate_configs", "generate_scene", "gs_simulation_scene", "render", "summarize"]
)
def test_commands_parse_their_flags_before_they_load_anything_heavy(command: str) -> None:
    program = f"import sys, dataset.{command}; print({{'torch', 'numpy', 'pydantic', 'warp'}} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


CONFIG = Config(frame_num=4, n_grid=32, substep_dt="auto", g=(0.0, 0.0, -5.0))


def test_gaussians_in_memory_fall_and_are_drawn(tmp_path: Path) -> None:
    start = gaussians_at(cube(300, (0, 0, 0.5), 0))
    frames = list(simulate(start, CONFIG))
    torch.testing.assert_close(frames[0].means, start.means)
    torch.testing.assert_close(frames[0].covariances, start.covariance())
    # g t (t + dt) / 2 after 0.06 s, with the substep of E = 1e5 Pa and 500 kg/m^3: 0.65 dx / 16.4 m/s or less.
    fall = (frames[0].means - frames[3].means)[:, 2]
    assert (fall > 5.0 * 0.06**2 / 2).all()
    assert (fall < 5.0 * 0.06 * (0.06 + 0.65 * 0.125 / 16.4) / 2 + 1e-5).all()
    renderer = SceneRenderer(CONFIG.orbit(), 32)
    write_clip(renderer, frames, 4, [(fixed_view(0), tmp_path / "fall.mp4")], CONFIG.fps)
    assert len(list(read_video(tmp_path / "fall.mp4"))) == 4


def test_labels_are_objects_of_their_own_materials() -> None:
    labels = (torch.arange(300) % 3 - 1).int()  # a third does not move
    start = gaussians_at(cube(300, (0, 0, 0.5), 0))
    start = type(start)(start.means, start.opacities, start.sh, start.scales, start.quaternions, labels=labels)
    *_, last = simulate(start, CONFIG, E=[1e4, 2e4], density=[100.0, 200.0])
    assert last.labels is not None
    assert last.labels.tolist() == [0] * 100 + [1] * 100 + [-1] * 100
    torch.testing.assert_close(last.means[200:], start.means[labels < 0])
    with pytest.raises(InputError, match=r"expected 2 values \(object0, object1\), found 1"):
        simulate(start, CONFIG, E=[1e4])
    with pytest.raises(InputError, match="substep_dt: expected less than"):
        simulate(start, Config(substep_dt=0.02, n_grid=32))


def test_a_scene_says_what_it_is_made_of() -> None:
    start = Scene.of(gaussians_at(cube(100, (0, 0, 0.5), 0)))
    stiff = Scene(start.gaussians, (SceneObject(label=0, name="rock", youngs_modulus=1e12),))
    with pytest.raises(InputError, match="sound takes through a cell in 'rock'"):
        simulate(stiff, Config(substep_dt=1e-3, n_grid=32))
    assert len(list(simulate(start, Config(substep_dt=1e-3, n_grid=32, frame_num=2)))) == 2
