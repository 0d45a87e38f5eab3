"""The whole way from a simulated scene to a report, on two balls in free flight."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.layout import POINT_CLOUD, Layout
from dataset.scenes.scene_files import write_scene
from gaussians.files.splats.ply import write_ply
from gaussians.files.trajectory_format import Frame, TrajectoryMeta, TrajectoryObject
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.files.video import read_video
from gaussians.stage.errors import InputError
from tests.videogen.reconstruction.scenes import speckled_scene

FRAMES, FRAME_DT, GRAVITY = 4, 0.02, -5.0
GROUP, SCENE, LOST = "2", "0_duck_ball", "1_duck_ball"
NAMES = ("duck", "ball")
SIZE = 32


def write_dataset(root: Path) -> None:
    """A scene of two balls that fall freely, and the floor below them as a background; of another only the motion."""
    everything = speckled_scene()
    assert everything.labels is not None
    balls = everything[everything.labels >= 0]
    assert balls.labels is not None
    write_ply(root / "backgrounds" / "floor" / POINT_CLOUD, everything[everything.labels < 0])
    entries = [
        {"label": label, "name": name, "count": 1000, "youngs_modulus": 1e5, "density": 500.0}
        for label, name in enumerate(NAMES)
    ]
    write_scene(Layout(root).scene_dir(GROUP, SCENE), balls, entries)
    objects = [
        TrajectoryObject(
            name=name, label=label, index=-1, count=1000, youngs_modulus=1e5, nu=0.3, density=500, mass=1, volume=0.002
        )
        for label, name in enumerate(NAMES)
    ]
    meta = TrajectoryMeta(
        frame_dt=FRAME_DT,
        substep_dt=1e-3,
        frame_count=FRAMES,
        dx=0.0625,
        gravity=(0, 0, GRAVITY),
        walls=None,
        objects=objects,
        settings={},
        hashes={},
    )
    for scene in (SCENE, LOST):
        rows = balls.opacities, balls.sh, balls.labels, torch.arange(len(balls))
        with TrajectoryWriter(Layout(root).mpm_dir(GROUP, scene), meta, *rows) as writer:
            for k in range(FRAMES):
                fallen = torch.tensor([0, 0, 0.5 * GRAVITY * (k * FRAME_DT) ** 2])
                still = torch.eye(3).expand(len(balls), 3, 3)
                writer.write(Frame(balls.means + fallen, balls.covariance(), still, torch.zeros_like(balls.means)))
            writer.finish(wall_time=1.0)


@pytest.fixture
def arguments(tmp_path: Path, checkpoint: Path) -> list[object]:
    """A model without forces predicts what was simulated: free flight."""
    root = tmp_path / "data"
    write_dataset(root)
    config = {"g": [0, 0, GRAVITY], "frame_dt": FRAME_DT, "n_grid": 64, "init_radius": 2.5}
    config |= {"mpm_space_viewpoint_center": [2.0, 2.0, 0.8], "init_elevation": 30.0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return [
        *("--data_root", root, "--sets", f"two={GROUP}", "--config", tmp_path / "config.json"),
        *("--checkpoint", checkpoint, "--background_path", root / "backgrounds" / "floor", "--resolution", SIZE),
        *("--segmenter", "masks", "--iterations", 5, "--output", tmp_path / "out", "--device", "cpu"),
    ]


def test_errors_of_dynamics_and_of_reconstruction_are_told_apart(
    command: Callable[..., None],
    arguments: list[object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("videogen.reconstruction.plane_sweep._STEPS", 16)  # rough depths are enough here, and faster
    with pytest.raises(SystemExit) as ended:
        command("videogen.evaluate", *arguments)
    assert ended.value.code == 1
    assert f"{GROUP}/{LOST}: " in capsys.readouterr().err
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text())
    assert results["sets"]["two"]["scenes"] == [f"{GROUP}/{SCENE}"]
    metres, pictures = results["sets"]["two"]["metres"], results["sets"]["two"]["pictures"]
    assert list(pictures) == ["seen_view", "novel_view"]
    fallen = np.mean([0.5 * -GRAVITY * (k * FRAME_DT) ** 2 for k in range(1, FRAMES)])
    assert metres["still"]["mean"] == pytest.approx(fallen, rel=1e-4)
    assert metres["true_gaussians"]["mean"] < 1e-5
    assert 0 < metres["start"]["mean"] < 0.2  # less than the radius of a ball, from few and small pictures
    assert metres["reconstructed"]["mean"] == pytest.approx(metres["start"]["mean"], abs=1e-3)
    assert metres["added"]["mean"] == pytest.approx(metres["reconstructed"]["mean"], abs=1e-5)
    for kind in pictures:
        assert pictures[kind]["iou"]["true_gaussians"]["mean"] > 0.99
        assert 0.5 < pictures[kind]["iou"]["reconstructed"]["mean"] < 1
    assert f"- {GROUP}/{LOST}: " in (out / "results.md").read_text()
    assert (out / "over_time_two.png").is_file()
    told = results["scenes"][f"{GROUP}/{SCENE}"]["reconstruction"]
    assert told["held_out_psnr"] > 10
    assert told["mask_iou"] is None  # they are given
    folder = out / "scenes" / GROUP / SCENE
    assert [frame.shape for frame in read_video(folder / "novel_view.mp4")] == [(SIZE, 3 * SIZE, 3)] * FRAMES

    measured = (folder / "measurements.safetensors").stat().st_mtime_ns
    command("videogen.evaluate", *arguments, "--shard", "0/2")
    assert "measured 1 of 1 scenes; without --shard the same command reports all" in capsys.readouterr().out
    assert (folder / "measurements.safetensors").stat().st_mtime_ns == measured
    with pytest.raises(SystemExit):
        command("videogen.evaluate", *arguments, "--seed", 1, "--shard", "0/2")
    assert "measurements.json: made with other seed; --overwrite makes it again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seen_view", 16], "--seen_view: scenes are not reconstructed from view 16"),
        (["--novel_view", 8], "--novel_view: scenes are reconstructed from view 8"),
        (["--sets", "a=2@50"], "--sets: expected no @FRAMES"),
        (["--sets", "a=7"], r"mpm/7: no trajectories, which --sets a asks for"),
        (["--resolution", 8], "--resolution: expected 32 to 16000, found 8"),
        (["--dynamic_model", "mpm"], "--checkpoint: --dynamic_model mpm has none"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    command: Callable[..., None], arguments: list[object], flags: list[object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        command("videogen.evaluate", *arguments, *flags)


def test_simulations_under_another_gravity_are_refused(
    command: Callable[..., None], arguments: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"g": [0, 0, -1.6]}))
    with pytest.raises((InputError, SystemExit)):
        command("videogen.evaluate", *arguments)
    told = capsys.readouterr().err
    assert f"simulated under gravity {-GRAVITY:g} m/s^2, the g of {path} is gravity 1.6 m/s^2" in told
